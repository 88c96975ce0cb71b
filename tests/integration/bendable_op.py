"""An OP whose every answer a test can bend, on a real socket: what providers in the field do, each in its own way.

It has one client. It lets everybody log in at once, and it checks what it is sent as a provider would: the client's
authentication, the redirect URI, the code and its PKCE challenge.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import h11
import trio
from joserfc.jwk import OctKey, RSAKey

from oxd_server.op.base64url import encode_base64url
from oxd_server.op.jose import ALGORITHMS, AnyKey, sign_token
from tests.http_requests import read_request

CLIENT_ID, CLIENT_SECRET = "client-1", "secret-of-client-1-" * 3
CODE, REFRESH_TOKEN = "code-1", "refresh-1"
SIGNING_KEY = RSAKey.generate_key(2048)

Reply = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True, kw_only=True)
class Personality:
    """How a provider answers, as far as it is not as the specifications say.

    A text in `metadata`, `claims` and `settings` may hold `{op}`, the provider's address with its path. A member that
    is None is left out of an answer.

    Attributes:
        path: of the issuer, and of everything else.
        issuer: what it calls itself.
        metadata, key, registration, tokens, refreshed, claims, header, userinfo: members that differ.
        methods: how a client may authenticate.
        audience: the only one that it takes in client assertions.
        algorithm: what signs id_tokens; HS256 is keyed with the client's secret.
        client_id, client_secret: of its one client.
        registers: whether clients can be registered; else one is brought along.
        compressed, marked, content_type: how JSON is sent: gzipped, with a byte order mark, as what.
        redirected: the discovery answers 301 to the same path with a slash.
        signed_userinfo: userinfo is a JWT.
        site: further params of `register_site`; `login`, `logout`: of `get_authorization_url` and `get_logout_uri`.
        settings: of the server.
    """

    path: str = ""
    issuer: str = "{op}"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    key: Mapping[str, Any] = field(default_factory=dict)
    registration: Mapping[str, Any] = field(default_factory=dict)
    tokens: Mapping[str, Any] = field(default_factory=dict)
    refreshed: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)
    userinfo: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = ("client_secret_basic", "client_secret_post")
    audience: str | None = None
    algorithm: str = "RS256"
    client_id: str = CLIENT_ID
    client_secret: str = CLIENT_SECRET
    registers: bool = False
    compressed: bool = False
    marked: bool = False
    content_type: str = "application/json"
    redirected: bool = False
    signed_userinfo: bool = False
    site: Mapping[str, Any] = field(default_factory=dict)
    login: Mapping[str, Any] = field(default_factory=dict)
    logout: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class BendableOp:
    """The provider; `url` is its address with the path of its personality.

    Attributes:
        personality: how it answers; a test may change its mind.
        asked: the parameters of the last login.
        shown: the Authorization header of the last request to each path.
        requests, refused: what it was asked, and why it refused.
    """

    personality: Personality
    origin: str
    asked: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str | None] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address under which its metadata lies."""
        return self.origin + self.personality.path

    def filled(self, value: Any) -> Any:
        """The value with the provider's address in it."""
        return json.loads(json.dumps(value).replace("{op}", self.url).replace("{origin}", self.origin))

    def authorize(self, authorization_url: str) -> dict[str, str]:
        """Log the user in; return what the redirect brings."""
        query = parse_qs(urlsplit(authorization_url).query)
        self.asked = {name: values[0] for name, values in query.items()}
        assert self.asked["client_id"] == self.personality.client_id
        assert "openid" in self.asked["scope"].split()
        return {"code": CODE, "state": self.asked["state"]}

    def answer(self, request: h11.Request, body: bytes) -> Reply:
        """Answer one request."""
        path = request.target.decode().partition("?")[0].removeprefix(self.personality.path)
        self.requests.append(f"{request.method.decode()} {path}")
        headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        self.shown[path] = headers.get("authorization")
        if path == "/.well-known/openid-configuration" and self.personality.redirected:
            return 301, {"Location": f"{self.url}{path}/"}, b""
        match path.rstrip("/"):
            case "/.well-known/openid-configuration":
                return self._json(self._metadata())
            case "/jwks":
                return self._json({"keys": [self._jwk()]})
            case "/register":
                return self._json(self._registered(body), 201)
            case "/register/client-1" if headers.get("authorization") == "Bearer rat":
                return self._json(self._registered(body))
            case "/token":
                return self._token(headers, {name: values[0] for name, values in parse_qs(body.decode()).items()})
            case "/userinfo":
                return self._userinfo(headers)
        return self._json({"error": "not_found"}, 404)

    def _metadata(self) -> dict[str, Any]:
        endpoints = {
            "authorization_endpoint": "{op}/authorize", "token_endpoint": "{op}/token", "jwks_uri": "{op}/jwks",
            "userinfo_endpoint": "{op}/userinfo", "end_session_endpoint": "{op}/logout",
        }  # fmt: skip
        register = {"registration_endpoint": "{op}/register"} if self.personality.registers else {}
        lists = {
            "id_token_signing_alg_values_supported": [self.personality.algorithm],
            "token_endpoint_auth_methods_supported": list(self.personality.methods),
        }
        document = {"issuer": self.personality.issuer, **endpoints, **register, **lists, **self.personality.metadata}
        return _present(self.filled(document))

    def _jwk(self) -> dict[str, Any]:
        jwk = {**SIGNING_KEY.as_dict(private=False), "kid": "key-1", "use": "sig", "alg": "RS256"}
        return _present({**jwk, **self.personality.key})

    def _registered(self, body: bytes) -> dict[str, Any]:
        credentials = {"client_id": self.personality.client_id, "client_secret": self.personality.client_secret}
        return _present({**json.loads(body), **credentials, **self.filled(self.personality.registration)})

    def _token(self, headers: Mapping[str, str], form: dict[str, str]) -> Reply:
        problem = self._client_problem(headers, form) or self._grant_problem(form)
        if problem is not None:
            self.refused.append(problem)
            return self._json({"error": "invalid_request", "error_description": problem}, 400)
        refreshed = form["grant_type"] == "refresh_token"
        tokens = {"access_token": "access-2" if refreshed else "access-1", "token_type": "Bearer", "expires_in": 3600}
        if not refreshed:
            tokens |= {"refresh_token": REFRESH_TOKEN, "id_token": self._id_token()}
        bent = self.personality.refreshed if refreshed else {}
        return self._json(_present({**tokens, **self.filled(self.personality.tokens), **bent}))

    def _client_problem(self, headers: Mapping[str, str], form: dict[str, str]) -> str | None:
        known = (self.personality.client_id, self.personality.client_secret)
        method = "client_secret_post" if "client_secret" in form else "none"
        if headers.get("authorization", "").startswith("Basic "):
            method = "client_secret_basic"
            pair = base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode().split(":")
            right = tuple(map(unquote_plus, pair)) == known
        elif "client_assertion" in form:
            method = "client_secret_jwt"
            payload = form["client_assertion"].split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
            right = (claims["iss"], claims["aud"]) == (known[0], self.filled(self.personality.audience))
        else:
            right = (form.get("client_id"), form.get("client_secret")) == known
        if method not in self.personality.methods:
            return f"{method} is not among {self.personality.methods}"
        return None if right else f"{method}: another client"

    def _grant_problem(self, form: dict[str, str]) -> str | None:
        if form["grant_type"] == "refresh_token":
            return None if form["refresh_token"] == REFRESH_TOKEN else "another refresh token"
        if (form["code"], form["redirect_uri"]) != (CODE, self.asked["redirect_uri"]):
            return "another code or redirect_uri"
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if self.asked.get("code_challenge", encode_base64url(digest)) != encode_base64url(digest):
            return "the code_verifier does not fit"
        return None

    def _id_token(self) -> str:
        now = int(time.time())
        usual = {
            "iss": self.personality.issuer, "aud": self.personality.client_id, "sub": "user-1", "iat": now,
            "exp": now + 300, "nonce": self.asked["nonce"],
        }  # fmt: skip
        claims = _present(self.filled({**usual, **self.personality.claims}))
        return self._signed(claims, {"kid": "key-1", "typ": "JWT", **self.personality.header})

    def _signed(self, claims: Mapping[str, Any], header: Mapping[str, Any]) -> str:
        algorithm = ALGORITHMS[self.personality.algorithm]
        key: AnyKey = OctKey.import_key(self.personality.client_secret) if algorithm.symmetric else SIGNING_KEY
        return sign_token(_present(header), claims, algorithm, key)

    def _userinfo(self, headers: Mapping[str, str]) -> Reply:
        if not headers.get("authorization", "").startswith("Bearer access-"):
            return self._json({"error": "invalid_token"}, 401)
        claims = _present(self.filled({"sub": "user-1", "name": "Ünal", **self.personality.userinfo}))
        if self.personality.signed_userinfo:
            return 200, {"Content-Type": self.personality.content_type}, self._signed(claims, {"kid": "key-1"}).encode()
        return self._json(claims)

    def _json(self, document: Mapping[str, Any], status: int = 200) -> Reply:
        body = json.dumps(document).encode()
        if self.personality.marked:
            body = b"\xef\xbb\xbf" + body
        headers = {"Content-Type": self.personality.content_type, "Cache-Control": "no-store"}
        if self.personality.compressed:
            return status, {**headers, "Content-Encoding": "gzip"}, gzip.compress(body)
        return status, headers, body


def _present(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


@asynccontextmanager
async def bendable_op(personality: Personality) -> AsyncIterator[BendableOp]:
    """Run a provider with this personality on a free port."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        op = BendableOp(personality, f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")

        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                await _serve(op, stream)

        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield op
        nursery.cancel_scope.cancel()


async def _serve(op: BendableOp, stream: trio.SocketStream) -> None:
    connection = h11.Connection(h11.SERVER)
    try:
        head, body = await read_request(stream, connection)
    except trio.BrokenResourceError:
        return
    status, headers, content = op.answer(head, body)
    lines = [*headers.items(), ("Content-Length", str(len(content))), ("Connection", "close")]
    data = connection.send(h11.Response(status_code=status, headers=lines)) or b""
    data += connection.send(h11.Data(data=content)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(data)
