"""SoftHSM: a PKCS#11 token without hardware, in a folder of the test's own."""

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

__all__ = ["PIN", "SoftHsm"]

PIN = "oxd-test-pin"
_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)  # fmt: skip


class SoftHsm:
    """A token with the label `oxd`. Its library reads the environment when it is first used in a process."""

    def __init__(self, folder: Path) -> None:
        """Make the token. Skips the test where a person wants none."""
        if os.environ.get("OXD_TEST_SKIP_SOFTHSM") == "1":
            pytest.skip("OXD_TEST_SKIP_SOFTHSM=1")
        self.folder, self.tokens, self.configuration = folder, folder / "tokens", folder / "softhsm2.conf"
        self.tokens.mkdir()
        self.configuration.write_text(f"directories.tokendir = {self.tokens}\n")
        self.module = next(path for path in _MODULES if Path(path).exists())
        self.add_token("oxd")

    def add_token(self, label: str) -> None:
        """Make another token."""
        self._run("--init-token", "--free", "--label", label, "--so-pin", "so-pin")

    def add(self, key: RSAPrivateKey | EllipticCurvePrivateKey, label: str, key_id: str) -> str:
        """Put a key into the token, with its public key; return its URI."""
        path = self.folder / "import.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self._run("--import", str(path), "--token", "oxd", "--label", label, "--id", key_id)
        path.unlink()
        return self.uri(label)

    def uri(self, label: str, token: str = "oxd") -> str:
        """Return the URI of a key by its label."""
        return f"pkcs11:token={token};object={label};type=private?module-path={self.module}"

    def _run(self, *arguments: str) -> None:
        environment = {**os.environ, "SOFTHSM2_CONF": str(self.configuration)}
        command = ["softhsm2-util", *arguments, "--pin", PIN]
        subprocess.run(command, check=True, capture_output=True, env=environment)
