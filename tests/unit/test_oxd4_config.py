"""The configuration of oxd 4.x loads: each key is honoured, or named with the reason why it has no effect."""

import json
from pathlib import Path

import pytest

from oxd_server.cli import main
from oxd_server.config import ConfigError, load_config, load_default_site
from oxd_server.config.oxd4 import _WITHOUT_EFFECT

OLD = """\
# server configuration
use_client_authentication_for_pat: true
trust_all_certs: false
trust_store_path: ''
support-google-logout: true
state_expiration_in_minutes: 7
protect_commands_with_access_token: true
accept_id_token_without_signature: false
id_token_validation_c_hash_required: true
tls_version: ['TLSv1.2']
proxy_configuration: {}
fapi_enabled: true
bind_ip_addresses: ['10.0.0.7']
allowed_op_hosts: []
storage: h2
storage_configuration:
  dbFileLocation: /opt/oxd-server/data/oxd_db

server:
  applicationConnectors:
    - type: https
      port: 9443
      keyStorePath: /opt/oxd-server/conf/oxd-server.keystore
      keyStorePassword: example
      validateCerts: false
    - type: http
      port: 9080
  adminConnectors:
    - type: https
      port: 8444
logging:
  level: WARN
  loggers:
    org.gluu: TRACE

defaultSiteConfig:
  op_host: https://op.example.org
  scope: ['openid', 'oxd']
  client_name: 2020-01-01
  client_secret: ''
  strange: 1
"""


def written(folder: Path, text: str) -> Path:
    """Write an old configuration."""
    path = folder / "oxd-server.yml"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path


def test_an_old_file_loads(tmp_path: Path) -> None:
    """Keys of the same name, the connector, the log's level and the default site are taken over."""
    path = written(tmp_path, OLD)
    config = load_config(path)
    assert (config.https.enabled, config.https.port, config.https.dialect) == (True, 9443, "4")
    assert config.https.bind_addresses == ("0.0.0.0", "::")
    assert config.bind_ip_addresses == ("10.0.0.7/32",)
    assert (config.state_expiration_in_minutes, config.log_level) == (7, "warning")
    assert config.op_settings["https://op.example.org"].fapi_enabled
    assert config.store_path == Path("/opt/oxd-server/data/oxd_db.sqlite")
    site = load_default_site(config.default_site_path)
    assert (site.op_host, site.client_name) == ("https://op.example.org", "2020-01-01")
    assert site.warnings == ("oxd-server.yml: defaultSiteConfig.strange is an unknown key",)
    named = [line.split(" ")[1] for line in config.warnings if "has no effect" in line]
    assert named == [
        "server.applicationConnectors[0].keyStorePath", "server.applicationConnectors[0].keyStorePassword",
        "server.applicationConnectors[0].validateCerts", "server.applicationConnectors[1]", "server.adminConnectors",
        "logging.loggers", "id_token_validation_c_hash_required", "tls_version",
    ]  # fmt: skip


def test_who_may_call_by_default(tmp_path: Path) -> None:
    """Without bind_ip_addresses only this machine may call; bindHost and a bare OFF are understood."""
    text = (
        "logging: {level: OFF}\nfapi_enabled: true\nserver: {applicationConnectors: [{type: https, bindHost: '::1'}]}"
    )
    config = load_config(written(tmp_path, text))
    assert (config.bind_ip_addresses, config.https.bind_addresses) == ((), ("::1",))
    assert config.log_level == "critical"
    assert any("fapi_enabled has no effect" in line for line in config.warnings)
    assert load_config(written(tmp_path, "fapi_enabled: false")).op_settings == {}


def test_metrics_of_either_server(tmp_path: Path) -> None:
    """Those of the old server's framework do nothing; ours, written into the old file, count."""
    old = load_config(written(tmp_path, "metrics: {frequency: 1 minute, reporters: []}"))
    assert not old.metrics.enabled
    assert any("metrics has no effect" in line for line in old.warnings)
    assert load_config(written(tmp_path, "metrics: {enabled: true}")).metrics.enabled


