"""Settings from where operators keep them: which source counts, what each may hold, and what is told of it."""

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oxd_server.cli import main
from oxd_server.config import Config, ConfigError, Loaded, Sources, load_settings
from oxd_server.config.declaring import declared_values
from oxd_server.config.effective import effective_values

Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a configuration from a file, an environment, credentials and flags."""

    def from_sources(
        file: Any = None,
        environment: dict[str, str] | None = None,
        flags: dict[str, str] | None = None,
        credentials: dict[str, str] | None = None,
    ) -> Loaded:
        path, folder = tmp_path / "oxd-conf.json", tmp_path / "credentials"
        path.write_text(file if isinstance(file, str) else json.dumps(file or {}), "utf-8")
        path.chmod(0o600)
        folder.mkdir(exist_ok=True)
        for name, text in (credentials or {}).items():
            (folder / name).write_text(text)
        found = {**(environment or {}), **({} if credentials is None else {"CREDENTIALS_DIRECTORY": str(folder)})}
        return load_settings(Sources(path, found, flags or {}))

    return from_sources


def problems_of(load: Load, *arguments: Any, **sources: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(*arguments, **sources)
    return caught.value.problems


def test_every_key_has_a_variable_of_its_own() -> None:
    """The names follow from the keys, and no two are the same, those of files included."""
    values = declared_values(Config)
    names = [value.variable for value in values] + [f"{value.variable}_FILE" for value in values if value.is_secret]
    assert len(set(names)) == len(names)
    assert {"OXD_PORT", "OXD_HTTPS_CERT_PATH", "OXD_SUPPORT_GOOGLE_LOGOUT", "OXD_STORAGE_CONFIGURATION_PATH"} <= set(
        names
    )
    assert all(re.fullmatch("OXD_[A-Z0-9_]+", name) for name in names)


def test_flags_have_names_of_their_own() -> None:
    """No flag stands for two keys."""
    flags = [value.declared.key.flag for value in declared_values(Config) if value.declared.key.flag]
    assert len(set(flags)) == len(flags)
    assert {"--port", "--bind", "--https-port", "--store-path", "--log-level"} <= set(flags)


def test_what_counts_more(load: Load) -> None:
    """A flag before the environment, that before a credential, that before the file, that before the default."""
    file, environment = {"port": 1}, {"OXD_PORT": "3"}
    assert load().config.port == 8099
    assert load(file).config.port == 1
    assert load(file, credentials={"port": "2"}).config.port == 2
    assert load(file, environment, credentials={"port": "2"}).config.port == 3
    assert load(file, environment, {"--port": "4"}, {"port": "2"}).config.port == 4
    assert load(file, {"OXD_PORT": ""}).config.port == 1  # empty: not set


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("OXD_HTTPS_ENABLED", "true", True),
        ("OXD_HTTPS_PORT", "9443", 9443),
        ("OXD_OP_READ_TIMEOUT_IN_SECONDS", "2.5", 2.5),
        ("OXD_ALLOWED_OP_HOSTS", "a.example.org, b.example.org", ("a.example.org", "b.example.org")),
        ("OXD_ALLOWED_OP_HOSTS", '["a.example.org"]', ("a.example.org",)),
        ("OXD_BIND_ADDRESSES", "127.0.0.1,::1", ("127.0.0.1", "::1")),
        ("OXD_BIND_IP_ADDRESSES", "[]", ()),
        ("OXD_BIND_IP_ADDRESSES", "10.0.0.0/8,*", ("10.0.0.0/8", "*")),
        ("OXD_HTTPS_COMMANDS_WITHOUT_TOKEN", "introspect_rpt", ("introspect_rpt",)),
        ("OXD_STORAGE_CONFIGURATION_SERVERS", "a:1,b:2", ("a:1", "b:2")),
        ("OXD_STORAGE_CONFIGURATION_PREFIX", "tenant", "tenant"),
        ("OXD_SUPPORT_GOOGLE_LOGOUT", "TRUE", True),
        ("OXD_LOG_LEVEL", "DEBUG", "debug"),
        ("OXD_OP_ISSUERS", '{"https://op": "https://issuer"}', {"https://op": "https://issuer"}),
        ("OXD_TRUST_STORE_PATH", "pem/ca.pem", Path("pem/ca.pem")),
    ],
)
def test_texts_become_what_the_key_holds(load: Load, variable: str, text: str, expected: Any) -> None:
    """A variable is read by the kind of its key; relative paths are those of the working directory."""
    config, given = load({}, {variable: text})
    value = next(value for value in declared_values(Config) if value.variable == variable)
    found: Any = config
    for attribute in value.path:
        found = getattr(found, attribute)
    assert found == expected
    assert given[value.name].origin == f"environment {variable}"


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("OXD_PORT", "many", 'OXD_PORT: "many" is wrong: expected a whole number'),
        ("OXD_BIND_ADDRESSES", "[", 'OXD_BIND_ADDRESSES: "[" is wrong: expected a list of IP addresses'),
        ("OXD_OP_SETTINGS", "{", 'OXD_OP_SETTINGS: "{" is wrong: expected an object'),
        ("OXD_OP_INITIAL_ACCESS_TOKENS", "s3same", "OXD_OP_INITIAL_ACCESS_TOKENS: the value is wrong"),
        (
            "OXD_TRUST_STORE_PASSWORD_FILE",
            "/nowhere/file",
            "PASSWORD_FILE: /nowhere/file cannot be read",
        ),
        ("OXD_TRUST_STORE_PASSWORD_FILE", "/dev/zero", "/dev/zero is longer than"),
        ("OXD_STORAGE", "memory", "OXD_WORKERS: 2 is wrong: expected 1 with storage memory"),
    ],
)
def test_a_wrong_text_names_its_variable(load: Load, variable: str, text: str, words: str) -> None:
    """The error says which variable it is, and shows no secret."""
    (problem,) = problems_of(load, {}, {variable: text, "OXD_WORKERS": "2"})
    assert words in problem
    assert "s3same" not in problem


def test_secrets_in_files(load: Load, tmp_path: Path) -> None:
    """Every secret may stand in a file, named in the file or in the environment; the last line break does not count."""
    (tmp_path / "one").write_text("s3same \r\n")
    (tmp_path / "tokens").write_text('{"https://op": "t0ken"}')
    (tmp_path / "one").chmod(0o600)
    (tmp_path / "tokens").chmod(0o600)
    config, given = load(
        {"trust_store_password_file": "one", "storage_configuration": {"password_file": "one"}},
        {"OXD_OP_INITIAL_ACCESS_TOKENS_FILE": str(tmp_path / "tokens")},
    )
    assert config.warnings == ()
    assert config.trust_store_password == config.storage_configuration.password == "s3same"
    assert config.op_initial_access_tokens == {"https://op": "t0ken"}
    assert given["trust_store_password"].file == tmp_path / "one"
    (tmp_path / "one").chmod(0o640)
    assert any(
        f"{tmp_path / 'one'} holds secrets" in line
        for line in load({"trust_store_password_file": "one"}).config.warnings
    )


@pytest.mark.parametrize(
    ("file", "environment", "words"),
    [
        ({"trust_store_password": "a", "trust_store_password_file": "b"}, {}, "trust_store_password_file is set too"),
        ({}, {"OXD_TRUST_STORE_PASSWORD": "a", "OXD_TRUST_STORE_PASSWORD_FILE": "b"}, "PASSWORD_FILE is set too"),
        ({"trust_store_password_file": 7}, {}, "trust_store_password_file: 7 is wrong: expected a path"),
    ],
)
def test_a_secret_has_one_place(load: Load, tmp_path: Path, file: Any, environment: Any, words: str) -> None:
    """A secret that stands in two places at once is an error, and so is a file that is no path."""
    (tmp_path / "b").write_text("b")
    assert any(
        words in problem
        for problem in problems_of(
            load,
            file,
            {name: str(tmp_path / "b") if name.endswith("FILE") else text for name, text in environment.items()},
        )
    )


def test_a_binary_secret(load: Load, tmp_path: Path) -> None:
    """What is no text says so."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in problems_of(load, {"trust_store_password_file": "binary"})[0]


