"""Facts about the front's TLS, as a scanner would collect them."""

from __future__ import annotations

import socket
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from oxd_server.entrances.certificates import ensure_self_signed
from tests.integration import preloaded
from tests.integration.https_client import CERT, KEY, running_front
from tests.integration.oxd_process import write_config


async def handshake(port: int, context: ssl.SSLContext) -> ssl.SSLObject | trio.SSLStream[trio.SocketStream]:
    """Shake hands; the connection stays open."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    secure = trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True)
    try:
        with trio.fail_after(10):
            await secure.do_handshake()
    finally:
        await trio.aclose_forcefully(stream)
    return secure


def check_resumption(port: int, context: ssl.SSLContext) -> None:
    """Assert that of two connections the second one resumes the session of the first."""
    session: ssl.SSLSession | None = None
    for is_resumed in (False, True):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as secure,
        ):
            secure.sendall(b"GET /health-check HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert secure.recv(65_536).startswith(b"HTTP/1.1 200")
            assert secure.session_reused is is_resumed
            session = secure.session


def context_for(cafile: Path, version: ssl.TLSVersion, ciphers: str | None = None) -> ssl.SSLContext:
    """Return a client context for one version, with OpenSSL's own refusal of old ones switched off."""
    context = ssl.create_default_context(cafile=cafile)
    context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    if version >= ssl.TLSVersion.TLSv1_2:
        context.minimum_version = version
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_only_tls_1_2_and_1_3_are_spoken(tmp_path: Path) -> None:
    """Older versions are refused, and with TLS 1.2 only suites with forward secrecy and authenticated encryption.

    In both versions a client that comes back with its ticket (RFC 8446, section 2.2; RFC 5077) resumes its session.
    """
    async with running_front(tmp_path) as front:
        cert = tmp_path / CERT
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            with pytest.raises(trio.BrokenResourceError):
                await handshake(front.port, context_for(cert, version))
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            stream = await handshake(front.port, context_for(cert, version))
            assert stream.version() == name
            assert stream.compression() is None
            await trio.to_thread.run_sync(check_resumption, front.port, context_for(cert, version))
        # The last two are among those that Python's own list takes, with forward secrecy but without authentication.
        weak_ones = ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256", "NULL",
                     "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384")  # fmt: skip
        for weak in weak_ones:
            with pytest.raises(trio.BrokenResourceError):
                await handshake(front.port, context_for(cert, ssl.TLSVersion.TLSv1_2, f"{weak}:@SECLEVEL=0"))


async def test_the_self_signed_certificate_is_made_once_and_kept(tmp_path: Path) -> None:
    """It is good for localhost by name and by address, the same after a restart, and its key is private."""
    async with running_front(tmp_path) as front:
        assert (await front.client.get("/health-check")).status_code == 200
        assert (await front.client.get(f"https://127.0.0.1:{front.port}/health-check")).status_code == 200
        assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600
        first = (tmp_path / CERT).read_bytes(), (tmp_path / KEY).read_bytes()
        assert b"PRIVATE KEY" not in first[0]
        await front.server.wait_for_log("self_signed_certificate")
    async with running_front(tmp_path):
        assert ((tmp_path / CERT).read_bytes(), (tmp_path / KEY).read_bytes()) == first


async def test_a_configured_certificate_is_used(tmp_path: Path) -> None:
    """With cert_path and key_path the front shows that certificate and makes none."""
    cert, key = ensure_self_signed(tmp_path / "own", datetime.now(UTC))
    async with running_front(tmp_path, cert_path=str(cert), key_path=str(key)) as front:
        own = ssl.create_default_context(cafile=cert)
        stream = await handshake(front.port, own)
        assert stream.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(cert.read_text())
        assert not (tmp_path / CERT).exists()


def test_a_certificate_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """A missing file, a key of another certificate and one that is no PEM are each named in one line; exit code 1."""
    cert, key = ensure_self_signed(tmp_path / "one", datetime.now(UTC))
    _, other_key = ensure_self_signed(tmp_path / "two", datetime.now(UTC))
    junk = tmp_path / "junk"
    junk.write_text("no PEM")
    for cert_path, key_path, named in (
        (tmp_path / "missing", key, "https.cert_path"),
        (cert, tmp_path / "missing", "https.key_path"),
        (cert, other_key, "https.cert_path and https.key_path"),
        (junk, key, "https.cert_path and https.key_path"),
        (cert, junk, "https.cert_path and https.key_path"),
    ):
        https = {"enabled": True, "port": 0, "cert_path": str(cert_path), "key_path": str(key_path)}
        config = write_config(tmp_path, {"https": https})
        run = preloaded.run("serve", "--config", config)
        assert run.returncode == 1
        last = run.stderr.strip().splitlines()[-1]
        assert last.startswith("oxd-server: ")
        assert named in last
        assert "Traceback" not in run.stderr


def resumes(port: int, context: ssl.SSLContext) -> bool:
    """Ask twice over connections of their own, the second with the session of the first; tell whether it was taken."""
    session: ssl.SSLSession | None = None
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as secure,
        ):
            secure.sendall(b"GET /health-check HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert secure.recv(1000).startswith(b"HTTP/1.1 200 ")  # in TLS 1.3 the session comes after the handshake
            session, reused = secure.session, secure.session_reused
    return bool(reused)


async def test_sessions_are_resumed(tmp_path: Path) -> None:
    """A client that connects for each command shakes hands in full only once."""
    async with running_front(tmp_path) as front:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = context_for(tmp_path / CERT, version)
            assert await trio.to_thread.run_sync(resumes, front.port, context), version
