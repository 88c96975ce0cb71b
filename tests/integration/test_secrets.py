"""Every secret that was used, looked for in every place where somebody else could find it."""

from __future__ import annotations

import base64
import gc
import json
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from io import StringIO
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2
import pytest
import structlog
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.x509.oid import NameOID

from oxd_server.app import Running, serve
from oxd_server.config import Sources, load_config
from oxd_server.log import configure_logging
from oxd_server.sandbox import RunningSandbox
from scripts.hardening.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.integration.https_client import KEY, Front, running_front
from tests.integration.oxd_process import ServerProcess, write_config
from tests.integration.secret_traffic import Traffic, Witness, run_all
from tests.integration.stored import stored_rows

KEY_STORE_PASSWORD = "the-password-of-the-key-store"
TRUST_STORE_PASSWORD = "the-password-of-the-trust-store"
KINDS = {
    "access_token", "refresh_token", "id_token", "client_secret", "state", "nonce", "code",
    "code_verifier", "client_assertion", "ticket", "pct", "token", "Authorization:", "key", "password", "pat",
    "client_registration_access_token",
}  # fmt: skip
THE_OPS_WORDS = ("http_status_", "need_info")
"""Errors that pass on what the OP said, to the application that asked."""


def spellings(secret: str | bytes) -> set[str]:
    """The ways in which a secret could be written down."""
    raw = secret.encode() if isinstance(secret, str) else secret
    padded = [base64.b64encode(b"\0" * shift + raw).decode() for shift in range(3)]
    inner = {text.rstrip("=")[shift + 1 : -1] for shift, text in enumerate(padded)}
    inner |= {text.translate(str.maketrans("+/", "-_")) for text in inner}
    texts = {secret, quote(secret, safe="")} if isinstance(secret, str) else {repr(raw)[2:-1], raw.decode("latin-1")}
    return texts | inner | {raw.hex(), raw.hex().upper(), json.dumps(next(iter(texts)))[1:-1]}


@dataclass
class Search:
    """All the spellings of all the secrets; one pass over a text finds any of them."""

    secrets: Mapping[str | bytes, str] = field(repr=False)

    @cached_property
    def by_spelling(self) -> dict[str, str]:
        """What a text must not hold."""
        return {spelling: name for secret, name in self.secrets.items() for spelling in spellings(secret)}

    def found(self, text: str) -> list[str]:
        """Which secrets the text holds."""
        return sorted({name for spelling, name in self.by_spelling.items() if spelling in text})


def make_key_stores(folder: Path, witness: Witness) -> dict[str, str]:
    """Write a key store and a trust store with passwords; return the configuration of both."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keys of a test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    cert = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, SHA256())
    keys = pkcs12.serialize_key_and_certificates(
        b"k", key, cert, None, BestAvailableEncryption(KEY_STORE_PASSWORD.encode())
    )
    trusted = pkcs12.serialize_key_and_certificates(
        None, None, None, [cert], BestAvailableEncryption(TRUST_STORE_PASSWORD.encode())
    )
    for path, data in ((folder / "keys.p12", keys), (folder / "trusted.p12", trusted)):
        path.write_bytes(data)
    numbers = key.private_numbers()
    for part, number in (("d", numbers.d), ("p", numbers.p), ("q", numbers.q)):
        witness.note(f"key of the key store, {part}", number.to_bytes((number.bit_length() + 7) // 8))
    witness.note("password of the key store", KEY_STORE_PASSWORD)
    witness.note("password of the trust store", TRUST_STORE_PASSWORD)
    return {
        "crypt_provider_key_store_path": "keys.p12",
        "crypt_provider_key_store_password": KEY_STORE_PASSWORD,
        "trust_store_path": "trusted.p12",
        "trust_store_password": TRUST_STORE_PASSWORD,
    }


@asynccontextmanager
async def proxied(sandbox: RunningSandbox) -> AsyncIterator[FaultProxy]:
    """The sandbox behind a proxy, which takes over its address."""
    address = urlsplit(sandbox.issuer)
    async with fault_proxy((address.hostname or "", address.port or 0)) as proxy:
        sandbox.state.issuer = proxy.url
        yield proxy


def note_files(folder: Path, witness: Witness) -> None:
    """Write down the secrets in the server's own files: the keys in the store, the key of the HTTPS front."""
    for name, value in stored_rows(folder)["secret"]:
        witness.note(f"key in the store, {name}", value)
    witness.note("key of the HTTPS front", "".join((folder / KEY).read_text().splitlines()[1:-1])[40:])


async def break_store(traffic: Traffic, folder: Path) -> None:
    """Let commands fail inside: a table of the store is gone."""
    site = await traffic.register()
    login = await traffic.code(site)
    with sqlite3.connect(folder / "data" / "oxd.db") as connection:
        connection.execute("DROP TABLE spent")
        connection.execute("DROP TABLE site_session")
    connection.close()
    await traffic.refused("get_tokens_by_code", **login)
    assert traffic.witness.errors[-1][0] == "internal_error"


