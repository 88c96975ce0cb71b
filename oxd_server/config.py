"""The configuration: read once at the start, checked in full, and frozen.

`oxd-conf.json` of the legacy server loads unchanged. Keys keep their spelling in the file; attributes are the
same names with underscores. null and "" mean the default. Lines that hold nothing but a `//` comment are
skipped. An unknown key is a warning; a wrong value is a `ConfigError`, which stops the start.
"""

import ipaddress
import json
import math
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

_DEFAULT_SITE_NAME = "oxd-default-site-config.json"
_SECRET_KEY = re.compile("password|secret|token|pass$", re.IGNORECASE)
_NAMED_LIKE_SECRETS = {
    "protect_commands_with_access_token",
    "client_token_endpoint_auth_method",
    "client_token_endpoint_auth_signing_alg",
    "id_token_signed_response_alg",
}
_SHOWN_OF_VALUE = 60
_MAX_WORKERS = 64


class ConfigError(Exception):
    """The configuration cannot be used. The text is one line that says where, what, and what was expected."""


class HttpsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTPS front. Without a certificate a self-signed one is made and kept; no address means all."""

    enabled: bool = False
    port: int = 8443
    bind_addresses: tuple[str, ...] = ()
    max_connections: int = 1000
    cert_path: Path | None = None
    key_path: Path | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The server's settings. Names say their unit; `conf/oxd-conf.json` says what each is for.

    Three are not keys of the file: `warnings` are lines for the log, `default_site_path` is the file beside this one
    for `load_default_site`, and `store_path` is where the store's file lies when `storage` is "file".
    """

    port: int = 8099
    localhost_only: bool = True
    bind_addresses: tuple[str, ...] = ()
    https: HttpsConfig = HttpsConfig()
    protect_commands_with_access_token: bool | None = None

    storage: str = "file"
    store_path: Path = Path("oxd-data/oxd.sqlite")
    migration_source_folder_path: Path | None = None

    allowed_op_hosts: tuple[str, ...] = ()
    allow_http_op_hosts: tuple[str, ...] = ()
    trust_all_certs: bool = False
    trust_store_path: Path | None = None
    trust_store_password: str | None = None
    op_connect_timeout_in_seconds: float = 5
    op_read_timeout_in_seconds: float = 10
    op_total_timeout_in_seconds: float = 20
    op_max_response_bytes: int = 1_000_000
    op_max_requests_per_host: int = 100
    op_clock_leeway_in_seconds: int = 10
    discovery_cache_expiration_in_minutes: int = 60
    public_op_key_cache_expiration_in_minutes: int = 60

    crypt_provider_key_store_path: Path | None = None
    crypt_provider_key_store_password: str | None = None
    crypt_provider_dn_name: str | None = None

    state_expiration_in_minutes: int = 5
    nonce_expiration_in_minutes: int = 5
    deregister_client_on_remove: bool = False
    support_google_logout: bool = False
    use_client_authentication_for_pat: bool = True
    uma2_auto_register_claims_gathering_endpoint_as_redirect_uri_of_client: bool = True

    workers: int = 1
    max_connections: int = 2000
    max_request_bytes: int = 65536
    max_commands_in_flight: int = 500
    time_out_in_seconds: float = 0
    frame_timeout_in_seconds: float = 10
    idle_timeout_in_seconds: float = 0
    shutdown_timeout_in_seconds: float = 10

    log_level: str = "info"
    log_format: str = "auto"

    default_site_path: Path = Path(_DEFAULT_SITE_NAME)
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = {name: value for name, value in msgspec.structs.asdict(self).items() if not _is_secret(name)}
        return f"Config({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __rich_repr__(self) -> list[tuple[str, str]]:  # msgspec's own would show the passwords
        return [("", repr(self))]


