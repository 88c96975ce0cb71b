"""A server whose key lies in a PKCS#11 token logs in with it; what is wrong with the token stops the start."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from oxd_server.op.key_store import new_key_store
from oxd_server.sandbox import RunningSandbox
from tests.integration.logins import register
from tests.integration.oxd_process import running_server, write_config
from tests.softhsm import PIN, SoftHsm


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    """A token with a key; processes that start find it."""
    hsm = SoftHsm(tmp_path_factory.mktemp("hsm"))
    hsm.add(ec.generate_private_key(ec.SECP256R1()), "signing", "01")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(hsm.configuration))
        yield hsm


def oxd_server(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a subcommand."""
    command = [sys.executable, "-m", "oxd_server", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def config_of(hsm: SoftHsm, **changes: Any) -> dict[str, Any]:
    """A configuration with the token's key."""
    return {"crypt_provider_pkcs11_uris": [hsm.uri("signing")], "crypt_provider_pkcs11_pin": PIN, **changes}


async def test_login(tmp_path: Path, sandbox: RunningSandbox, hsm: SoftHsm) -> None:
    """A client registers the token's public key and authenticates with the private one, with signed requests."""
    async with running_server(tmp_path, config_of(hsm)) as server:
        rp = await register(
            server,
            sandbox.issuer,
            client_token_endpoint_auth_method="private_key_jwt",
            client_token_endpoint_auth_signing_alg="ES256",
        )
        await rp.log_in()
        log = server.log_text()
    assert PIN not in log
    done = oxd_server("keys", "public", "--config", str(tmp_path / "oxd-conf.json"))
    assert [key["crv"] for key in json.loads(done.stdout)["keys"]] == ["P-256"]


def test_rotation(tmp_path: Path, hsm: SoftHsm) -> None:
    """Keys in a token are not rotated: the message says what to do. Those of a key store beside it are."""
    done = oxd_server("keys", "rotate", "--config", str(write_config(tmp_path, config_of(hsm))))
    assert done.returncode != 0
    assert "make the new key with the token's own tools" in done.stderr
    new_key_store(tmp_path / "keys.json")
    config = config_of(hsm, crypt_provider_key_store_path=str(tmp_path / "keys.json"))
    assert oxd_server("keys", "rotate", "--config", str(write_config(tmp_path, config))).returncode == 0


def test_wrong_pin(tmp_path: Path, hsm: SoftHsm) -> None:
    """One clear line, without the PIN; the start has tried it once."""
    path = write_config(tmp_path, config_of(hsm, crypt_provider_pkcs11_pin="hid-pin-1"))
    done = oxd_server("check-config", "--config", str(path))
    assert done.returncode != 0
    assert "pkcs11:token=oxd;object=signing: the PIN (crypt_provider_pkcs11_pin) is wrong" in done.stdout + done.stderr
    assert "hid-pin-1" not in done.stdout + done.stderr
