"""A Keycloak of its own for the tests: in memory, on a free port of this machine.

It has two realms: `oxd` (`realm.json`), an authorization server of UMA, and `login` (`login-realm.json`), where users
log in.

`./scripts/test --keycloak` unpacks it and says where it lies (TEST_KEYCLOAK_HOME).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives.serialization import Encoding

from tests.integration.tls_op import Authority, make_authority, write_certificate

HOME = "TEST_KEYCLOAK_HOME"  # not OXD_...: the server warns of variables of its own that it does not know
REALMS = ("realm.json", "login-realm.json")
ADMIN = {"KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": "admin"}
POLICIES = "org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy"
REGISTRATIONS = 100
ANSWER_SECONDS = 60
START_SECONDS = 480
STOP_SECONDS = 30
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Keycloak:
    """A running Keycloak at `base`, and on TLS at `tls_base`.

    Attributes:
        authority: whose certificate it shows on TLS, and whose it knows clients by.
        trust_store: a file with that authority's own certificate.
    """

    base: str
    tls_base: str
    authority: Authority
    trust_store: Path

    def on_tls(self) -> Keycloak:
        """The same Keycloak by its other address: its realms have other issuers there."""
        return replace(self, base=self.tls_base)

    def issuer(self, realm: str) -> str:
        """The issuer of a realm."""
        return f"{self.base}/realms/{realm}"

    def initial_access_token(self, realm: str) -> str:
        """A token for registering clients in the realm, as an administrator makes it."""
        wanted = {"count": REGISTRATIONS, "expiration": 3600}
        return str(self._administer("POST", f"{realm}/clients-initial-access", wanted)["token"])

    def allow_scopes(self, realm: str, *scopes: str) -> None:
        """Let clients register these scopes: by default they may name those alone that the realm calls optional."""
        for policy in self._administer("GET", f"{realm}/components?type={POLICIES}"):
            if policy["providerId"] == "allowed-client-templates":
                policy["config"]["allowed-client-scopes"] = list(scopes)
                self._administer("PUT", f"{realm}/components/{policy['id']}", policy)

    def allow_device_login(self, realm: str, client_id: str) -> None:
        """Let the client log users in on other devices: that is the administrator's to say, not the client's."""
        client = self._client(realm, client_id)
        client["attributes"]["oauth2.device.authorization.grant.enabled"] = "true"
        self._administer("PUT", f"{realm}/clients/{client['id']}", client)

    def allow_exchange(self, realm: str, client_id: str, audience: str) -> None:
        """Let the client exchange tokens for some that another client is the audience of."""
        target, management = self._client(realm, audience)["id"], self._client(realm, "realm-management")["id"]
        server = f"{realm}/clients/{management}/authz/resource-server"
        enabled = self._administer("PUT", f"{realm}/clients/{target}/management/permissions", {"enabled": True})
        permission = f"{server}/permission/scope/{enabled['scopePermissions']['token-exchange']}"
        wanted = {"name": f"{client_id} may exchange", "clients": [self._client(realm, client_id)["id"]]}
        policy = self._administer("POST", f"{server}/policy/client", wanted)
        self._administer("PUT", permission, {**self._administer("GET", permission), "policies": [policy["id"]]})

    def _client(self, realm: str, client_id: str) -> Any:
        (client,) = self._administer("GET", f"{realm}/clients?clientId={client_id}")
        return client

    def _administer(self, method: str, path: str, body: object = None) -> Any:
        admin = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": "admin"}
        url = f"{self.issuer('master')}/protocol/openid-connect/token"
        token = self._ask(urllib.request.Request(url, urlencode(admin).encode()))["access_token"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        return self._ask(urllib.request.Request(f"{self.base}/admin/realms/{path}", data, headers, method=method))

    def _ask(self, request: urllib.request.Request) -> Any:
        trust = ssl.create_default_context(cafile=self.trust_store)
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=trust) as answer:
            return json.loads(answer.read() or b"null")


@contextmanager
def running_keycloak(files: Path, *features: str) -> Iterator[Keycloak]:
    """Run Keycloak with both realms and these features of it that are off by default.

    `files` is a folder for its certificates, and for its output (`keycloak.log`).
    """
    home = os.environ.get(HOME)
    assert home, f"{HOME} is not set: run ./scripts/test --keycloak"
    folder = Path(home)
    (folder / "data" / "import").mkdir(parents=True, exist_ok=True)
    for realm in REALMS:
        shutil.copy(Path(__file__).with_name(realm), folder / "data" / "import" / realm)
    authority, trust_store, shown = make_authority("an authority"), files / "trust.pem", files / "keycloak.pem"
    trust_store.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    write_certificate(shown, authority, "localhost")
    port, tls_port, log = _free_port(), _free_port(), files / "keycloak.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", str(folder / "bin" / "kc.sh"), "start-dev", "--db=dev-mem", "--import-realm",
             "--http-host=127.0.0.1", f"--http-port={port}",
             *([f"--features={','.join(features)}"] if features else []),
             f"--https-port={tls_port}", f"--https-certificate-file={shown}", f"--https-certificate-key-file={shown}",
             "--https-client-auth=request", f"--truststore-paths={trust_store}",
             # It sends logout tokens to fronts whose certificates are made after it has started.
             "--spi-connections-http-client-default-disable-trust-manager=true"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **ADMIN, "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m"},
        )  # fmt: skip
    keycloak = Keycloak(f"http://127.0.0.1:{port}", f"https://localhost:{tls_port}", authority, trust_store)
    try:
        _wait_for(keycloak.issuer("oxd"), process, log)
        yield keycloak
    finally:
        _stop(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _wait_for(issuer: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{issuer}/.well-known/uma2-configuration", timeout=POLL_SECONDS * 10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_SECONDS)  # it takes a minute to start, and tells nobody when it is ready
    raise AssertionError(f"Keycloak did not start:\n{log.read_text('utf-8', 'replace')[-4000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