def test_credentials_of_systemd(load: Load, tmp_path: Path) -> None:
    """A credential holds the value of its key; for a key that is a path, it is the file."""
    credentials = {"trust_store_password": "s3same\n", "https.key_path": "a key", "https.cert_path": "", "other": "x"}
    config, given = load({"trust_store_password": "old"}, credentials=credentials)
    assert config.trust_store_password == "s3same"
    assert config.https.key_path == tmp_path / "credentials" / "https.key_path"
    assert given["trust_store_password"].origin == "credential"


def test_a_folder_of_credentials(load: Load, tmp_path: Path) -> None:
    """The names that systemd gives the files of a folder are understood; a key that is there twice is an error."""
    names = ("trust_store_password", "https.cert_path", "https.key_path")
    config = load(credentials={f"oxd_{name}": "s3same\n" for name in names}).config
    assert config.trust_store_password == "s3same"
    assert config.https.key_path == tmp_path / "credentials" / "oxd_https.key_path"
    problems = problems_of(load, credentials={"oxd_trust_store_password": "a", "trust_store_password": "b"})
    assert problems == ("credential trust_store_password: oxd_trust_store_password is set too: one of them is enough",)


def test_all_errors_at_once(load: Load) -> None:
    """Everything that is wrong is named, rules between keys included; the error itself is one line."""
    file = {
        "port": "many",
        "https": {"port": -1, "cert_path": "x"},
        "storage_configuration": [],
        "localhost_only": "perhaps",
        "bind_addresses": ["192.0.2.1"],  # not judged: whether it may be there is not known
    }
    problems = problems_of(load, file, {"OXD_LOG_LEVEL": "loud"})
    expected = (
        "storage_configuration: []",
        "port:",
        "localhost_only",
        "https.port",
        "OXD_LOG_LEVEL",
        "https.key_path is missing",
    )
    for problem, words in zip(problems, expected, strict=True):
        assert words in problem
    assert str(ConfigError(*problems)).endswith("(5 more: oxd-server check-config names them all)")


