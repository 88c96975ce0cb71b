"""What oxd 4.x added to commands that were there before, in dialect 4 at a real OP."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from oxd_server.op.jose import parse_key_set, verify_token
from oxd_server.sandbox import RunningSandbox
from tests.integration.dialect_4_world import CALLBACK, RSA_KEY, registered, world_of
from tests.integration.real_provider import callback_params, log_in

SECOND = "http://127.0.0.1:9/second"


async def test_a_callers_own_state_nonce_and_redirect_uri(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """All three come back unchanged, the state is good once, and the token endpoint is told the URI that was used."""
    async with world_of(tmp_path, sandbox) as world:
        await world.ok("/update-site", redirect_uris=[CALLBACK, SECOND])
        own = {"state": "aHR0cHM6Ly9ndy8_YT0x==", "nonce": "n-of/mine", "redirect_uri": SECOND}
        params = {"max_age": 3600, "ui": "a b"}
        url = (await world.ok("/get-authorization-url", params=params, **own))["authorization_url"]
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert {name: query[name] for name in own} == own
        assert (query["max_age"], query["ui"]) == ("3600", "a b")
        assert "custom_response_headers" not in query
        callback = callback_params(await log_in(url, "alice", "wonderland"))
        assert callback["state"] == own["state"]
        tokens = await world.ok("/get-tokens-by-code", code=callback["code"], state=own["state"])
        assert tokens["id_token_claims"]["nonce"] == own["nonce"]
        body = {"oxd_id": world.site["oxd_id"], "code": "any", "state": own["state"]}
        response = await world.post("/get-tokens-by-code", body, world.token)
        assert (response.status_code, response.json()["error"]) == (400, "bad_request")


async def test_a_flood_of_named_states_pushes_no_login_out(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """A site has room for so many bytes of the states that callers name; beyond that the newest one is refused."""
    async with world_of(tmp_path, sandbox) as world:
        first = await world.ok("/get-authorization-url", state="the-first", nonce="n" * 60_000)
        assert "state=the-first" in first["authorization_url"]
        await world.ok("/get-authorization-url", state="the-second", nonce="n" * 60_000)
        body = {"oxd_id": world.site["oxd_id"], "state": "the-third", "nonce": "n" * 60_000}
        response = await world.post("/get-authorization-url", body, world.token)
        assert (response.status_code, response.json()["error"]) == (503, "server_busy")
        await world.ok("/get-authorization-url", state="the-first", nonce="shorter")
        await world.ok("/get-authorization-url", state="the-third")


async def test_how_the_client_authenticates_can_be_named(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """``get-tokens-by-code`` of 4.2.2: a wrong name leaves the state good, and a right one is what the OP is shown."""
    async with world_of(tmp_path, sandbox) as world:
        url = (await world.ok("/get-authorization-url"))["authorization_url"]
        callback = callback_params(await log_in(url, "alice", "wonderland"))
        mine = {"oxd_id": world.site["oxd_id"], "code": callback["code"], "state": callback["state"]}

        async def refused(**body: str) -> str:
            return str((await world.post("/get-tokens-by-code", mine | body, world.token)).json()["error"])

        assert await refused(authentication_method="by_post") == "invalid_request"
        assert await refused(authentication_method="private_key_jwt") == "invalid_algorithm"
        assert await refused(authentication_method="client_secret_jwt", algorithm="RS256") == "invalid_algorithm"
        # The OP takes the registered method only, and so shows that it was shown another one.
        assert await refused(authentication_method="client_secret_jwt", algorithm="HS256") == "invalid_client"
        tokens = await world.ok("/get-tokens-by-code", **mine, authentication_method="client_secret_basic")
        assert tokens["access_token"]


async def test_where_logins_of_others_begin_is_answered(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """Under the name that oxd 4.2.2 has for it, with a space at its end."""
    async with world_of(tmp_path, sandbox) as world:
        uri = "https://app.example/begin"
        body = {"op_host": sandbox.issuer, "redirect_uris": [CALLBACK], "scope": ["openid"], "initiate_login_uri": uri}
        answer = (await world.front.client.post("/register-site", json=body)).json()
        assert answer["initiate_login_uri "] == uri
        assert "initiate_login_uri " not in await registered(world.front, sandbox)


async def test_redirect_uris_that_are_not_registered(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """No user is sent to a URI that the site has not registered, and unregistered response types are ignored."""
    async with world_of(tmp_path, sandbox) as world:
        body = {"oxd_id": world.site["oxd_id"], "redirect_uri": "https://evil.example/"}
        response = await world.post("/get-authorization-url", body, world.token)
        assert (response.status_code, response.json()["error"]) == (400, "redirect_uri_is_not_registered")
        url = (await world.ok("/get-authorization-url", response_types=["code", "token"]))["authorization_url"]
        assert parse_qs(urlsplit(url).query)["response_type"] == ["code"]


async def test_the_scopes_of_a_resource_are_modified(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """A pattern of Kong is a path like any other; after the change, the new scopes decide, and then the expression."""
    async with world_of(tmp_path, sandbox) as world:
        where = {"path": "/users/?/{a|b}", "http_method": "GET"}
        condition = {"httpMethods": ["GET"], "scopes": ["read"]}
        await world.ok("/uma-rs-protect", resources=[{"path": where["path"], "conditions": [condition]}])
        await world.ok("/uma-rs-modify", **where, scopes=["nobody"])
        denied = await world.ok("/uma-rs-check-access", **where)
        body = {"oxd_id": world.site["oxd_id"], "ticket": denied["ticket"]}
        assert (await world.post("/uma-rp-get-rpt", body, world.token)).status_code == 403
        expression = "{'rule': {'or': [{'var': 0}]}, 'data': ['read']}"
        await world.ok("/uma-rs-modify", **where, scope_expression=expression)
        denied = await world.ok("/uma-rs-check-access", **where)
        rpt = (await world.ok("/uma-rp-get-rpt", ticket=denied["ticket"], params={"extra": "1"}))["access_token"]
        assert await world.ok("/uma-rs-check-access", **where, rpt=rpt) == {"access": "granted"}
        body = {"oxd_id": world.site["oxd_id"], "path": "/other", "http_method": "GET", "scopes": ["read"]}
        response = await world.post("/uma-rs-modify", body, world.token)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


async def test_scopes_asked_for_in_check_access(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """The ticket is for the scopes of the command, and one of them is enough; without them the resource's decide."""
    async with world_of(tmp_path, sandbox) as world:
        where = {"path": "/x", "http_method": "GET"}
        condition = {"httpMethods": ["GET"], "scopes": ["read", "write"]}
        await world.ok("/uma-rs-protect", resources=[{"path": "/x", "conditions": [condition]}])
        denied = await world.ok("/uma-rs-check-access", **where, scopes=["read"])
        rpt = (await world.ok("/uma-rp-get-rpt", ticket=denied["ticket"]))["access_token"]
        permissions = (await world.ok("/introspect-rpt", rpt=rpt))["permissions"]
        assert [one["resource_scopes"] for one in permissions] == [["read"]]
        assert (await world.ok("/uma-rs-check-access", **where, scopes=["write"], rpt=rpt))["access"] == "denied"
        assert await world.ok("/uma-rs-check-access", **where, scopes=["read"], rpt=rpt) == {"access": "granted"}


