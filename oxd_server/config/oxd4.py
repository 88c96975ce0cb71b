"""``oxd-server.yml`` of oxd 4.x: what each of its keys is in a configuration of ours, or why it has no effect."""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from oxd_server.config.declaring import declared_keys
from oxd_server.config.file import ConfigError, Section
from oxd_server.config.keys import Config
from oxd_server.config.kinds import TEXT, one_of, whole
from oxd_server.config.metrics_keys import MetricsConfig

__all__ = ["DEFAULT_SITE", "Converted", "convert", "is_yaml"]

DEFAULT_SITE: Final = "defaultSiteConfig"

_LEVELS: Final = {
    "all": "debug", "trace": "debug", "debug": "debug", "info": "info", "warn": "warning", "error": "error",
    "off": "critical",
}  # fmt: skip

_CHECKED: Final = "the hash is checked where the id_token has it"
_OWN_KEYS: Final = "the server makes no keys by itself: see oxd-server keys new, and crypt_provider_key_store_path"
_TRACING: Final = "there is no tracing; the log has each command"
_MTLS: Final = "mtls_enabled is not true"
_MTLS_KEYS: Final = ("mtls_client_key_store_path", "mtls_client_key_store_password")
_OWN_TLS: Final = "TLS to OPs is that of the system's OpenSSL, from version 1.2 on"
_ENCODING: Final = "states and nonces go out percent-encoded and come back as they were"

_WITHOUT_EFFECT: Final = {
    "accept_id_token_without_signature": "the signature of an id_token is always checked",
    "db_cleanup_interval_in_hours": "what has expired is forgotten without a timer",
    "enable_jwks_generation": _OWN_KEYS,
    "enable_tracing": _TRACING,
    "encode_client_id_in_authorization_url": "the client_id is always percent-encoded",
    "encode_nonce_from_request_parameter": _ENCODING,
    "encode_state_from_request_parameter": _ENCODING,
    "iat_expiration_in_hours": "the age of an id_token is bounded by its exp",
    "id_token_validation_at_hash_required": _CHECKED,
    "id_token_validation_c_hash_required": _CHECKED,
    "id_token_validation_s_hash_required": _CHECKED,
    "jwks_expiration_in_hours": _OWN_KEYS,
    "jwks_regeneration_interval_in_hours": _OWN_KEYS,
    "metrics": "SIGUSR1 logs figures",
    "persistence_manager_remove_count": "what has expired is forgotten without a timer",
    "proxy_configuration": "OPs are reached directly, not through a proxy",
    "rp_cache_expiration_in_minutes": "a site's change counts from the next command on",
    "tls_secure_cipher": _OWN_TLS,
    "tls_version": _OWN_TLS,
    "tracer": _TRACING,
    "tracer_host": _TRACING,
    "tracer_port": _TRACING,
    "validate_user_info_with_id_token": "the sub of userinfo is always compared with that of the id_token",
}
"""Why a key that 4.x knew does nothing here. A key that the configuration declares is not looked up."""

_AS_WE_DO: Final[dict[str, Any]] = {
    "accept_id_token_without_signature": False,
    "enable_jwks_generation": False,
    "enable_tracing": False,
    "encode_client_id_in_authorization_url": True,
    "validate_user_info_with_id_token": True,
}
"""Values that ask for what this server does anyway."""

_KEY_STORE: Final = (
    "the front wants PEM files (https.cert_path, https.key_path): keytool -importkeystore -deststoretype PKCS12 and "
    "openssl pkcs12 -nodes make them of a key store"
)


class Converted(NamedTuple):
    """An old configuration in our words.

    ``node`` is our configuration as JSON, ``default_site`` what stands in the file beside it. ``became`` and
    ``without_effect`` tell of each old key, in one line, what was made of it.
    """

    node: dict[str, Any]
    default_site: dict[str, Any]
    became: list[str]
    without_effect: list[str]


def is_yaml(path: Path) -> bool:
    """Tell whether the file's name is that of a YAML file: the configuration of oxd 4.x."""
    return path.suffix.lower() in (".yml", ".yaml")


def convert(path: Path) -> Converted:
    """Return what the ``oxd-server.yml`` at ``path`` means.

    Raises:
        ConfigError: the file cannot be read, or what has no counterpart of the same name is wrong.
    """
    # Only this file is YAML, and every start would pay for the reader.
    from oxd_server.config.yaml_file import read_yaml

    section = Section(path, read_yaml(path))
    default_site = section.section(DEFAULT_SITE).node
    conversion = _Conversion(path, Converted({}, default_site, [], []))
    for key, read in _TRANSLATED.items():
        if key in section.node:
            read(conversion, section.node.pop(key))
    conversion.take_over(section.node)
    return conversion.result


