"""What the log says about a configuration that is allowed, but should be known."""

import stat
from pathlib import Path

from oxd_server.config.keys import Config
from oxd_server.op.settings import EXCEPTIONS

__all__ = ["notes_on"]


def notes_on(path: Path, config: Config) -> list[str]:
    """Return a line for each thing that the operator of the configuration in the file at ``path`` should know."""
    notes = []
    if config.trust_all_certs:
        notes.append(
            f"{path.name}: trust_all_certs is true: no certificate is checked, so whoever is on the way to an "
            "OP can read and change everything; set trust_store_path instead"
        )
    exceptions = [(op, settings.exceptions) for op, settings in config.op_settings.items()]
    notes += [
        f"{path.name}: {name} is allowed to {op}: {EXCEPTIONS[name]}"
        for op, names in (*exceptions, *config.op_exceptions.items())
        for name in names
    ]
    if config.storage == "h2":
        notes.append(
            f"{path.name}: storage h2 is a legacy database: sites are kept in {config.store_path}, and the first start "
            "brings over what the database beside it holds"
        )
    if config.https_commands_without_token:
        notes.append(
            f"{path.name}: https_commands_without_token: over HTTPS anybody can run "
            f"{', '.join(config.https_commands_without_token)} for every site"
        )
    notes += [
        f"{path.name}: {file} holds secrets, and others than its owner can read it; chmod 600 keeps them out"
        for file in _files_with_secrets(path, config)
        if _is_read_by_others(file)
    ]
    return notes


def _files_with_secrets(path: Path, config: Config) -> list[Path]:
    storage = config.storage_configuration
    passwords = config.trust_store_password or config.crypt_provider_key_store_password or storage.password
    named = [path if passwords else None, config.crypt_provider_key_store_path, config.https.key_path]
    named += [storage.password_path, storage.key_path]
    return [file for file in named if file is not None]


def _is_read_by_others(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False  # whoever needs the file says what is wrong with it
