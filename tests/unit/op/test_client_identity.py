"""Client certificates: the files that hold them, the connections that they are shown on, and those of others."""

from __future__ import annotations

import base64
import datetime
import ssl
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey

from oxd_server.op.client_auth import ClientCredentials
from oxd_server.op.client_identity import load_client_identity, thumbprint_of
from oxd_server.op.errors import KeyFileError, OpUnreachable
from oxd_server.op.tls import make_ssl_context
from oxd_server.op.tokens import request_client_token
from oxd_server.op.userinfo import get_userinfo, userinfo_expectations
from oxd_server.rp.certificates import ClientCertificates
from oxd_server.store import Site
from tests.unit.op.conftest import Authority, Certificate

TOKENS = {"access_token": "at", "token_type": "Bearer"}


def pem_of(certificate, password=None):
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    key = certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return key + certificate.certificate.public_bytes(Encoding.PEM)


@pytest.fixture
def identity(tmp_path, authority):
    """Loads what is written into a file, trusting the authority."""

    def load(content, password=None):
        path = tmp_path / "client"
        path.write_bytes(content)
        return load_client_identity(path, password, make_ssl_context(authority.own.trust_store()))

    return load


@dataclass(frozen=True)
class Asking:
    """A server's certificate, and whose certificates it wants to be shown."""

    certificate: Certificate
    authority: Authority

    def server_context(self) -> ssl.SSLContext:
        context = self.certificate.server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.authority.own.trust_store())
        return context


@pytest.mark.parametrize("form", ["pem", "locked pem", "pkcs12"])
def test_files(identity, authority, form):
    """PEM and PKCS#12 are read, locked ones too; the JWK has the certificate, the subject is as in RFC 4514."""
    certificate = authority.issue()
    password = None if form == "pem" else "secret"
    content = pem_of(certificate, None if form == "pem" else b"secret")
    if form == "pkcs12":
        chain = [authority.own.certificate]
        content = pkcs12.serialize_key_and_certificates(
            b"me", certificate.key, certificate.certificate, chain, BestAvailableEncryption(b"secret")
        )
    loaded = identity(content, password)
    assert loaded.subject == certificate.certificate.subject.rfc4514_string()
    (x5c,) = loaded.jwk["x5c"]
    assert base64.b64decode(x5c) == certificate.certificate.public_bytes(Encoding.DER)
    members = {name: loaded.jwk[name] for name in ("kty", "crv", "x", "y")}
    assert ECKey.import_key(members).thumbprint() == loaded.jwk["kid"]
    assert not {"d", "p", "q"} & loaded.jwk.keys()


def test_files_that_are_none(identity, authority, tmp_path):
    """What cannot be used is named, with the reason; the password is not repeated."""
    certificate = authority.issue()
    for content, password in (
        (pem_of(certificate, b"secret"), "wrong-password"),
        (certificate.certificate.public_bytes(Encoding.PEM), None),
        (b"-----BEGIN nothing", None),
        (b"nothing", None),
        (pkcs12.serialize_key_and_certificates(None, certificate.key, None, None, NoEncryption()), None),
        (certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), None),
    ):
        with pytest.raises(KeyFileError) as caught:
            identity(content, password)
        assert str(tmp_path / "client") in str(caught.value)
        assert "wrong-password" not in str(caught.value)


def test_keys_that_a_jwk_set_cannot_hold(identity):
    """A certificate for another kind of key is told as such."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    start = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, start, start + datetime.timedelta(days=9999))
    pem = builder.sign(key, None).public_bytes(Encoding.PEM)
    with pytest.raises(KeyFileError, match="neither RSA nor EC"):
        identity(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem)


def test_whose_certificate_counts(identity, authority):
    """A site's own, else that for its OP, else the one for all."""
    one, two, three = (identity(pem_of(authority.issue(str(number)))) for number in range(3))
    certificates = ClientCertificates(one, {"site-2": two, "op.example:8443": three})

    def of(oxd_id, op_host="https://op.example"):
        return certificates.of(Site(oxd_id=oxd_id, op_host=op_host))

    assert (of("site-1"), of("site-2"), of("site-1", "https://op.example:8443")) == (one, two, three)
    assert of("site-2", "https://op.example:8443") is two
    assert ClientCertificates().of(Site(oxd_id="site-1", op_host="https://op.example")) is None


async def test_it_is_shown_on_connections_of_its_own(tls_op, open_transport, identity, authority):
    """Requests with the identity get in, those without it do not, and neither gets the other's connection."""
    asking = Asking(authority.issue(), authority)
    shown = identity(pem_of(authority.issue("client")))
    trusting = make_ssl_context(authority.own.trust_store())
    async with (
        tls_op(asking) as op,
        open_transport(ssl_context=trusting) as transport,
    ):
        url = op.on("GET", "/", {})
        for _ in range(2):
            assert (await transport.send("GET", url, step="x", identity=shown)).status == 200
        assert op.connections == 1
        with pytest.raises(OpUnreachable):
            await transport.send("GET", url, step="x")
        assert (await transport.send("GET", url, step="x", identity=shown)).status == 200


async def test_endpoints_for_those_with_a_certificate(op, client, identity, authority):
    """A client with a certificate goes to the alias of an endpoint, any other one to the endpoint itself."""
    shown = identity(pem_of(authority.issue("client")))
    aliases = {"token_endpoint": f"{op.base}/mtls/token", "userinfo_endpoint": f"{op.base}/mtls/me", "jwks_uri": 7}
    document = {"issuer": op.base, "token_endpoint": f"{op.base}/token", "userinfo_endpoint": f"{op.base}/me"}
    op.on("GET", "/.well-known/openid-configuration", {**document, "mtls_endpoint_aliases": aliases})
    metadata = await client.discovery.get(op.base, None)
    assert metadata.mtls_aliases == {
        f"{op.base}/token": f"{op.base}/mtls/token", f"{op.base}/me": f"{op.base}/mtls/me"
    }  # fmt: skip
    for prefix, who in (("/mtls", shown), ("", None)):
        op.on("POST", f"{prefix}/token", TOKENS)
        op.on("GET", f"{prefix}/me", {"sub": "user"})
        method = "client_secret_post" if who is None else "tls_client_auth"
        credentials = ClientCredentials(client_id="c", client_secret="s", method=method, identity=who)
        await request_client_token(client, metadata, credentials)
        expected = userinfo_expectations(metadata, client_id="c", leeway=1.0)
        await get_userinfo(client, metadata, "at", expected, identity=who)
    asked = [(request.method, request.target) for request in op.requests[1:]]
    assert asked == [("POST", "/mtls/token"), ("GET", "/mtls/me"), ("POST", "/token"), ("GET", "/me")]
    assert op.requests[1].form == {"grant_type": "client_credentials", "client_id": "c"}


def test_certificates_that_others_have_shown(authority):
    """PEM, as a proxy escapes it, and DER in base64 have one thumbprint; what is none has none."""
    certificate = authority.issue().certificate
    pem, der = certificate.public_bytes(Encoding.PEM).decode(), certificate.public_bytes(Encoding.DER)
    (thumbprint,) = {thumbprint_of(text) for text in (pem, quote(pem, safe=""), base64.b64encode(der).decode())}
    assert thumbprint is not None
    assert len(thumbprint) == 43
    for text in ("", "nothing", "é", pem[:200], base64.b64encode(b"nothing").decode(), "A" * 40_000):
        assert thumbprint_of(text) is None
