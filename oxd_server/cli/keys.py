"""``keys``: makes a key store, shows its public keys, has new keys take over."""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from oxd_server.cli.errors import CliError
from oxd_server.cli.options import Commands, add_config, loaded
from oxd_server.cli.output import print_json
from oxd_server.config import Config

__all__ = ["add"]

_DAY: Final = 24 * 3600
_MAX_DAYS: Final = 3650
_NONE: Final = "no key store is configured: crypt_provider_key_store_path is not set"


def add(commands: Commands) -> None:
    """Declare the commands."""
    parser = commands.add_parser("keys", help="make a key store, show its public keys, have new keys take over")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    new = actions.add_parser(
        "new",
        help="make a key store, for private_key_jwt, signed requests and encrypted answers",
        description="Make a key store with an RSA and an EC key for signing and for decrypting, readable by its owner "
        "only, and print the public keys. Name it as crypt_provider_key_store_path in oxd-conf.json.",
    )
    new.add_argument("file", type=Path, help="where to write it; an existing file is never overwritten")
    new.set_defaults(run=_keys_new)
    public = actions.add_parser(
        "public",
        help="print the public keys to give to an OP",
        description="Print the public JWK Set of the configured key store, to give to an OP.",
    )
    add_config(public)
    public.set_defaults(run=_keys_public)
    rotate = actions.add_parser(
        "rotate",
        help="have new keys take over from the old ones",
        description="Put new keys into the configured key store, and print the public keys. The new ones are published "
        "at once, sign after the overlap, and the old ones are gone after another. Send SIGHUP to servers that run.",
    )
    add_config(rotate)
    rotate.add_argument(
        "--overlap",
        type=_days,
        default=_days("1"),
        metavar="DAYS",
        help="how long new keys are only published, and old ones then kept; 0: the old ones are gone at once, as after "
        "a theft; default: 1",
    )
    rotate.set_defaults(run=_keys_rotate)


def _days(text: str) -> int:
    """Read days; return seconds."""
    days = float(text)
    if not 0 <= days <= _MAX_DAYS:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {_MAX_DAYS}")
    return int(days * _DAY)


def _keys_new(options: argparse.Namespace) -> int:
    from oxd_server.op.key_store import new_key_store

    print_json(new_key_store(options.file).public_jwks(), sys.stdout)
    return 0


def _keys_public(options: argparse.Namespace) -> int:
    from oxd_server.op.private_keys import load_private_keys

    config = loaded(options).config
    key_store = load_private_keys(
        config.crypt_provider_key_store_path,
        config.crypt_provider_key_store_password,
        config.crypt_provider_pkcs11_uris,
        config.crypt_provider_pkcs11_pin,
    )
    if key_store is None:
        raise CliError(_NONE)
    print_json(key_store.at(time.time()).public_jwks(), sys.stdout)
    return 0


def _keys_rotate(options: argparse.Namespace) -> int:
    from oxd_server.op.key_rotation import rotate_keys

    now = int(time.time())
    key_store = rotate_keys(_configured(loaded(options).config), options.overlap, now)
    print_json(key_store.public_jwks(), sys.stdout)
    print(
        f"The new keys sign from {_date(now + options.overlap)} on. The old ones are gone at "
        f"{_date(now + 2 * options.overlap)}. Send SIGHUP to servers that run now. An OP that was told the keys by "
        "value needs an update_site of its sites before that; one that reads /jwks needs nothing.",
        file=sys.stderr,
    )
    return 0


def _configured(config: Config) -> Path:
    if config.crypt_provider_key_store_path is None and config.crypt_provider_pkcs11_uris:
        raise CliError(
            "the keys lie in a token (crypt_provider_pkcs11_uris), and only those of a key store are rotated: make the "
            "new key with the token's own tools, and name it beside the old one"
        )
    if config.crypt_provider_key_store_path is None:
        raise CliError(_NONE)
    return config.crypt_provider_key_store_path


def _date(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
