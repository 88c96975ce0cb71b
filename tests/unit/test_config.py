"""The configuration: old files load, and whatever is wrong stops the start in one clear line."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxd_server.config import (
    Config,
    ConfigError,
    DefaultSite,
    HttpsConfig,
    StorageConfig,
    load_config,
    load_default_site,
)
from oxd_server.config.declaring import Settings, declared_keys
from oxd_server.config.kinds import MINUTES, TEXT, mapping
from oxd_server.config.reference import FILES

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
NOT_IN_THE_FILE = {"config_path", "warnings", "default_site_path", "store_path"}

OLD_CONFIG = {
    "port": "8199",
    "time_out_in_seconds": 0,
    "use_client_authentication_for_pat": False,
    "trust_all_certs": True,
    "trust_store_path": "",
    "trust_store_password": "",
    "crypt_provider_key_store_path": "keys/oxd.p12",
    "crypt_provider_key_store_password": "example",
    "crypt_provider_dn_name": "CN=oxd",
    "support-google-logout": "true",
    "state_expiration_in_minutes": 7,
    "nonce_expiration_in_minutes": None,
    "public_op_key_cache_expiration_in_minutes": 60,
    "protect_commands_with_access_token": False,
    "uma2_auto_register_claims_gathering_endpoint_as_redirect_uri_of_client": False,
    "migration_source_folder_path": "",
    "storage": "h2",
    "storage_configuration": {"dbFileLocation": "/opt/oxd-server/data/oxd_db"},
    "server_name": "oxd",
}

Write = Callable[[Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration (a value as JSON, or a text as it is), and say where it is."""

    def to_file(content: Any) -> Path:
        path = tmp_path / "oxd-conf.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return path

    return to_file


def test_no_file_means_all_defaults() -> None:
    """Without a file everything has its default, and the store lies under the current directory."""
    config = load_config(None)
    assert config == Config()
    assert (config.port, config.localhost_only, config.max_request_bytes) == (8099, True, 65536)
    assert config.store_path == Path("oxd-data/oxd.sqlite")
    assert config.default_site_path == Path("oxd-default-site-config.json")


def test_empty_file_means_all_defaults(write: Write) -> None:
    """An empty object is all defaults, with the store and the default site beside the file."""
    path = write({})
    config = load_config(path)
    assert config.store_path == path.parent / "oxd-data" / "oxd.sqlite"
    assert config.default_site_path == path.parent / "oxd-default-site-config.json"
    assert (
        msgspec.structs.asdict(config) | defaults_of("config_path", "store_path", "default_site_path") == as_default()
    )


def as_default() -> dict[str, Any]:
    return msgspec.structs.asdict(Config())


def defaults_of(*names: str) -> dict[str, Any]:
    return {name: as_default()[name] for name in names}


def test_old_file_loads_unchanged(write: Write) -> None:
    """The legacy server's file loads as it is, with texts for numbers, blanks and its own storage."""
    path = write(OLD_CONFIG)
    config = load_config(path)
    assert config.port == 8199
    assert config.support_google_logout is True
    assert config.use_client_authentication_for_pat is False
    assert config.protect_commands_with_access_token is False
    assert config.trust_store_path is None
    assert config.crypt_provider_key_store_path == path.parent / "keys/oxd.p12"
    assert config.crypt_provider_key_store_password == "example"
    assert (config.state_expiration_in_minutes, config.nonce_expiration_in_minutes) == (7, 5)
    assert config.storage == "file"
    assert config.store_path == Path("/opt/oxd-server/data/oxd_db.sqlite")
    assert config.migration_source_folder_path is None


