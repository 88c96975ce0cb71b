"""`op.uma`: what each answer of an authorization server is taken for."""

import msgspec
import pytest

from oxd_server.op.answer import Answer
from oxd_server.op.context import OpContext
from oxd_server.op.discovery import ProviderMetadata
from oxd_server.op.errors import OpErrorResponse, OpInvalidResponse, OpMetadataMissing
from oxd_server.op.uma import (
    ResourceDescription,
    claims_gathering_url,
    delete_resource,
    list_resources,
    process_pat,
    process_registered_resource,
    process_rpt,
    process_ticket,
    read_resource,
    register_resource,
    request_ticket,
    takes_bearer_token,
    update_resource,
)
from oxd_server.op.uma_discovery import UmaMetadata
from tests.unit.op.conftest import ScriptedOp

TOKEN = {"access_token": "t", "token_type": "Bearer"}
PHOTO = ResourceDescription(name="[GET] /photo", resource_scopes=("view",))


def answer(document: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, headers, msgspec.json.encode(document), "as", "step")


def metadata(op: ScriptedOp) -> UmaMetadata:
    return UmaMetadata(
        issuer=op.base,
        resource_registration_endpoint=f"{op.base}/resources/",
        permission_endpoint=f"{op.base}/permissions",
    )


@pytest.mark.parametrize("scope", [None, "uma_protection", "openid uma_protection email"])
def test_pat(scope: str | None) -> None:
    """A token with the scope uma_protection is a PAT, and one whose scope is not named, too."""
    pat = process_pat(answer({**TOKEN, "scope": scope, "expires_in": "60"}))
    assert (pat.access_token, pat.expires_in) == ("t", 60)
    assert "access_token" not in repr(pat)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"token_type": "Bearer"},
        {**TOKEN, "token_type": "mac"},
        {**TOKEN, "scope": "openid"},
        {**TOKEN, "scope": "uma_protection2"},
        {**TOKEN, "access_token": "a\r\nb"},
        {**TOKEN, "token_type": None},
    ],
)
def test_what_is_no_pat(document: object) -> None:
    """Tokens of another kind or scope, or that no header can carry, are refused."""
    with pytest.raises(OpInvalidResponse):
        process_pat(answer(document))


@pytest.mark.parametrize(
    ("document", "headers", "resource_id"),
    [
        ({"_id": "a/b", "id": "c"}, {}, "a/b"),
        ({"id": "c"}, {}, "c"),
        ({"_id": 7}, {}, "7"),
        ({"_id": [], "id": "c"}, {}, "c"),
        ({"_id": "c", "user_access_policy_uri": None}, {}, "c"),
        ({}, {"location": "https://as/resources/a%2Fb/"}, "a/b"),
    ],
)
def test_id_of_a_registered_resource(document: object, headers: dict[str, str], resource_id: str) -> None:
    """The id is called `_id`, or `id`, or is the end of the Location."""
    assert process_registered_resource(answer(document, 201, **headers)) == resource_id


@pytest.mark.parametrize("document", [{}, {"_id": ""}, {"_id": True}, {"_id": {}}, []])
def test_registered_resource_without_an_id(document: object) -> None:
    """A resource without an id cannot be used."""
    with pytest.raises(OpInvalidResponse):
        process_registered_resource(answer(document, 201))


@pytest.mark.parametrize("ticket", [None, "", 7, 'a"b', "a,b", "a b", "a\\b", "a\nb", "ü"])
def test_ticket_that_would_break_the_header(ticket: object) -> None:
    """A ticket that could change the meaning of the header around it is refused."""
    with pytest.raises(OpInvalidResponse):
        process_ticket(answer({"ticket": ticket}, 201))


def test_ticket() -> None:
    """A ticket of the characters that tokens have is taken as it is."""
    assert process_ticket(answer({"ticket": "a.b-c_d~e+/="}, 201)) == "a.b-c_d~e+/="


@pytest.mark.parametrize(("upgraded", "expected"), [(True, True), ("true", True), (None, False), (False, False)])
def test_rpt(upgraded: object, expected: bool) -> None:
    """An RPT comes with its PCT and with whether it is an upgraded one."""
    rpt = process_rpt(answer({**TOKEN, "pct": "p", "upgraded": upgraded}))
    assert (rpt.access_token, rpt.token_type, rpt.pct, rpt.upgraded) == ("t", "Bearer", "p", expected)
    assert "'t'" not in repr(rpt)