class _Conversion:
    def __init__(self, path: Path, result: Converted) -> None:
        self.path = path
        self.result = result
        self.https: dict[str, Any] = {"enabled": True, "dialect": "4"}
        result.node["https"] = self.https
        result.became.append("oxd 4.x has the HTTPS front only: https.enabled is true and https.dialect 4")

    def take_over(self, node: dict[str, Any]) -> None:
        """Take what is ours under the same name, and say so of what is not."""
        self._certificate(node)
        ours = {declared.name for declared in declared_keys(Config)}
        self.https |= _object(self.path, "https", node.pop("https", {}))  # ours, written into the old file
        if "metrics" in node and not _is_ours(node["metrics"]):
            ours.discard("metrics")  # those of the old server's framework
        for key, value in node.items():
            if key in ours or key not in _WITHOUT_EFFECT:  # an unknown one gets its warning from the loader
                self.result.node[key] = value
                if key in ours:
                    self.became(key, key)
            elif value not in ([], {}) and _AS_WE_DO.get(key) is not value:
                self.ignored(key, _WITHOUT_EFFECT[key])
        self._who_may_call(node.get("bind_ip_addresses"))

    def became(self, old: str, new: str) -> None:
        self.result.became.append(f"{old} is {new} here" if old != new else f"{old} is the same here")

    def ignored(self, old: str, reason: str) -> None:
        self.result.without_effect.append(f"{self.path.name}: {old} has no effect: {reason}")

    def _who_may_call(self, callers: Any) -> None:
        if callers:
            # The old server listened everywhere, and looked at who called.
            self.https.setdefault("bind_addresses", ["0.0.0.0", "::"])  # noqa: S104
            self.result.became.append(
                "bind_ip_addresses names callers, so https.bind_addresses is every address; callers that use another "
                "name than the certificate's need it in https.allowed_hosts"
            )
        else:
            self.result.node["bind_ip_addresses"] = []
            self.result.became.append(
                "bind_ip_addresses is not set, so only this machine may call, as in 4.2; 4.0 and 4.1 let everybody"
            )

    def server(self, node: Any) -> None:
        server = _object(self.path, "server", node)
        connectors = server.pop("applicationConnectors", [])
        if not isinstance(connectors, list):
            raise _wrong(self.path, "server.applicationConnectors", "a list of objects")
        is_taken = False
        for number, connector in enumerate(connectors):
            name = f"server.applicationConnectors[{number}]"
            is_taken = self._connector(name, _object(self.path, name, connector), is_taken) or is_taken
        for key in server:
            self.ignored(f"server.{key}", "there is one front, and the log is on stderr")

    def _connector(self, name: str, node: dict[str, Any], is_taken: bool) -> bool:
        """Make the front of the first connector with TLS; tell whether it was this one."""
        section = Section(self.path, node, f"{name}.")
        kinds = {"type": one_of("http", "https", "h2"), "port": whole(0, 65535), "bindHost": TEXT}
        values = section.read(kinds)
        if is_taken or values.get("type", "http") == "http":
            self.ignored(name, "there is one front, and it speaks TLS only")
            return False
        if "port" in values:
            self.https["port"] = values["port"]
            self.became(f"{name}.port", "https.port")
        if "bindHost" in values:
            self._bind_host(f"{name}.bindHost", values["bindHost"])
        for key in section.node:
            if key not in kinds:
                is_store = key.lower().startswith("keystore")
                self.ignored(f"{name}.{key}", _KEY_STORE if is_store else "the front sees to it by itself")
        return True

    def _bind_host(self, name: str, host: str) -> None:
        try:
            self.https["bind_addresses"] = [str(ipaddress.ip_address(host))]
        except ValueError:
            raise _wrong(self.path, name, "an IP address") from None
        self.became(name, "https.bind_addresses")

    def logging(self, node: Any) -> None:
        logging = _object(self.path, "logging", node)
        level = logging.pop("level", None)
        if level is False:
            level = "off"  # a bare OFF is false in YAML
        if level is not None:
            if str(level).lower() not in _LEVELS:
                raise _wrong(self.path, "logging.level", f"one of {', '.join(_LEVELS)}")
            self.result.node["log_level"] = _LEVELS[str(level).lower()]
            self.became("logging.level", "log_level")
        for key in logging:
            self.ignored(f"logging.{key}", "there is one log, on stderr")

    def _certificate(self, node: dict[str, Any]) -> None:
        """Take the certificate over where it was used; else nobody looks whether it can be read."""
        if node.pop("mtls_enabled", False) is True:
            self.became("mtls_enabled", "client_token_endpoint_auth_method of each site (tls_client_auth)")
            return
        for key in _MTLS_KEYS:
            if node.pop(key, None):
                self.ignored(key, _MTLS)

    def fapi_enabled(self, value: Any) -> None:
        if value is not True:
            return
        op_host = self.result.default_site.get("op_host")
        if op_host:
            self.result.node["op_settings"] = {op_host: {"fapi_enabled": True}}
            self.became("fapi_enabled", f"op_settings {op_host} fapi_enabled")
        else:
            self.ignored("fapi_enabled", f"it is set for each OP, in op_settings, and {DEFAULT_SITE} names none")


_TRANSLATED: Final[dict[str, Callable[[_Conversion, Any], None]]] = {
    "server": _Conversion.server,
    "logging": _Conversion.logging,
    "fapi_enabled": _Conversion.fapi_enabled,
}


def _is_ours(metrics: Any) -> bool:
    return isinstance(metrics, dict) and metrics.keys() <= {declared.name for declared in declared_keys(MetricsConfig)}


def _object(path: Path, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(path, name, "an object")
    return dict(value)


def _wrong(path: Path, name: str, expected: str) -> ConfigError:
    return ConfigError(f"{path.name}: {name} is wrong: expected {expected}")