def test_old_file_gets_its_warnings(write: Write) -> None:
    """Unknown keys, unchecked certificates and the storage that is not read are each named in a line."""
    path = write(OLD_CONFIG)
    path.chmod(0o600)
    warnings = load_config(path).warnings
    for word in ("server_name is an unknown key", "trust_all_certs", "h2"):
        assert len([line for line in warnings if word in line]) == 1
    assert len(warnings) == 3


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_files_with_secrets_that_others_can_read_are_named(write: Write, tmp_path: Path, mode: int) -> None:
    """A configuration with a password, a key store and a TLS key are each named if their mode lets others in."""
    keys, tls = tmp_path / "keys.json", tmp_path / "tls.key"
    path = write(
        {
            "crypt_provider_key_store_path": "keys.json",
            "crypt_provider_key_store_password": "example",
            "https": {"cert_path": "tls.crt", "key_path": "tls.key"},
        }
    )
    for file in (keys, tls):
        file.touch()
    for file in (path, keys, tls):
        file.chmod(0o600)
    assert load_config(path).warnings == ()
    for file in (path, keys, tls):
        file.chmod(mode)
    warnings = load_config(path).warnings
    assert len(warnings) == 3
    assert all("others than its owner can read it" in line for line in warnings)
    assert [str(file) in line for file, line in zip((path, keys, tls), warnings, strict=True)] == [True] * 3


def test_unknown_keys_of_inner_objects_are_named_in_full(write: Write) -> None:
    """A warning names the whole way to an unknown key."""
    warnings = load_config(write({"https": {"prot": 1}, "storage_configuration": {"x": 1}})).warnings
    assert warnings == (
        "oxd-conf.json: https.prot is an unknown key",
        "oxd-conf.json: storage_configuration.x is an unknown key",
    )


def test_inner_objects_and_paths(write: Write) -> None:
    """The https object and the store's path are read; relative paths start at the file's folder."""
    path = write(
        {
            "https": {"enabled": True, "port": 9443, "cert_path": "c.pem", "key_path": "/k.pem"},
            "storage_configuration": {"path": "x/y.sqlite"},
        }
    )
    config = load_config(path)
    folder = path.parent
    assert config.https == HttpsConfig(enabled=True, port=9443, cert_path=folder / "c.pem", key_path=Path("/k.pem"))
    assert config.store_path == folder / "x/y.sqlite"


