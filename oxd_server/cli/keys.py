"""``keys``: makes a key store, shows its public keys."""

import argparse
import sys
from pathlib import Path

from oxd_server.cli.errors import CliError
from oxd_server.cli.options import Commands, add_config, loaded
from oxd_server.cli.output import print_json

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Declare the commands."""
    parser = commands.add_parser("keys", help="make a key store, or show its public keys")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    new = actions.add_parser(
        "new",
        help="make a key store for private_key_jwt",
        description="Make a key store with an RSA and an EC key, readable by its owner only, and print the public "
        "keys. Name it as crypt_provider_key_store_path in oxd-conf.json.",
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


def _keys_new(options: argparse.Namespace) -> int:
    from oxd_server.op.key_store import new_key_store

    print_json(new_key_store(options.file).public_jwks(), sys.stdout)
    return 0


def _keys_public(options: argparse.Namespace) -> int:
    config = loaded(options).config
    if config.crypt_provider_key_store_path is None:
        raise CliError("no key store is configured: crypt_provider_key_store_path is not set")
    from oxd_server.op.key_store import load_key_store

    key_store = load_key_store(config.crypt_provider_key_store_path, config.crypt_provider_key_store_password)
    print_json(key_store.public_jwks(), sys.stdout)
    return 0
