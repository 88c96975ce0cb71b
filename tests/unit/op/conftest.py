"""A scripted OP on a real socket, certificates, keys and clocks for the tests of `oxd_server.op`."""

import datetime
import ipaddress
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import h11
import msgspec
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from oxd_server.op.context import OpContext
from oxd_server.op.jose import ALGORITHMS, AnyKey, KeySet, parse_key_set, sign_token
from oxd_server.op.network import Resolve
from oxd_server.op.observed import Observe, nobody_looks
from oxd_server.op.tls import make_ssl_context
from oxd_server.op.transport import Transport, TransportSettings
from tests.clock import Clock
from tests.http_requests import read_request

CLIENT_SECRET = "client-secret-" * 5


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        fields = parse_qs(self.body.decode(), keep_blank_values=True, strict_parsing=bool(self.body))
        return {name: values[0] for name, values in fields.items()}

    @property
    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    before: Callable[[], Awaitable[None]] | None = None


RawReply = Callable[[trio.abc.Stream], Awaitable[None]]


@dataclass
class ScriptedOp:
    """Answers with what it was told to, in order; the last reply for a target is repeated."""

    base: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    _replies: dict[tuple[str, str], list[Reply | RawReply]] = field(default_factory=lambda: defaultdict(list))

    def on(
        self,
        method: str,
        target: str,
        json: object = None,
        *,
        status: int = 200,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> str:
        """Add a reply; returns the URL."""
        content = body if body is not None else msgspec.json.encode(json)
        head = {"content-type": "application/json", **(headers or {})}
        self._replies[method, target].append(Reply(status, head, content, before))
        return self.base + target

    def raw(self, method: str, target: str, reply: RawReply) -> str:
        """Add a reply that writes to the stream itself, after which the connection is closed."""
        self._replies[method, target].append(reply)
        return self.base + target

    def forget(self) -> None:
        """Drop all replies and recorded requests."""
        self._replies.clear()
        self.requests.clear()

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        try:
            await self._converse(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError, ssl.SSLError):
            pass
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await trio.aclose_forcefully(stream)

    async def _converse(self, stream: trio.abc.Stream) -> None:
        """Answer one request after the other. Raises ``trio.BrokenResourceError`` when no more comes."""
        connection = h11.Connection(h11.SERVER)
        while True:
            request = await _read_request(connection, stream)
            self.requests.append(request)
            replies = self._replies[request.method, request.target]
            reply = replies.pop(0) if len(replies) > 1 else (replies[0] if replies else Reply(404, {}, b"nothing"))
            if not isinstance(reply, Reply):
                await reply(stream)
                return
            if reply.before is not None:
                await reply.before()
            await _write_reply(connection, stream, reply)
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()


async def _read_request(connection: h11.Connection, stream: trio.abc.Stream) -> Request:
    head, body = await read_request(stream, connection)
    headers = {name.decode(): value.decode() for name, value in head.headers}
    return Request(head.method.decode(), head.target.decode(), headers, body)


async def _write_reply(connection: h11.Connection, stream: trio.abc.Stream, reply: Reply) -> None:
    headers = [*reply.headers.items(), ("content-length", str(len(reply.body)))]
    data = connection.send(h11.Response(status_code=reply.status, headers=headers)) or b""
    data += connection.send(h11.Data(data=reply.body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(data)


@asynccontextmanager
async def running(op: ScriptedOp, server_context: ssl.SSLContext | None, host: str) -> AsyncIterator[ScriptedOp]:
    async def serve(stream: trio.abc.Stream) -> None:
        if server_context is not None:
            stream = trio.SSLStream(stream, server_context, server_side=True, https_compatible=True)
        await op.serve(stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        op.base = f"{'https' if server_context else 'http'}://{host}:{port}"
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield op
        nursery.cancel_scope.cancel()


@pytest.fixture
async def op() -> AsyncIterator[ScriptedOp]:
    """An OP on plain HTTP."""
    async with running(ScriptedOp(), None, "127.0.0.1") as started:
        yield started


@pytest.fixture
def tls_op() -> Callable[..., object]:
    """Starts an OP on TLS: `async with tls_op(certificate) as op`."""
    return lambda certificate, host="localhost": running(ScriptedOp(), certificate.server_context(), host)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def system_context() -> ssl.SSLContext:
    return make_ssl_context()


@pytest.fixture
def open_transport(system_context: ssl.SSLContext) -> Callable[..., Transport]:
    """Makes a transport with settings of the test's own."""

    def make(resolve: Resolve | None = None, observe: Observe = nobody_looks, **settings: Any) -> Transport:
        return Transport(TransportSettings(**{"ssl_context": system_context, **settings}), resolve, observe)

    return make


@pytest.fixture
async def transport(open_transport: Callable[..., Transport]) -> AsyncIterator[Transport]:
    async with open_transport() as opened:
        yield opened


@pytest.fixture
def client(transport: Transport, clock: Clock) -> OpContext:
    """An OpContext whose clocks are `clock` and whose randomness is known."""
    return OpContext.over(transport, clock=clock, monotonic=clock, random=lambda count: b"r" * count)


@dataclass(frozen=True)
class Signer:
    """A key that signs tokens as an OP would."""

    alg: str
    kid: str | None
    key: AnyKey

    @property
    def jwk(self) -> dict[str, object]:
        kid = {"kid": self.kid} if self.kid else {}
        return {**self.key.as_dict(private=False), "use": "sig", **kid}

    @property
    def key_set(self) -> KeySet:
        parsed = parse_key_set({"keys": [self.jwk]})
        assert parsed is not None
        return parsed

    def sign(self, claims: Mapping[str, object], **header: object) -> str:
        kid = {"kid": self.kid} if self.kid else {}
        return sign_token({**kid, **header}, claims, ALGORITHMS[self.alg], self.key)


@pytest.fixture(scope="session")
def signers() -> dict[str, Signer]:
    """One signer for every algorithm; RSA ones share a key, HMAC ones use the client secret."""
    rsa = RSAKey.generate_key(2048)
    keys: dict[str, AnyKey] = {
        "ES256": ECKey.generate_key("P-256"),
        "ES384": ECKey.generate_key("P-384"),
        "ES512": ECKey.generate_key("P-521"),
        "EdDSA": OKPKey.generate_key("Ed25519"),
        "Ed25519": OKPKey.generate_key("Ed25519"),
    }
    keys |= {name: rsa for name, algorithm in ALGORITHMS.items() if algorithm.key_type == "RSA"}
    secret = CLIENT_SECRET.encode()
    keys |= {name: OctKey(secret, secret) for name, algorithm in ALGORITHMS.items() if algorithm.symmetric}
    return {
        name: Signer(name, None if ALGORITHMS[name].symmetric else f"kid-{name}", key) for name, key in keys.items()
    }


@pytest.fixture(scope="session")
def make_signer() -> Callable[..., Signer]:
    """A new EC key with this kid."""
    return lambda kid=None, alg="ES256": Signer(alg, kid, ECKey.generate_key("P-256"))


@dataclass(frozen=True)
class Certificate:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    folder: Path

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def trust_store(self) -> Path:
        path = self.folder / f"{self.certificate.serial_number}.pem"
        path.write_bytes(self.pem)
        return path

    def server_context(self) -> ssl.SSLContext:
        chain = self.folder / f"{self.certificate.serial_number}-chain.pem"
        chain.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + self.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the test's own."""

    own: Certificate
    folder: Path

    def issue(self, host: str = "localhost", *, expired: bool = False) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        end = datetime.timedelta(days=-1 if expired else 1)
        builder = _builder(host, key.public_key(), self.own.certificate.subject, end)
        certificate = builder.add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False).sign(
            self.own.key, hashes.SHA256()
        )
        return Certificate(certificate, key, self.folder)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    name: str, key: ec.EllipticCurvePublicKey, issuer: x509.Name | None, end: datetime.timedelta
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + end)
    )


@pytest.fixture(scope="session")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Authority]:
    def make() -> Authority:
        folder = tmp_path_factory.mktemp("certificates")
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder("test authority", key.public_key(), None, datetime.timedelta(days=1))
        certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(
            key, hashes.SHA256()
        )
        return Authority(Certificate(certificate, key, folder), folder)

    return make


@pytest.fixture(scope="session")
def authority(make_authority: Callable[[], Authority]) -> Authority:
    return make_authority()