def test_comments_are_skipped(write: Write) -> None:
    """Lines that hold only a // comment are no part of the JSON; // inside a value is."""
    config = load_config(write('// one\n{\n  // "port": 1,\n  "allowed_op_hosts": ["https://op//x"]\n}\n//end'))
    assert config.port == 8099
    assert config.allowed_op_hosts == ("https://op//x",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"port": -1}, "oxd-conf.json: port: -1 is wrong: expected a whole number from 0 to 65535"),
        ({"port": "eighty"}, 'port: "eighty" is wrong'),
        ({"port": True}, "port: true is wrong"),
        ({"port": 8099.5}, "port: 8099.5 is wrong"),
        ({"port": [8099]}, "port: [8099] is wrong"),
        ({"localhost_only": "yes"}, 'localhost_only: "yes" is wrong: expected true or false'),
        ({"localhost_only": 1}, "expected true or false"),
        ({"max_request_bytes": 1_000_000}, "to 999999"),
        ({"workers": 0}, "workers: 0 is wrong: expected a whole number from 1 to 64, or auto"),
        ({"workers": "many"}, 'workers: "many" is wrong'),
        ({"workers": 2, "storage": "memory"}, "workers: 2 is wrong: expected 1 with storage memory"),
        ({"storage": "mysql"}, 'storage: "mysql" is wrong: expected one of file, redis, memory, h2'),
        ({"storage_configuration": {"servers": "redis"}}, "storage_configuration.servers"),
        ({"storage_configuration": {"servers": ","}}, "a list of host:port"),
        ({"storage_configuration": {"prefix": "{x}"}}, "up to 64 printable characters"),
        ({"storage_configuration": {"redisProviderType": "SHARDED"}}, "one of standalone, sentinel, cluster"),
        ({"storage_configuration": {"password": ["hidden-word"]}}, "storage_configuration.password: the value"),
        ({"storage": 5}, "storage: 5 is wrong"),
        ({"storage_configuration": []}, "storage_configuration: [] is wrong: expected an object"),
        ({"https": True}, "https: true is wrong: expected an object"),
        ({"https": {"port": "x"}}, 'https.port: "x" is wrong'),
        ({"https": {"cert_path": "c.pem"}}, "https.key_path"),
        ({"https": {"key_path": "k.pem"}}, "https.cert_path"),
        ({"bind_ip_addresses": ["nowhere"]}, "expected a list of IP addresses and networks, or *"),
        ({"https_commands_without_token": ["no_such"]}, "expected a list of commands"),
        ({"https_commands_without_token": ["get_rp"]}, "none of which answers client secrets"),
        ({"https_commands_without_token": ["setup_client"]}, "expected a list of commands"),
        ({"bind_addresses": ["nowhere"]}, "expected a list of IP addresses"),
        ({"bind_addresses": ["192.0.2.1"]}, "while localhost_only is not false"),
        ({"allowed_op_hosts": {"a": 1}}, "expected a list of texts"),
        ({"op_read_timeout_in_seconds": 0}, "expected seconds, from 0.1"),
        ({"op_read_timeout_in_seconds": "NaN"}, "expected seconds"),
        ({"idle_timeout_in_seconds": -1}, "0 = none"),
        ({"trust_store_path": 7}, "expected a path"),
        ({"log_level": "chatty"}, "expected one of debug, info"),
        ({"trust_store_password": ["hidden-word"]}, "trust_store_password: the value is wrong: expected a text"),
        ({"protect_commands_with_access_token": 3}, "protect_commands_with_access_token: 3 is wrong"),
        ({"op_proxy": {"url": "http://oxd:hidden-word@relay.example:8118"}}, "without credentials"),
        ({"op_proxy": {"url": "http://oxd:hidden-word" + "x" * 60 + "@relay.example:8118"}}, "without credentials"),
        ({"op_proxy": {"hosts": {"op.example": "socks5://relay.example"}}}, "or direct"),
        ({"op_proxy": {"url": "http://relay.example:port"}}, "a URL of a proxy"),
        ({"op_proxy": {"password": 5}}, "op_proxy.password: the value is wrong"),
        ({"op_issuers": {"https://op": 1}}, "expected an object: for the URL of an OP's metadata, a text"),
        ({"op_exceptions": {"https://op": ["no_signature"]}}, "a list of no_nonce and no_token_type"),
        ({"op_settings": {"https://op": {"assertion_audience": "op"}}}, "token_endpoint or issuer"),
        ({"op_settings": {"https://op": {"trusted_audience": ["x"]}}}, "expected an object: for an OP, an object with"),
        ("{\n  // two\n  'port': 1\n}", "line 3, column 3"),
        ('{"port": 1', "line 1, column"),
        ("", "is not JSON: line 1"),
        ("[]", "is not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"port": ' + "9" * 5000 + "}", "is not JSON that can be read"),
    ],
)
def test_wrong_values_stop_the_start(write: Write, content: Any, expected: str) -> None:
    """A wrong value is one line with file, key, value and what was expected; a password is not shown."""
    with pytest.raises(ConfigError) as caught:
        load_config(write(content))
    text = str(caught.value)
    assert expected in text
    assert "oxd-conf.json" in text
    assert "\n" not in text
    assert "hidden-word" not in text
    assert len(text) < 400


def test_unreadable_files(tmp_path: Path) -> None:
    """A file that is missing, a folder, or no text says so."""
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "missing.json")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(tmp_path / "binary.json")


def test_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    """A file written by an editor that puts a byte order mark in front is read."""
    path = tmp_path / "oxd-conf.json"
    path.write_bytes(b'\xef\xbb\xbf{"port": 1234}')
    assert load_config(path).port == 1234


def test_opened_to_the_network(write: Write) -> None:
    """With localhost_only false other addresses may be named."""
    config = load_config(write({"localhost_only": False, "bind_addresses": ["192.0.2.1", "2001:DB8:0::1"]}))
    assert config.bind_addresses == ("192.0.2.1", "2001:db8::1")