def test_keys_that_stand_twice(load: Load) -> None:
    """JSON lets a key stand twice: the last one counts, as of old, and a warning says so; also deep inside."""
    config = load('{"port": 1, "port": 2, "op_issuers": {"a": "b", "a": "c"}}').config
    assert (config.port, config.op_issuers) == (2, {"a": "c"})
    assert [line for line in config.warnings if "stands there twice" in line] == [
        "oxd-conf.json: a stands there twice; the last one counts",
        "oxd-conf.json: port stands there twice; the last one counts",
    ]


def test_variables_that_set_nothing(load: Load) -> None:
    """One line names them, also what Kubernetes sets for a service of our name, which does no harm."""
    config = load(
        {}, {"OXD_PROT": "1", "OXD_PORT": "tcp://10.0.0.1:8099", "OXD_STORAGE": "memory", "PATH": "/bin"}
    ).config
    assert config.warnings == ("environment variables that set no key: OXD_PORT, OXD_PROT",)
    assert (config.port, config.storage) == (8099, "memory")


def test_the_same_sources_for_another_process() -> None:
    """A worker gets the file and the flags as arguments; the environment it inherits."""
    sources = Sources(Path("/etc/oxd.json"), {"OXD_PORT": "1"}, {"--port": "2", "--https": "true"})
    assert sources.arguments == ["--config", "/etc/oxd.json", "--port=2", "--https=true"]
    assert "OXD_PORT" not in repr(sources)


