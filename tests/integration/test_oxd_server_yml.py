"""A server that is started with the configuration of oxd 4.x, as it lies there after the old server has gone."""

from __future__ import annotations

from pathlib import Path

from oxd_server.sandbox import RunningSandbox
from tests.integration.https_client import CERT, front_of
from tests.integration.oxd_process import server_of

OLD = """\
# oxd-server.yml
use_client_authentication_for_pat: true
storage: h2
storage_configuration:
  dbFileLocation: {folder}/data/oxd_db
tls_version: ['TLSv1.2']
bind_ip_addresses: ['127.0.0.1']
server:
  applicationConnectors:
    - type: https
      port: 0
      bindHost: 127.0.0.1
      keyStorePath: /opt/oxd-server/conf/oxd-server.keystore
      keyStorePassword: example
logging:
  level: INFO
defaultSiteConfig:
  op_host: {issuer}
  redirect_uris: ['https://app.example.test/callback']
  scope: ['openid', 'oxd']
  grant_types: ['authorization_code', 'client_credentials']
port: 0
log_format: json
"""


async def test_a_server_starts_with_it(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """The front speaks dialect 4, the default site fills in what a request leaves out, and the log names the rest."""
    path = tmp_path / "oxd-server.yml"
    path.write_text(OLD.format(folder=tmp_path, issuer=sandbox.issuer), "utf-8")
    async with server_of(path) as server, front_of(server, tmp_path, tmp_path / CERT) as front:
        answer = await front.client.post("/register-site", json={})
        assert answer.status_code == 200, answer.text
        site = answer.json()
        assert site["op_host"] == sandbox.issuer
        credentials = {name: site[name] for name in ("client_id", "client_secret")}
        token = await front.client.post("/get-client-token", json={"op_host": sandbox.issuer, **credentials})
        assert isinstance(token.json()["access_token"], str)
        refused = await front.client.post("/get-rp", json={"oxd_id": site["oxd_id"]})
        assert (refused.status_code, refused.json()["error"]) == (403, "blank_access_token")
        assert "tls_version has no effect" in server.log_text()
    assert (tmp_path / "data" / "oxd_db.sqlite").exists()
