"""TLS to an OP, with real certificates over real sockets."""

import ssl

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, pkcs12

from oxd_server.op.errors import KeyFileError, OpUnreachable
from oxd_server.op.tls import make_ssl_context


async def ask(tls_op, open_transport, certificate, context, host="localhost"):
    """One GET to an OP with this certificate, trusting as `context` says."""
    async with tls_op(certificate, host) as op, open_transport(ssl_context=context) as transport:
        answer = await transport.send("GET", op.on("GET", "/", {"a": 1}), step="s")
        return answer.json_object()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_trusted_certificate(tls_op, open_transport, authority, host):
    """A certificate that an authority of the PEM trust store signed is accepted."""
    context = make_ssl_context(authority.own.trust_store())
    assert await ask(tls_op, open_transport, authority.issue(host), context, host) == {"a": 1}


async def test_certificate_trusted_by_itself(tls_op, open_transport, authority):
    """A trust store may hold the OP's own certificate instead of its authority's."""
    certificate = authority.issue()
    assert await ask(tls_op, open_transport, certificate, make_ssl_context(certificate.trust_store())) == {"a": 1}


@pytest.mark.parametrize("password", ["secret", None])
async def test_pkcs12_trust_store(tls_op, open_transport, authority, tmp_path, password):
    """A PKCS#12 trust store works as a PEM bundle does."""
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    path = tmp_path / "trust.p12"
    path.write_bytes(pkcs12.serialize_key_and_certificates(None, None, None, [authority.own.certificate], encryption))
    context = make_ssl_context(path, password)
    assert await ask(tls_op, open_transport, authority.issue(), context) == {"a": 1}


async def refused(tls_op, open_transport, certificate, context):
    async with tls_op(certificate) as op, open_transport(ssl_context=context) as transport:
        with pytest.raises(OpUnreachable) as caught:
            await transport.send("GET", op.on("GET", "/", {}), step="s")
        assert op.requests == []
    assert caught.value.cause == "tls"
    return caught.value.reason


async def test_untrusted_certificate_is_refused(tls_op, open_transport, authority, system_context):
    """A certificate of an authority that the system does not know is refused before anything is sent."""
    reason = await refused(tls_op, open_transport, authority.issue(), system_context)
    assert "not trusted" in reason


async def test_certificate_of_another_authority_is_refused(tls_op, open_transport, authority, make_authority):
    """A trust store trusts what it holds and nothing else."""
    context = make_ssl_context(make_authority().own.trust_store())
    assert "not trusted" in await refused(tls_op, open_transport, authority.issue(), context)


async def test_expired_certificate_is_refused(tls_op, open_transport, authority):
    """An expired certificate is refused, and the reason says so."""
    context = make_ssl_context(authority.own.trust_store())
    reason = await refused(tls_op, open_transport, authority.issue(expired=True), context)
    assert "expired" in reason


async def test_certificate_of_another_host_is_refused(tls_op, open_transport, authority):
    """A valid certificate for another host is refused, and the reason says so."""
    context = make_ssl_context(authority.own.trust_store())
    reason = await refused(tls_op, open_transport, authority.issue("op.example"), context)
    assert "mismatch" in reason.lower()


async def test_trust_all_accepts_anything(tls_op, open_transport, authority):
    """The insecure choice accepts an expired certificate of an unknown authority for another host."""
    certificate = authority.issue("op.example", expired=True)
    assert await ask(tls_op, open_transport, certificate, make_ssl_context(trust_all=True)) == {"a": 1}


async def test_plain_http_server_behind_https_is_unreachable(op, transport):
    """A server that speaks no TLS where TLS is meant is unreachable."""
    with pytest.raises(OpUnreachable, match="TLS"):
        await transport.send("GET", op.base.replace("http:", "https:"), step="s")


def test_context_verifies_by_default(system_context):
    """By default certificates and host names are verified and old TLS is off."""
    assert system_context.verify_mode is ssl.CERT_REQUIRED
    assert system_context.check_hostname
    assert system_context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("magic", [b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce"])
def test_java_key_store_is_refused_with_advice(tmp_path, magic):
    """A JKS file is refused with the command that converts it."""
    path = tmp_path / "trust.jks"
    path.write_bytes(magic + b"\0" * 20)
    with pytest.raises(KeyFileError, match=r"keytool -importkeystore .*-deststoretype PKCS12"):
        make_ssl_context(path)


@pytest.mark.parametrize("content", [b"junk", b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_trust_store_without_certificates_is_refused(tmp_path, content):
    """A file that holds no certificate is refused with its path."""
    path = tmp_path / "trust.pem"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"trust\.pem"):
        make_ssl_context(path)


def test_wrong_password_of_a_trust_store(authority, tmp_path):
    """A PKCS#12 trust store that its password does not open is refused."""
    path = tmp_path / "trust.p12"
    encryption = BestAvailableEncryption(b"right")
    path.write_bytes(pkcs12.serialize_key_and_certificates(None, None, None, [authority.own.certificate], encryption))
    with pytest.raises(KeyFileError, match="password"):
        make_ssl_context(path, "wrong")


def test_absent_and_oversized_files(tmp_path):
    """A trust store that is not there, or is far too large, is refused."""
    with pytest.raises(KeyFileError, match="No such file"):
        make_ssl_context(tmp_path / "absent.pem")
    path = tmp_path / "large.pem"
    with path.open("wb") as file:
        file.truncate(11 * 1024 * 1024)
    with pytest.raises(KeyFileError, match="larger"):
        make_ssl_context(path)


async def test_a_trust_store_is_beside_the_systems(tls_op, open_transport, authority, make_authority, monkeypatch):
    """With a trust store, what the system trusts is trusted as before."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.own.trust_store()))
    context = make_ssl_context(make_authority().own.trust_store())
    assert await ask(tls_op, open_transport, authority.issue(), context) == {"a": 1}