def test_callers_and_commands_are_read(write: Write) -> None:
    """Networks are read in their usual spelling, commands by any of their names, and open commands are warned about."""
    path = write(
        {
            "bind_ip_addresses": ["192.0.2.9/24", "::1", "*"],
            "https_commands_without_token": ["INTROSPECT_RPT", "update_site_registration"],
        }
    )
    config = load_config(path)
    assert config.bind_ip_addresses == ("192.0.2.0/24", "::1/128", "*")
    assert config.https_commands_without_token == ("introspect_rpt", "update_site")
    (warning,) = config.warnings
    assert "anybody can run introspect_rpt, update_site" in warning
    assert load_config(write({"bind_ip_addresses": []})).bind_ip_addresses == ()
    assert load_config(write({})).bind_ip_addresses is None


def test_passwords_are_not_in_a_repr() -> None:
    """A configuration or default site in a log line shows no password."""
    config = Config(trust_store_password="hid1", crypt_provider_key_store_password="hid2")
    default = DefaultSite(op_host="https://op", client_secret="hid3")
    shown = f"{config!r} {config} {default!r} {config.__rich_repr__()} {default.__rich_repr__()}"
    assert "hid" not in shown
    assert "port=8099" in shown


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = [field.name for field in msgspec.structs.fields(Config)]


@given(node=st.dictionaries(st.sampled_from([*KEYS, "storage_configuration", "support-google-logout"]), json_values))
def test_any_json_loads_or_is_a_config_error(tmp_path_factory: pytest.TempPathFactory, node: dict[str, Any]) -> None:
    """Whatever JSON values stand under the keys: a configuration or a ConfigError, nothing else."""
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(node), "utf-8")
    try:
        outcome = repr(load_config(path))
    except ConfigError as error:
        outcome = str(error)
    assert "\n" not in outcome


def sample(name: str) -> dict[str, Any]:
    lines = (CONF / name).read_text("utf-8").splitlines()
    node = json.loads("\n".join(line for line in lines if not line.lstrip().startswith("//")))
    assert isinstance(node, dict)
    return node


def test_sample_config_is_complete_and_says_the_defaults() -> None:
    """The sample has every key there is, each with its default, and loads without a warning."""
    node = sample("oxd-conf.json")
    names = {key.replace("-", "_") for key in node}
    assert names == set(KEYS) - NOT_IN_THE_FILE
    assert set(node["https"]) == {field.name for field in msgspec.structs.fields(HttpsConfig)}
    config = load_config(CONF / "oxd-conf.json")
    assert config.warnings == ()
    placed = defaults_of("config_path", "store_path", "default_site_path", "storage_configuration")
    assert msgspec.structs.asdict(config) | placed == as_default()
    assert config.storage_configuration == StorageConfig(path=CONF / StorageConfig().path)
    assert config.store_path == CONF / Config().store_path


@pytest.mark.parametrize("name", FILES)
def test_what_is_made_from_the_declarations_is_up_to_date(name: str) -> None:
    """The sample and the reference are those of the declared keys (python -m oxd_server.config.reference)."""
    assert (ROOT / name).read_text("utf-8") == FILES[name]()


@pytest.mark.parametrize("struct", [Config, HttpsConfig, StorageConfig])
def test_every_field_is_a_declared_key(struct: type[Settings]) -> None:
    """No setting is without a kind and a sentence that ends in a full stop, and passwords are declared as secret."""
    keys = declared_keys(struct)
    assert {key.attribute for key in keys} == set(struct.__struct_fields__) - NOT_IN_THE_FILE
    assert len({key.name for key in keys}) == len(keys)
    assert [key.name for key in keys if not key.key.sentence.endswith(".")] == []
    assert [key.name for key in keys if key.name.endswith(("password", "secret")) and not key.is_secret] == []


def test_a_setting_for_each_op() -> None:
    """A mapping reads all its values as one kind, and refuses what is no object or holds another kind."""
    kind = mapping(MINUTES, of="the URL of an OP")
    assert kind.expected == "an object: for the URL of an OP, a whole number from 1 to 525600"
    assert kind.read({" https://op ": "5"}) == {"https://op": 5}
    with pytest.raises(ValueError):
        kind.read([])
    with pytest.raises(ValueError):
        kind.read({"https://op": 0})
    assert mapping(TEXT, of="x").read({}) == {}