def test_refused_rpt() -> None:
    """A refusal keeps the server's object."""
    with pytest.raises(OpErrorResponse) as caught:
        process_rpt(answer({"error": "need_info", "ticket": "t2"}, 403))
    assert caught.value.body_json == {"error": "need_info", "ticket": "t2"}


def test_claims_gathering_url_is_encoded() -> None:
    """Every value is percent-encoded, and a query of the endpoint stays."""
    url = claims_gathering_url("https://as/c?x=1", client_id="a b", ticket="t&", claims_redirect_uri="u", state="s=")
    assert url == "https://as/c?x=1&client_id=a%20b&ticket=t%26&claims_redirect_uri=u&state=s%3D"


@pytest.mark.parametrize(
    ("methods", "expected"),
    [(None, True), (("client_secret_basic", "Bearer"), True), (("bearer",), True), (("client_secret_basic",), False)],
)
def test_who_may_introspect(methods: tuple[str, ...] | None, expected: bool) -> None:
    """The PAT is used unless the server lists what it takes, without bearer tokens."""
    for kind in (UmaMetadata, ProviderMetadata):
        assert takes_bearer_token(kind(issuer="i", introspection_endpoint_auth_methods_supported=methods)) is expected


async def test_a_resource_from_its_registration_to_its_end(op: ScriptedOp, client: OpContext) -> None:
    """Each request goes to the resource's own URL, its id percent-encoded, with the PAT."""
    op.on("POST", "/resources/", {"_id": "a/b"}, status=201)
    op.on("PUT", "/resources/a%2Fb", {"_id": "a/b"})
    op.on("GET", "/resources/a%2Fb", {"name": "n"})
    op.on("GET", "/resources/", ["a/b"])
    op.on("POST", "/permissions", {"ticket": "t"}, status=201)
    op.on("DELETE", "/resources/a%2Fb", status=204, body=b"")
    op.on("DELETE", "/resources/a%2Fb", {}, status=404)
    where = metadata(op)
    assert await register_resource(client, where, "pat", PHOTO) == "a/b"
    await update_resource(client, where, "pat", "a/b", PHOTO)
    assert await read_resource(client, where, "pat", "a/b") == {"name": "n"}
    assert await list_resources(client, where, "pat") == ["a/b"]
    assert await request_ticket(client, where, "pat", "a/b", ["view"]) == "t"
    for _ in range(2):
        await delete_resource(client, where, "pat", "a/b")
    assert {request.headers["authorization"] for request in op.requests} == {"Bearer pat"}
    assert op.requests[0].json == op.requests[1].json == {"name": "[GET] /photo", "resource_scopes": ["view"]}
    assert msgspec.json.decode(op.requests[4].body) == [{"resource_id": "a/b", "resource_scopes": ["view"]}]


async def test_lists_of_resources(op: ScriptedOp, client: OpContext) -> None:
    """A list holds ids, some servers' holds descriptions; what names no resource is passed over."""
    op.on("GET", "/resources/", ["a", 5, {"_id": "b", "name": "x"}, {"id": "c"}, {}, None, []])
    assert await list_resources(client, metadata(op), "pat") == ["a", "5", "b", "c"]


def test_a_created_resource_without_a_body() -> None:
    """201 with a Location and nothing else is an answer."""
    headers = {"location": "https://as/resources/r1"}
    assert process_registered_resource(Answer(201, headers, b"", "as", "registration")) == "r1"
    with pytest.raises(OpInvalidResponse):
        process_registered_resource(Answer(201, {}, b" ", "as", "registration"))


def test_refusals_with_status_200() -> None:
    """An error in an answer with status 200 keeps the server's words."""
    for process in (process_registered_resource, process_ticket, process_pat, process_rpt):
        with pytest.raises(OpErrorResponse) as caught:
            process(answer({"error": "invalid_resource_id"}, 200))
        assert caught.value.oauth_error == "invalid_resource_id"


@pytest.mark.parametrize("body", [b"{}", b"1", b"<html>"])
async def test_what_is_no_list_of_resources(op: ScriptedOp, client: OpContext, body: bytes) -> None:
    """A list of something else is refused."""
    op.on("GET", "/resources/", body=body)
    with pytest.raises(OpInvalidResponse):
        await list_resources(client, metadata(op), "pat")


async def test_endpoints_that_are_not_there(client: OpContext) -> None:
    """A server that does not name the endpoint cannot be asked."""
    nothing = UmaMetadata(issuer="https://as")
    with pytest.raises(OpMetadataMissing):
        await register_resource(client, nothing, "pat", PHOTO)
    with pytest.raises(OpMetadataMissing):
        await request_ticket(client, nothing, "pat", "r", [])