def check_kinds(witness: Witness) -> None:
    """Make sure that there was something to be found."""
    assert witness.kinds() >= KINDS, KINDS - witness.kinds()
    assert len(witness.secrets) > 100


def readable_by_others(folder: Path) -> Iterator[Path]:
    """The files that somebody else than their owner may read, or the group."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            yield path


def check_errors(search: Search, errors: Iterable[tuple[str, str]]) -> None:
    """No error answer repeats a secret, unless the OP said it to whom it belongs."""
    for code, text in errors:
        if not code.startswith(THE_OPS_WORDS):
            assert search.found(text) == [], code


async def test_a_server_process(sandbox: RunningSandbox, tmp_path: Path) -> None:
    """No secret is in the debug log, in a traceback, in an error answer, in /proc or in a file that others can read."""
    witness = Witness()
    config = {"log_level": "debug", **make_key_stores(tmp_path, witness)}
    async with proxied(sandbox) as proxy, running_front(tmp_path, config) as front:
        for name in ("oxd-conf.json", "keys.p12", "trusted.p12"):
            (tmp_path / name).chmod(0o600)  # written by this test; the server's own files are as the server made them
        traffic = Traffic(front, proxy, witness)
        await run_all(traffic)
        note_files(tmp_path, witness)
        await break_store(traffic, tmp_path)
        witness.note_op_traffic(proxy.recorded or [])
        check_kinds(witness)
        search = Search(witness.secrets)
        for name in ("cmdline", "environ"):
            text = Path(f"/proc/{front.server.pid}/{name}").read_text("latin-1")
            assert search.found(text) == [], name
    log = front.server.log_text()
    for said in ('"outcome":"ok"', '"outcome":"error"', "command_failed", "Traceback"):
        assert said in log
    assert search.found(log) == [], log
    assert "eyJ" not in log, "the beginning of every JWT"
    files = list(readable_by_others(tmp_path))
    assert tmp_path / "oxd-server.log" in files
    for path in files:
        assert search.found(path.read_bytes().decode("latin-1")) == [], path
    check_errors(search, witness.errors)


class OwnProcess(ServerProcess):
    """A server in the process of the test."""

    def __init__(self, port: int) -> None:
        self.port = port


@contextmanager
def logging_to(stream: StringIO) -> Iterator[None]:
    """The log of this process, as the server writes it, for as long as the block lasts."""
    before = structlog.get_config()
    configure_logging("debug", "console", stream)
    try:
        yield
    finally:
        structlog.configure(**before)


async def test_objects_in_memory(sandbox: RunningSandbox, tmp_path: Path) -> None:
    """No object of the server shows a secret when it is printed, while commands run and after they did."""
    witness, log = Witness(), StringIO()
    section = {"enabled": True, "port": 0, "bind_addresses": ["127.0.0.1"]}
    path = write_config(tmp_path, {"https": section, **make_key_stores(tmp_path, witness)})
    async with proxied(sandbox) as proxy, trio.open_nursery() as nursery:
        with logging_to(log):
            running: Running = await nursery.start(serve, load_config(path), Sources(path))
            port = running.https_addresses[0][1]
            async with httpx2.AsyncClient(
                verify=False, trust_env=False, base_url=f"https://localhost:{port}"
            ) as client:
                front = Front(OwnProcess(running.addresses[0][1]), port, tmp_path, httpx2.create_ssl_context(), client)
                traffic = Traffic(front, proxy, witness)
                await run_all(traffic)
                note_files(tmp_path, witness)
                site = await traffic.register()
                login = await traffic.code(site)
                await proxy.set(Fault.HANG_AFTER)
                nursery.start_soon(lambda: traffic.call("get_tokens_by_code", **login))
                await proxy.until_hanging(1)
                witness.note_op_traffic(proxy.recorded or [])
                check_kinds(witness)
                search = Search(witness.secrets)
                shown = "\n".join(shown_objects())
            nursery.cancel_scope.cancel()
    assert "Services(" in shown
    assert search.found(shown) == []
    assert search.found(log.getvalue()) == []


def shown_objects() -> Iterator[str]:
    """The repr of every object of the packages that is alive; the sandbox is the other side."""
    for one in gc.get_objects():
        module = str(getattr(type(one), "__module__", ""))
        if module.startswith(("oxd_server", "oxd_protocol")) and not module.startswith("oxd_server.sandbox"):
            yield repr(one)


@pytest.mark.parametrize("secret", ["a secret/with?everything=in&it+ü", "plain-token_123456789"])
@pytest.mark.parametrize("shift", range(3))
def test_every_spelling_is_found(secret: str, shift: int) -> None:
    """The search finds a secret as it is, percent-encoded, in hex, and within base64 at any offset."""
    raw = secret.encode()
    search = Search({secret: "it"})
    before = "x" * shift
    for text in (
        secret,
        quote(secret, safe=""),
        raw.hex(),
        base64.b64encode(before.encode() + raw + b"more").decode(),
        base64.urlsafe_b64encode(before.encode() + raw).decode(),
    ):
        assert search.found(f"...{text}...") == ["it"], text
    assert search.found("nothing") == []