class DefaultSite(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `register_site` falls back to: its own parameters, None or () where the file says nothing."""

    op_host: str | None = None
    op_discovery_path: str | None = None
    authorization_redirect_uri: str | None = None
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uri: str | None = None
    claims_redirect_uri: tuple[str, ...] = ()
    application_type: str | None = None
    response_types: tuple[str, ...] = ()
    grant_types: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    acr_values: tuple[str, ...] = ()
    ui_locales: tuple[str, ...] = ()
    claims_locales: tuple[str, ...] = ()
    contacts: tuple[str, ...] = ()
    client_name: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    client_jwks_uri: str | None = None
    client_token_endpoint_auth_method: str | None = None
    client_token_endpoint_auth_signing_alg: str | None = None
    id_token_signed_response_alg: str | None = None
    userinfo_signed_response_alg: str | None = None
    client_request_uris: tuple[str, ...] = ()
    client_frontchannel_logout_uris: tuple[str, ...] = ()
    client_sector_identifier_uri: str | None = None
    trusted_client: bool | None = None
    oxd_rp_programming_language: str | None = None
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"DefaultSite(op_host={self.op_host!r})"

    def __rich_repr__(self) -> list[tuple[str, str | None]]:
        return [("op_host", self.op_host)]


class _Reader(NamedTuple):
    """What a key expects, in words, and how its value is read; `read` raises ValueError for anything else."""

    expected: str
    read: Callable[[Any], Any]


def _flag(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value.strip()


def _texts(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(text for text in (_text(item) for item in items if item is not None) if text)


def _scopes(value: Any) -> tuple[str, ...]:
    return tuple(value.split()) if isinstance(value, str) else _texts(value)


def _addresses(value: Any) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_address(text)) for text in _texts(value))


def _whole(low: int, high: int) -> _Reader:
    def read(value: Any) -> int:
        if isinstance(value, (bool, float)) or not low <= int(value) <= high:
            raise ValueError
        return int(value)

    return _Reader(f"a whole number from {low} to {high}", read)


def _seconds(low: float, none: str = "") -> _Reader:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not math.isfinite(float(value)) or not low <= float(value) <= 86400:
            raise ValueError
        return float(value)

    return _Reader(f"seconds, from {low:g} to 86400{none}", read)


def _workers(value: Any) -> int:
    if value == "auto":
        return min(len(os.sched_getaffinity(0)), _MAX_WORKERS)
    return int(_whole(1, _MAX_WORKERS).read(value))


def _one_of(*names: str, hint: str = "") -> _Reader:
    def read(value: Any) -> str:
        if _text(value).lower() not in names:
            raise ValueError
        return _text(value).lower()

    return _Reader(f"one of {', '.join(names)}{hint}", read)


_FLAG = _Reader("true or false", _flag)
_TEXT = _Reader("a text", _text)
_PATH = _Reader("a path", lambda value: Path(_text(value)))
_TEXTS = _Reader("a list of texts", _texts)
_MINUTES = _whole(1, 525_600)
_NONE = "; 0 = none"

_HTTPS_KEYS = {
    "enabled": _FLAG,
    "port": _whole(0, 65535),
    "bind_addresses": _Reader("a list of IP addresses", _addresses),
    "max_connections": _whole(1, 1_000_000),
    "cert_path": _PATH,
    "key_path": _PATH,
}
_STORAGE_KEYS = {"path": _PATH, "dbFileLocation": _PATH}
_KEYS = {
    "port": _whole(0, 65535),
    "localhost_only": _FLAG,
    "bind_addresses": _Reader("a list of IP addresses", _addresses),
    "protect_commands_with_access_token": _FLAG,
    "storage": _one_of("file", "memory", "h2", hint=" (redis is to come)"),
    "migration_source_folder_path": _PATH,
    "allowed_op_hosts": _TEXTS,
    "allow_http_op_hosts": _TEXTS,
    "trust_all_certs": _FLAG,
    "trust_store_path": _PATH,
    "trust_store_password": _TEXT,
    "op_connect_timeout_in_seconds": _seconds(0.1),
    "op_read_timeout_in_seconds": _seconds(0.1),
    "op_total_timeout_in_seconds": _seconds(0.1),
    "op_max_response_bytes": _whole(1000, 100_000_000),
    "op_max_requests_per_host": _whole(1, 10_000),
    "op_clock_leeway_in_seconds": _whole(0, 600),
    "discovery_cache_expiration_in_minutes": _MINUTES,
    "public_op_key_cache_expiration_in_minutes": _MINUTES,
    "crypt_provider_key_store_path": _PATH,
    "crypt_provider_key_store_password": _TEXT,
    "crypt_provider_dn_name": _TEXT,
    "state_expiration_in_minutes": _MINUTES,
    "nonce_expiration_in_minutes": _MINUTES,
    "deregister_client_on_remove": _FLAG,
    "support-google-logout": _FLAG,
    "use_client_authentication_for_pat": _FLAG,
    "uma2_auto_register_claims_gathering_endpoint_as_redirect_uri_of_client": _FLAG,
    "workers": _Reader("a whole number from 1 to 64, or auto: one for each processor", _workers),
    "max_connections": _whole(1, 1_000_000),
    "max_request_bytes": _whole(1000, 999_999),
    "max_commands_in_flight": _whole(1, 100_000),
    "time_out_in_seconds": _seconds(0, _NONE),
    "frame_timeout_in_seconds": _seconds(0.1),
    "idle_timeout_in_seconds": _seconds(0, _NONE),
    "shutdown_timeout_in_seconds": _seconds(0),
    "log_level": _one_of("debug", "info", "warning", "error", "critical"),
    "log_format": _one_of("auto", "json", "console"),
}

_DEFAULT_SITE_ALIASES = {
    "logout_redirect_uri": "post_logout_redirect_uri",
    "grant_type": "grant_types",
    "response_type": "response_types",
    "client_logout_uris": "client_frontchannel_logout_uris",
}
_DEFAULT_SITE_KEYS = {
    field.name: _TEXTS if field.type == tuple[str, ...] else _TEXT
    for field in msgspec.structs.fields(DefaultSite)
    if field.name != "warnings"
} | {"scope": _Reader("a list of scopes", _scopes), "trusted_client": _FLAG}


class _Section:
    """One JSON object of a file: reads its values key by key, collects warnings, words the errors."""

    def __init__(self, file: Path, node: Mapping[str, Any], prefix: str = "") -> None:
        self.file = file
        self.prefix = prefix
        self.node = {key: value for key, value in node.items() if value not in (None, "")}
        self.warnings: list[str] = []

    def read(self, readers: Mapping[str, _Reader]) -> dict[str, Any]:
        """The values that are set, by attribute name; paths relative to the file's folder."""
        values = {}
        for key, reader in readers.items():
            if key in self.node:
                value = self._value(key, reader)
                values[key.replace("-", "_")] = self.file.parent / value if isinstance(value, Path) else value
        self.warnings += [f"{self._name(key)} is an unknown key" for key in self.node if key not in readers]
        return values

    def section(self, key: str) -> "_Section":
        """The object under `key`; an empty one if there is none."""
        node = self.node.pop(key, {})
        if not isinstance(node, dict):
            raise self.error(key, node, "an object")
        return _Section(self.file, node, f"{self.prefix}{key}.")

    def error(self, key: str, value: Any, expected: str) -> ConfigError:
        shown = "the value" if _is_secret(key) else _shown(value)
        return ConfigError(f"{self._name(key)}: {shown} is wrong: expected {expected}")

    def _value(self, key: str, reader: _Reader) -> Any:
        try:
            return reader.read(self.node[key])
        except (ValueError, TypeError, OverflowError):
            raise self.error(key, self.node[key], reader.expected) from None

    def _name(self, key: str) -> str:
        return f"{self.file.name}: {self.prefix}{key}"


def load_config(path: Path | None) -> Config:
    """The configuration in the file at `path`; without one, all defaults.

    Raises `ConfigError` if the file cannot be read, is not JSON (line and column are named), or holds a wrong value.
    """
    if path is None:
        return Config()
    section = _load(path)
    https, storage = section.section("https"), section.section("storage_configuration")
    values = section.read(_KEYS)
    values["https"] = HttpsConfig(**https.read(_HTTPS_KEYS))
    values["store_path"] = _store_path(path, storage)
    config = Config(**values, default_site_path=path.parent / _DEFAULT_SITE_NAME)
    _check(section, config)
    warnings = section.warnings + https.warnings + storage.warnings + _notes(path, config)
    stored = "file" if config.storage == "h2" else config.storage
    return msgspec.structs.replace(config, storage=stored, warnings=tuple(warnings))


def load_default_site(path: Path) -> DefaultSite:
    """The defaults of `register_site` in the file at `path`; empty ones if there is no such file.

    Raises `ConfigError` as `load_config` does.
    """
    if not path.exists():
        return DefaultSite()
    section = _load(path)
    for alias, key in _DEFAULT_SITE_ALIASES.items():
        if alias in section.node:
            section.node.setdefault(key, section.node.pop(alias))
    present = {key: value for key, value in section.read(_DEFAULT_SITE_KEYS).items() if value not in ("", ())}
    return DefaultSite(**present, warnings=tuple(section.warnings))


def _load(path: Path) -> _Section:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    # A comment leaves an empty line behind, so that the lines of an error are those of the file.
    text = "\n".join("" if line.lstrip().startswith("//") else line for line in lines)
    try:
        node = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (RecursionError, ValueError):
        raise ConfigError(f"{path} is not JSON that can be read: nested too deeply or a number too long") from None
    if not isinstance(node, dict):
        raise ConfigError(f"{path} is not a JSON object")
    return _Section(path, node)


def _store_path(path: Path, storage: _Section) -> Path:
    """Ours: `path`. Of a legacy h2 store: beside its file, which stays as it is for importing."""
    where = storage.read(_STORAGE_KEYS)
    if "path" in where:
        return Path(where["path"])
    if "dbFileLocation" in where:
        return Path(f"{where['dbFileLocation']}.sqlite")
    return path.parent / "oxd-data" / "oxd.sqlite"


def _check(section: _Section, config: Config) -> None:
    """The rules between keys. Raises `ConfigError`."""
    exposed = [text for text in config.bind_addresses if not ipaddress.ip_address(text).is_loopback]
    if exposed and config.localhost_only:
        expected = "loopback addresses only, while localhost_only is not false"
        raise section.error("bind_addresses", exposed, expected)
    if config.workers > 1 and config.storage == "memory":
        raise section.error("workers", config.workers, "1 with storage memory: workers share what is in the store")
    if (config.https.cert_path is None) != (config.https.key_path is None):
        missing = "key_path" if config.https.key_path is None else "cert_path"
        raise section.error(f"https.{missing}", None, "a path: cert_path and key_path go together")


def _notes(path: Path, config: Config) -> list[str]:
    notes = []
    if config.trust_all_certs:
        notes.append(
            f"{path.name}: trust_all_certs is true: no certificate is checked, so whoever is on the way to an "
            "OP can read and change everything; set trust_store_path instead"
        )
    if config.storage == "h2":
        notes.append(
            f"{path.name}: storage h2 is a legacy database that is not read: sites are kept in {config.store_path}; "
            "bring the old ones over with `oxd-server sites import`"
        )
    notes += [
        f"{path.name}: {file} holds secrets, and others than its owner can read it; chmod 600 keeps them out"
        for file in _files_with_secrets(path, config)
        if _is_read_by_others(file)
    ]
    return notes


def _files_with_secrets(path: Path, config: Config) -> list[Path]:
    passwords = config.trust_store_password or config.crypt_provider_key_store_password
    named = [path if passwords else None, config.crypt_provider_key_store_path, config.https.key_path]
    return [file for file in named if file is not None]


def _is_read_by_others(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False  # whoever needs the file says what is wrong with it


def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None and key not in _NAMED_LIKE_SECRETS


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_OF_VALUE else f"{text[:_SHOWN_OF_VALUE]}..."
