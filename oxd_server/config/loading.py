"""Loading the configuration: every key by its declaration, then the rules between keys, then notes for the log.

An ``oxd-server.yml`` of oxd 4.x is brought into the words of ``oxd-conf.json`` first.
"""

import ipaddress
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from oxd_server.config.declaring import Settings, declared_keys
from oxd_server.config.file import ConfigError, Section, read_file, wrong
from oxd_server.config.given import Given, Sources, given_in_file, given_outside, unknown_variables
from oxd_server.config.keys import DEFAULT_SITE_NAME, Config
from oxd_server.config.kinds import Kind
from oxd_server.config.notes import notes_on
from oxd_server.config.oxd4 import convert, is_yaml
from oxd_server.config.storage_keys import StorageConfig

__all__ = ["Loaded", "default_site_path", "load_config", "load_settings"]

_S = TypeVar("_S", bound=Settings)


class Loaded(NamedTuple):
    """The configuration, and what was set of it, by the names of the keys."""

    config: Config
    given: Mapping[str, Given]


def load_config(path: Path | None) -> Config:
    """Return the configuration in the file at ``path``; without one, all defaults.

    Raises:
        ConfigError: as ``load_settings``.
    """
    return load_settings(Sources(path)).config


def load_settings(sources: Sources) -> Loaded:
    """Return the configuration that these sources give together.

    Raises:
        ConfigError: the file cannot be read, is not JSON or YAML (line and column are named), or values are wrong, of
            which all are named.
    """
    path, problems, failed = sources.path, list[str](), dict[str, ConfigError]()
    section = Section(Path(), {}) if path is None else _section_of(path)
    given = given_in_file(section, problems) | given_outside(sources, problems)
    config = _read(Config, "", given, failed)
    problems += [problem for error in failed.values() for problem in error.problems]
    problems += _broken_rules(config, given, failed)
    if problems:
        raise ConfigError(*problems)
    config = msgspec.structs.replace(
        config,
        config_path=path,
        default_site_path=default_site_path(path),
        store_path=_store_path(Path() if path is None else path.parent, config.storage_configuration),
    )
    warnings = (*section.warnings, *unknown_variables(sources.environment), *notes_on(sources, config, given))
    return Loaded(msgspec.structs.replace(config, storage=_kept_in(config.storage), warnings=warnings), given)


def default_site_path(path: Path | None) -> Path:
    """Return where the default site stands that belongs to the configuration in the file at ``path``."""
    if path is not None and is_yaml(path):
        return path
    return Path(DEFAULT_SITE_NAME) if path is None else path.parent / DEFAULT_SITE_NAME


def _section_of(path: Path) -> Section:
    if not is_yaml(path):
        return read_file(path)
    converted = convert(path)
    section = Section(path, converted.node)
    section.warnings += converted.without_effect
    return section


def _read(struct: type[_S], prefix: str, given: Mapping[str, Given], failed: dict[str, ConfigError]) -> _S:
    """Read an object of the configuration, and those in it; in the place of a value that failed is its default."""
    values: dict[str, Any] = {}
    for declared in declared_keys(struct):
        name, kind = f"{prefix}{declared.name}", declared.key.kind
        if not isinstance(kind, Kind):
            values[declared.attribute] = _read(kind, f"{name}.", given, failed)
        elif name in given:
            try:
                values[declared.attribute] = given[name].read(kind)
            except ConfigError as error:
                failed[name] = error
    return struct(**values)


def _kept_in(storage: str) -> str:
    return "file" if storage == "h2" else storage


def _store_path(folder: Path, storage: StorageConfig) -> Path:
    """Return where the store's file lies: of a legacy h2 store beside its file, which stays as it is for importing."""
    if storage.path != StorageConfig().path:
        return storage.path
    if storage.legacy_path is not None:
        return Path(f"{storage.legacy_path}.sqlite")
    return folder / storage.path


def _broken_rules(config: Config, given: Mapping[str, Given], failed: Collection[str]) -> Iterator[str]:
    """Yield what is wrong between keys whose values are sound by themselves."""

    def sound(*names: str) -> bool:
        return not any(name in failed for name in names)

    exposed = [text for text in config.bind_addresses if not ipaddress.ip_address(text).is_loopback]
    if exposed and config.localhost_only and sound("bind_addresses", "localhost_only"):
        expected = "loopback addresses only, while localhost_only is not false"
        yield str(wrong(given["bind_addresses"].place, exposed, expected))
    if config.workers > 1 and config.storage == "memory" and sound("workers", "storage"):
        expected = "1 with storage memory: workers share what is in the store"
        yield str(wrong(given["workers"].place, config.workers, expected))
    entrances = ("tcp_enabled", "unix_socket_path", "https.enabled")
    if not (config.tcp_enabled or config.unix_socket_path or config.https.enabled) and sound(*entrances):
        yield f"{given['tcp_enabled'].place}: nothing would listen: set unix_socket_path or https.enabled"
    pair = ("https.cert_path", "https.key_path")
    if (config.https.cert_path is None) != (config.https.key_path is None) and sound(*pair):
        missing, there = pair if config.https.cert_path is None else pair[::-1]
        yield f"{given[there].place}: {missing} is missing: cert_path and key_path go together"