async def test_a_callers_own_state_in_claims_gathering(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """It is in the URL with the further parameters, none of which replaces one of the protocol."""
    async with world_of(tmp_path, sandbox) as world:
        await world.ok(
            "/uma-rs-protect", resources=[{"path": "/x", "conditions": [{"httpMethods": ["GET"], "scopes": ["read"]}]}]
        )
        denied = await world.ok("/uma-rs-check-access", path="/x", http_method="GET")
        answer = await world.ok(
            "/uma-rp-get-claims-gathering-url",
            ticket=denied["ticket"],
            claims_redirect_uri="https://gw.example.test/claims",
            state="mine",
            custom_parameters={"pct": None, "ui": "x", "client_id": "evil"},
        )
        query = parse_qs(urlsplit(answer["url"]).query)
        assert (answer["state"], query["state"], query["ui"]) == ("mine", ["mine"], ["x"])
        assert query["client_id"] == [world.site["client_id"]]
        assert "pct" not in query
        await world.ok("/uma-rp-get-rpt", ticket=denied["ticket"], state="mine")
        again = {"oxd_id": world.site["oxd_id"], "ticket": denied["ticket"], "state": "mine"}
        response = await world.post("/uma-rp-get-rpt", again, world.token)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_state")


async def test_the_default_sites_client_stays_secret(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """Whoever registers without a token is answered a client of its own."""
    async with world_of(tmp_path, sandbox) as world:
        assert (await registered(world.front, sandbox))["client_id"] != world.site["client_id"]


async def test_request_objects(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """The OP fetches the signed JWT at the URI that the application is told, over HTTPS or over the socket."""
    async with world_of(tmp_path, sandbox) as world:
        oxd_id, client_id = world.site["oxd_id"], world.site["client_id"]
        asked = {"oxd_host_url": world.front.url, "params": {"max_age": 70, "claims": {"userinfo": {"email": None}}}}
        uri = (await world.ok("/get-request-object-uri", request_object_signing_alg="RS256", **asked))["request_uri"]
        answer = await world.front.client.get(uri)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        published = parse_key_set((await world.front.client.get("/get-rp-jwks")).json())
        assert published is not None
        signed = verify_token(answer.text, published, frozenset({"RS256"}))
        assert signed.header["kid"] == RSA_KEY["kid"]
        own = {"iss": client_id, "aud": sandbox.issuer, "client_id": client_id, "response_type": "code"}
        assert own.items() <= signed.claims.items()
        assert signed.claims["claims"] == {"userinfo": {"email": None}}
        assert signed.claims["max_age"] == 70
        told = await world.front.server.call("get_request_object_uri", oxd_id=oxd_id, **asked)
        name = told["data"]["request_uri"].rpartition("/")[2]
        held = await world.front.server.call("get_request_object", request_object_id=name)
        assert held["data"]["request_object"].startswith("ey")
        gone = await world.front.client.get("/get-request-object/nobody-knows-this")
        assert (gone.status_code, gone.json()["error"]) == (404, "request_object_not_found")
        await world.ok("/update-site", request_object_signing_alg="none")
        uri = (await world.ok("/get-request-object-uri", **asked))["request_uri"]
        assert (await world.front.client.get(uri)).text.endswith(".")


async def test_request_objects_that_are_refused(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """A host is needed, a key for the algorithm, the registered algorithm, and nobody fills the store."""
    async with world_of(tmp_path, sandbox) as world:
        url = world.front.url

        async def refused(**body: object) -> tuple[int, str]:
            response = await world.post(
                "/get-request-object-uri", {"oxd_id": world.site["oxd_id"], **body}, world.token
            )
            return response.status_code, response.json()["error"]

        assert await refused() == (400, "bad_request_no_oxd_host")
        for wrong in ("oxd.example", f"{url}/?a=b", f"{url}/#a", "ftp://oxd.example", f"https://{'x' * 500}"):
            assert await refused(oxd_host_url=wrong) == (400, "bad_request_no_oxd_host")
        assert await refused(oxd_host_url=url, request_object_signing_alg="ES256") == (400, "invalid_algorithm")
        assert await refused(oxd_host_url=url, params={"iss": "evil"}) == (400, "invalid_request")
        assert await refused(oxd_host_url=url, params={"large": "x" * 17_000}) == (400, "invalid_request")
        await world.ok("/update-site", request_object_signing_alg="none")
        assert await refused(oxd_host_url=url, request_object_signing_alg="RS256") == (400, "invalid_algorithm")
        large = {"oxd_host_url": url, "params": {"large": "x" * 11_500}}
        for _ in range(16):
            await world.ok("/get-request-object-uri", **large)
        assert await refused(**large) == (503, "server_busy")


async def test_a_login_that_somebody_else_starts(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """Only at the site's own OP, with the hint, and back to a registered redirect URI; then it is a login as any."""
    async with world_of(tmp_path, sandbox) as world:
        await world.ok("/update-site", redirect_uris=[CALLBACK, SECOND])
        path = f"/initiate-third-party-login/{world.site['oxd_id']}"
        bearer = {"Authorization": f"Bearer {world.token}"}

        async def initiated(**query: str) -> dict[str, Any]:
            return dict((await world.front.client.get(path, params=query, headers=bearer)).json())

        wanted = {"iss": sandbox.issuer, "login_hint": "alice@example.org", "target_link_uri": SECOND}
        url = (await initiated(**wanted))["authorization_url"]
        query = parse_qs(urlsplit(url).query)
        assert (query["login_hint"], query["redirect_uri"]) == (["alice@example.org"], [SECOND])
        callback = callback_params(await log_in(url, "alice", "wonderland"))
        await world.ok("/get-tokens-by-code", code=callback["code"], state=callback["state"])
        assert (await initiated())["error"] == "bad_request_no_issuer"
        assert (await initiated(iss="https://evil.example"))["error"] == "invalid_request"
        evil = {"iss": sandbox.issuer, "target_link_uri": "https://evil.example/"}
        assert (await initiated(**evil))["error"] == "bad_request_invalid_target_uri"
        assert (await world.front.client.get(path, params=wanted)).json()["error"] == "blank_access_token"
        told = await world.front.server.call(
            "initiate_third_party_login", oxd_id=world.site["oxd_id"], iss=sandbox.issuer
        )
        assert told["data"]["authorization_url"].startswith(sandbox.issuer)
