"""An OP on TLS: the sandbox's provider behind real certificates, good ones and bad ones, made for the test."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from oxd_server.entrances.http1 import Limits, serve_connection
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.sandbox.provider import routes
from oxd_server.sandbox.provider.keys import SigningKeys
from oxd_server.sandbox.provider.model import Code, Grant, ProviderState
from oxd_server.sandbox.provider.users import USERS
from oxd_server.sandbox.server import new_token

DAY = timedelta(days=1)
HOST = "localhost"
KINDS = ("expired", "wrong host", "untrusted")


@dataclass(frozen=True)
class Authority:
    """A certificate authority; `certificate` is its own."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def issue(self, host: str, ends: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        """Return the key and certificate of a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.DNSName(host) if not _is_address(host) else x509.IPAddress(ip_address(host))
        builder = _builder(host, key, self.certificate.subject, ends)
        builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
        return key, builder.sign(self.key, SHA256())


def make_authority(name: str) -> Authority:
    """Make a new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(name, key, subject, datetime.now(UTC) + DAY)
    extended = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(key, extended.sign(key, SHA256()))


def write_certificate(path: Path, authority: Authority, name: str) -> str:
    """Write a certificate of the authority and its key; return the certificate."""
    key, certificate = authority.issue(name, datetime.now(UTC) + DAY)
    pem = certificate.public_bytes(Encoding.PEM)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem)
    path.chmod(0o600)
    return pem.decode()


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdigit()


def _builder(name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, ends: datetime) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    numbered = builder.serial_number(x509.random_serial_number())
    return numbered.not_valid_before(ends - 30 * DAY).not_valid_after(ends)


@dataclass(frozen=True)
class Certificates:
    """What a test's OPs show, as server contexts, and the trust store that only the good authority is in."""

    trust_store: Path
    contexts: Mapping[str, ssl.SSLContext]


def make_certificates(folder: Path) -> Certificates:
    """Make a good certificate, and a bad one of each of `KINDS`."""
    good, other = make_authority("good"), make_authority("other")
    now = datetime.now(UTC)
    made = {
        "good": good.issue(HOST, now + DAY),
        "expired": good.issue(HOST, now - DAY),
        "wrong host": good.issue("op.example", now + DAY),
        "untrusted": other.issue(HOST, now + DAY),
    }
    store = folder / "trust.pem"
    store.write_bytes(good.certificate.public_bytes(Encoding.PEM))
    return Certificates(store, {name: _context(folder, *pair) for name, pair in made.items()})


def _context(folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> ssl.SSLContext:
    path = folder / f"{certificate.serial_number}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@dataclass
class TlsOp:
    """The OP. `bad_url` is the same provider behind the bad certificate; `moved` endpoints are announced there."""

    state: ProviderState
    bad_url: str = ""
    moved: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        """The OP's address."""
        return self.state.issuer

    def log_in(self, authorization_url: str) -> dict[str, str]:
        """Do what a person and the pages do; return the parameters of the redirect."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(authorization_url).query).items()}
        grant = Grant(query["client_id"], USERS[0], query["scope"], self.state.seconds(), query["nonce"])
        code = new_token()
        self.state.codes.put(code, Code(grant, query["redirect_uri"], query["code_challenge"]), 60)
        return {"code": code, "state": query["state"]}

    async def answer(self, place: str, request: HttpRequest) -> HttpResponse:
        """Answer as the provider does, but with the moved endpoints' addresses; note where the request came in."""
        self.requests.append(f"{place} {request.method} {request.path}")
        answer = await routes.handle(self.state, request)
        if not answer.body.startswith(b"{"):
            return answer
        members: dict[str, Any] = json.loads(answer.body)
        moved = {name: members[name].replace(self.issuer, self.bad_url) for name in self.moved & members.keys()}
        return HttpResponse(answer.status, answer.headers, json.dumps(members | moved).encode())


@asynccontextmanager
async def tls_op(certificates: Certificates, bad: str, *, all_bad: bool = False) -> AsyncIterator[TlsOp]:
    """Run an OP on two ports: behind the good certificate, and behind the bad one of this kind.

    With `all_bad` the issuer itself is behind the bad one.
    """
    keys = await trio.to_thread.run_sync(SigningKeys.generate)
    op = TlsOp(ProviderState("", keys, time.time, new_token))
    async with trio.open_nursery() as nursery:
        good_url = await _listen(nursery, op, "good", certificates.contexts["good"])
        op.bad_url = await _listen(nursery, op, "bad", certificates.contexts[bad])
        op.state.issuer = op.bad_url if all_bad else good_url
        yield op
        nursery.cancel_scope.cancel()


async def _listen(nursery: trio.Nursery, op: TlsOp, place: str, context: ssl.SSLContext) -> str:
    async def answer(request: HttpRequest) -> HttpResponse:
        return await op.answer(place, request)

    async def serve(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await tls.do_handshake()
        except trio.BrokenResourceError:  # the client did not like the certificate
            await stream.aclose()
            return
        await serve_connection(tls, answer, Limits())

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, serve, listeners)
    return f"https://{HOST}:{listeners[0].socket.getsockname()[1]}"