def test_exceptions_of_ops_are_loud(write: Write) -> None:
    """What an OP may leave out is a warning at every start, which says what it means."""
    config = load_config(
        write(
            {"op_exceptions": {"https://a": ["no_nonce"]}, "op_settings": {"https://b": {"exceptions": ["no_nonce"]}}}
        )
    )
    assert config.op_exceptions == {"https://a": ("no_nonce",)}
    assert [text.partition(": id_tokens without a nonce are accepted")[0] for text in config.warnings] == [
        "oxd-conf.json: no_nonce is allowed to https://b",
        "oxd-conf.json: no_nonce is allowed to https://a",
    ]


def test_sample_config_explains_every_key() -> None:
    """Above every key of the samples stands a comment (one may cover neighbours that belong together)."""
    for name in ("oxd-conf.json", "oxd-default-site-config.json"):
        lines = [line.strip() for line in (CONF / name).read_text("utf-8").splitlines()]
        uncommented = [line for before, line in pairwise(lines) if line.startswith('"') and not before.startswith("//")]
        assert [line.split('"')[1] for line in uncommented] in (
            [],
            ["client_secret", "client_token_endpoint_auth_signing_alg"],
        )


def test_sample_default_site_is_complete() -> None:
    """The sample has every key there is, and loads without a warning; blanks count as absent."""
    own = {"warnings", "protection_access_token", "authorization_oxd_id"}
    assert set(sample("oxd-default-site-config.json")) | own == set(DefaultSite.__struct_fields__)
    default = load_default_site(CONF / "oxd-default-site-config.json")
    assert default == DefaultSite(
        response_types=("code",), grant_types=("authorization_code",), scope=("openid", "profile", "email")
    )


def test_default_site_reads_old_spellings(tmp_path: Path) -> None:
    """Old names, single texts for lists, blanks and nulls in lists are understood; unknown keys are named."""
    path = tmp_path / "oxd-default-site-config.json"
    node = {
        "op_host": "https://op",
        "grant_type": ["authorization_code", "", None],
        "logout_redirect_uri": "https://rp/out",
        "scope": "openid  profile",
        "redirect_uris": "https://rp/cb",
        "acr_values": [""],
        "contacts": None,
        "client_logout_uris": ["https://rp/front"],
        "trusted_client": "false",
        "something": 1,
    }
    path.write_text(json.dumps(node), "utf-8")
    assert load_default_site(path) == DefaultSite(
        op_host="https://op",
        grant_types=("authorization_code",),
        post_logout_redirect_uri="https://rp/out",
        scope=("openid", "profile"),
        redirect_uris=("https://rp/cb",),
        client_frontchannel_logout_uris=("https://rp/front",),
        trusted_client=False,
        warnings=("oxd-default-site-config.json: something is an unknown key",),
    )


def test_new_spelling_wins_over_the_old(tmp_path: Path) -> None:
    """Where both spellings of a key are set, the documented one counts."""
    path = tmp_path / "site.json"
    path.write_text('{"logout_redirect_uri": "https://old", "post_logout_redirect_uri": "https://new"}', "utf-8")
    default = load_default_site(path)
    assert default.post_logout_redirect_uri == "https://new"
    assert default.warnings == ()


def test_missing_default_site_is_empty(tmp_path: Path) -> None:
    """Without the file there are no defaults."""
    assert load_default_site(tmp_path / "missing.json") == DefaultSite()


def test_wrong_default_site_is_an_error_without_secrets(tmp_path: Path) -> None:
    """A wrong value is named as in the configuration, and the client secret is not shown."""
    path = tmp_path / "site.json"
    path.write_text('{"op_host": 5}', "utf-8")
    with pytest.raises(ConfigError, match=r"site\.json: 'op_host' must be a text, not a number"):
        load_default_site(path)
    path.write_text('{"client_secret": ["hidden-word"]}', "utf-8")
    with pytest.raises(ConfigError, match="'client_secret' must be a text, not a list") as caught:
        load_default_site(path)
    assert "hidden-word" not in str(caught.value)
