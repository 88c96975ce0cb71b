"""Loading ``oxd-conf.json``: every key by its declaration, then the rules between keys, then notes for the log.

An ``oxd-server.yml`` of oxd 4.x is brought into its words first.
"""

import ipaddress
from pathlib import Path
from typing import TypeVar

import msgspec

from oxd_server.config.declaring import Settings, declared_keys
from oxd_server.config.file import Section, read_file
from oxd_server.config.keys import DEFAULT_SITE_NAME, Config
from oxd_server.config.kinds import Kind
from oxd_server.config.notes import notes_on
from oxd_server.config.oxd4 import convert, is_yaml
from oxd_server.config.storage_keys import StorageConfig

__all__ = ["load_config"]

_S = TypeVar("_S", bound=Settings)


def load_config(path: Path | None) -> Config:
    """Return the configuration in the file at ``path``; without one, all defaults.

    Raises:
        ConfigError: the file cannot be read, is not JSON or YAML (line and column are named), or holds a wrong value.
    """
    if path is None:
        return Config()
    section = _section_of(path)
    config = _read(section, Config)
    _check(section, config)
    config = msgspec.structs.replace(
        config,
        store_path=_store_path(path, config.storage_configuration),
        default_site_path=path if is_yaml(path) else path.parent / DEFAULT_SITE_NAME,
    )
    warnings = tuple(section.warnings + notes_on(path, config))
    return msgspec.structs.replace(config, storage=_kept_in(config.storage), warnings=warnings)


def _section_of(path: Path) -> Section:
    if not is_yaml(path):
        return read_file(path)
    converted = convert(path)
    section = Section(path, converted.node)
    section.warnings += converted.without_effect
    return section


def _read(section: Section, struct: type[_S]) -> _S:
    """Read an object of the file, and those in it. Raises ``ConfigError``."""
    keys = declared_keys(struct)
    inner = {
        key.attribute: (section.section(key.name), key.key.kind) for key in keys if not isinstance(key.key.kind, Kind)
    }
    kinds = {key.name: key.key.kind for key in keys if isinstance(key.key.kind, Kind)}
    attributes = {key.name: key.attribute for key in keys}
    values = {attributes[name]: value for name, value in section.read(kinds).items()}
    for attribute, (inner_section, inner_struct) in inner.items():
        values[attribute] = _read(inner_section, inner_struct)
        section.warnings += inner_section.warnings
    return struct(**values)


def _kept_in(storage: str) -> str:
    return "file" if storage == "h2" else storage


def _store_path(path: Path, storage: StorageConfig) -> Path:
    """Return where the store's file lies: of a legacy h2 store beside its file, which stays as it is for importing."""
    if storage.path != StorageConfig().path:
        return storage.path
    if storage.legacy_path is not None:
        return Path(f"{storage.legacy_path}.sqlite")
    return path.parent / storage.path


def _check(section: Section, config: Config) -> None:
    """Check the rules between keys. Raises ``ConfigError``."""
    exposed = [text for text in config.bind_addresses if not ipaddress.ip_address(text).is_loopback]
    if exposed and config.localhost_only:
        expected = "loopback addresses only, while localhost_only is not false"
        raise section.error("bind_addresses", exposed, expected)
    if config.workers > 1 and config.storage == "memory":
        raise section.error("workers", config.workers, "1 with storage memory: workers share what is in the store")
    if (config.https.cert_path is None) != (config.https.key_path is None):
        missing = "key_path" if config.https.key_path is None else "cert_path"
        raise section.error(f"https.{missing}", None, "a path: cert_path and key_path go together")
