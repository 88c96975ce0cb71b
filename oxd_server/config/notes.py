"""What the log says about a configuration that is allowed, but should be known."""

import stat
from collections.abc import Mapping
from pathlib import Path

from oxd_server.config.declaring import declared_values
from oxd_server.config.given import Given, Sources
from oxd_server.config.keys import Config
from oxd_server.op.settings import EXCEPTIONS

__all__ = ["notes_on"]


def notes_on(sources: Sources, config: Config, given: Mapping[str, Given]) -> list[str]:
    """Return a line for each thing that the operator of this configuration should know."""
    name = "" if sources.path is None else f"{sources.path.name}: "
    notes = []
    if config.trust_all_certs:
        notes.append(
            f"{name}trust_all_certs is true: no certificate is checked, so whoever is on the way to an "
            "OP can read and change everything; set trust_store_path instead"
        )
    exceptions = [(op, settings.exceptions) for op, settings in config.op_settings.items()]
    notes += [
        f"{name}{exception} is allowed to {op}: {EXCEPTIONS[exception]}"
        for op, names in (*exceptions, *config.op_exceptions.items())
        for exception in names
    ]
    if config.storage == "h2":
        notes.append(
            f"{name}storage h2 is a legacy database: sites are kept in {config.store_path}, and the first start "
            "brings over what the database beside it holds"
        )
    if config.https_commands_without_token:
        notes.append(
            f"{name}https_commands_without_token: over HTTPS anybody can run "
            f"{', '.join(config.https_commands_without_token)} for every site"
        )
    notes += [
        f"{name}{file} holds secrets, and others than its owner can read it; chmod 600 keeps them out"
        for file in _files_with_secrets(sources.path, config, given)
        if _is_read_by_others(file)
    ]
    return notes


def _files_with_secrets(path: Path | None, config: Config, given: Mapping[str, Given]) -> list[Path]:
    secrets = [given[value.name] for value in declared_values(Config) if value.is_secret and value.name in given]
    named = [
        path if any(secret.form == "value" and secret.value and secret.origin == "file" for secret in secrets) else None
    ]
    named += [secret.file for secret in secrets if secret.origin != "credential"]
    named += [
        config.crypt_provider_key_store_path,
        config.mtls_client_key_store_path,
        config.https.key_path,
        config.storage_configuration.key_path,
    ]
    return [file for file in named if file is not None]


def _is_read_by_others(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False  # whoever needs the file says what is wrong with it