def test_effective_values(load: Load, tmp_path: Path) -> None:
    """Every key with its value and its origin; secrets are masked, old spellings are told where they are set."""
    (tmp_path / "pw").write_text("s3same")
    loaded = load(
        {"port": 1, "trust_store_password_file": "pw", "storage_configuration": {"useSSL": True}},
        {"OXD_STORAGE_CONFIGURATION_PASSWORD": "hidden", "OXD_OP_SETTINGS": '{"https://op": {"fapi_enabled": true}}'},
        {"--store-path": "/x/y"},
    )
    shown = {name: (value, origin) for name, value, origin in effective_values(loaded)}
    assert shown["port"] == ("1", "file")
    assert shown["https.port"] == ("8443", "default")
    assert shown["trust_store_password"] == ("***", f"file, in {tmp_path / 'pw'}")
    assert shown["storage_configuration.password"] == ("***", "environment OXD_STORAGE_CONFIGURATION_PASSWORD")
    assert shown["storage_configuration.path"] == ('"/x/y"', "flag --store-path")
    assert shown["storage_configuration.useSSL"] == ("true", "file")
    assert "storage_configuration.host" not in shown
    assert '"fapi_enabled": true' in shown["op_settings"][0]
    assert "s3same" not in str(shown)


def test_check_config_names_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files, the environment, the files that they name and the ports; nothing is made."""
    path, site = tmp_path / "oxd-conf.json", tmp_path / "oxd-default-site-config.json"
    monkeypatch.setenv("OXD_TRUST_STORE_PATH", str(tmp_path / "none.pem"))
    site.write_text('{"scope": 7, "scope": 8}')
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wrong = {
            "crypt_provider_key_store_path": "none.jwks",
            "https": {"enabled": True, "port": 0, "bind_addresses": ["192.0.2.1"], "cert_path": "a", "key_path": "b"},
            "migration_source_folder_path": "none",
            "port": taken.getsockname()[1],
            "op_settings": {"no URL ": {}},
        }
        path.write_text(json.dumps(wrong))
        assert main(["check-config", "--config", str(path)]) == 1
    found = capsys.readouterr()
    problems = found.err.splitlines()
    words = ("'scope'", "none.pem", "none.jwks", "https.cert_path", "none", "192.0.2.1")
    assert len(problems) == len(words), problems
    for problem, word in zip(problems, words, strict=True):
        assert problem.startswith("oxd-server: ")
        assert word in problem
    assert "warning: cannot listen on 127.0.0.1 port" in found.out
    assert {each.name for each in tmp_path.iterdir()} == {path.name, site.name}


def test_check_config_of_two_wrong_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The default site is read although the configuration is wrong."""
    path = tmp_path / "oxd-conf.json"
    path.write_text('{"port": "many", "workers": 0}')
    (tmp_path / "oxd-default-site-config.json").write_text("{")
    assert main(["check-config", "--config", str(path)]) == 1
    problems = capsys.readouterr().err
    assert [word for word in ("default-site-config", "port", "workers") if word in problems] != []
    assert len(problems.splitlines()) == 3


def test_check_config_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--show prints the values with their origin, flags included, and no secret; a store that is there is looked at."""
    path = tmp_path / "oxd-conf.json"
    path.write_text('{"trust_store_password": "s3same"}')
    path.chmod(0o600)
    assert main(["check-config", "--config", str(path), "--show", "--port", "0", "--https", "--https-port=0"]) == 0
    shown = capsys.readouterr().out
    for line in (
        "port  0  (flag --port)",
        "https.enabled  true  (flag --https)",
        "trust_store_password  ***  (file)",
        "localhost_only  true  (default)",
        "The configuration is valid.",
    ):
        assert line in shown.splitlines()
    assert "s3same" not in shown
    assert list(tmp_path.iterdir()) == [path]


def test_check_config_looks_at_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged store is named; a folder where none can be made, too."""
    path, store = tmp_path / "oxd-conf.json", tmp_path / "store.sqlite"
    path.write_text('{"port": 0}')
    store.write_text("this is no database, but somebody may still want it" * 100)
    assert main(["check-config", "--config", str(path), "--store-path", str(store)]) == 1
    assert str(store) in capsys.readouterr().err
    assert main(["check-config", "--config", str(path), "--store-path", str(path / "none" / "store.sqlite")]) == 1
    assert "store.sqlite cannot be made" in capsys.readouterr().err