@pytest.mark.parametrize("key", sorted(_WITHOUT_EFFECT))
def test_no_key_of_4_is_unknown(tmp_path: Path, key: str) -> None:
    """A key that does nothing is named with the reason, once."""
    warnings = load_config(written(tmp_path, f"{key}: something")).warnings
    assert [line.startswith(f"oxd-server.yml: {key} has no effect: ") for line in warnings] == [True]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\na: 2", "line 2, column 1: a is there twice"),
        ("server:\n\tport: 1", "line 2, column 1: "),
        ("a: [1", "line 1, column 6: "),
        ("a: &x [1]\nb: *x", "line 2, column 4: aliases are not taken"),
        ("a: !!python/object/apply:os.system [id]", "line 1, column 4: the tag"),
        ("a: .inf", "line 1, column 4: the number is not finite"),
        ("1: a", "line 1, column 1: a key must be a text"),
        ("- a", "is not a YAML object"),
        ("a: \x01", "strange character"),
        ("[" * 5000, "nested too deeply"),
        (f"# {'x' * 300_000}", "is longer than"),
        ("state_expiration_in_minutes: many", 'state_expiration_in_minutes: "many" is wrong'),
        ("storage: ldap", "storage"),
        ("server: 1", "server is wrong: expected an object"),
        ("server: {applicationConnectors: 1}", "server.applicationConnectors is wrong: expected a list"),
        ("server: {applicationConnectors: [1]}", "applicationConnectors[0] is wrong"),
        ("server: {applicationConnectors: [{type: https, port: x}]}", 'applicationConnectors[0].port: "x" is wrong'),
        ("server: {applicationConnectors: [{type: https, bindHost: x}]}", "bindHost is wrong: expected an IP address"),
        ("https: 1", "https is wrong: expected an object"),
        ("logging: {level: LOUD}", "logging.level is wrong"),
        ("defaultSiteConfig: 1", "defaultSiteConfig: 1 is wrong: expected an object"),
        ("defaultSiteConfig: {scope: 5}", "'scope'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, reason: str) -> None:
    """One line says what is wrong, and where."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_default_site(load_config(path).default_site_path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, and one that is no text, are named."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yml")
    (tmp_path / "binary.yml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "binary.yml")


def test_keys_of_the_front_are_taken_from_the_old_file(tmp_path: Path) -> None:
    """A certificate for the front may stand in the old file, beside the old connectors."""
    https = load_config(written(tmp_path, OLD + "https: {cert_path: /etc/cert.pem, key_path: /etc/key.pem}\n")).https
    assert (https.enabled, https.port, https.cert_path) == (True, 9443, Path("/etc/cert.pem"))


def test_check_config_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what each key became, and which has no effect and why."""
    assert main(["check-config", "--config", str(written(tmp_path, OLD))]) == 0
    out = capsys.readouterr().out
    assert "server.applicationConnectors[0].port is https.port here" in out
    assert "state_expiration_in_minutes is the same here" in out
    assert "warning: oxd-server.yml: tls_version has no effect" in out
    assert "defaultSiteConfig.strange is an unknown key" in out


def test_config_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The two files that it prints mean what the old one meant; a JSON file is refused."""
    path = written(tmp_path, OLD)
    new, site = tmp_path / "oxd-conf.json", tmp_path / "oxd-default-site-config.json"
    for file, options in ((new, []), (site, ["--default-site"])):
        assert main(["config", "convert", *options, str(path)]) == 0
        printed = capsys.readouterr()
        file.write_text(printed.out, "utf-8")
        assert "tls_version has no effect" in printed.err
    one, other = load_config(path), load_config(new)
    assert (one.https, one.op_settings, one.store_path) == (other.https, other.op_settings, other.store_path)
    assert load_default_site(site).scope == load_default_site(path).scope
    assert json.loads(site.read_text("utf-8"))["op_host"] == "https://op.example.org"
    assert main(["config", "convert", str(new)]) == 1
    assert "is no oxd-server.yml" in capsys.readouterr().err
