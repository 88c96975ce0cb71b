"""The default site: what `register_site` falls back to, from the file beside the configuration."""

from pathlib import Path

import msgspec

from oxd_server.config.file import read_file
from oxd_server.config.kinds import FLAG, SCOPES, SECRET, TEXT, TEXTS

__all__ = ["DefaultSite", "load_default_site"]


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


_DEFAULT_SITE_ALIASES = {
    "logout_redirect_uri": "post_logout_redirect_uri",
    "grant_type": "grant_types",
    "response_type": "response_types",
    "client_logout_uris": "client_frontchannel_logout_uris",
}
_DEFAULT_SITE_KEYS = {
    field.name: TEXTS if field.type == tuple[str, ...] else TEXT
    for field in msgspec.structs.fields(DefaultSite)
    if field.name != "warnings"
} | {"scope": SCOPES, "trusted_client": FLAG, "client_secret": SECRET}


def load_default_site(path: Path) -> DefaultSite:
    """The defaults of `register_site` in the file at `path`; empty ones if there is no such file.

    Raises `ConfigError` as `load_config` does.
    """
    if not path.exists():
        return DefaultSite()
    section = read_file(path)
    for alias, key in _DEFAULT_SITE_ALIASES.items():
        if alias in section.node:
            section.node.setdefault(key, section.node.pop(alias))
    present = {key: value for key, value in section.read(_DEFAULT_SITE_KEYS).items() if value not in ("", ())}
    return DefaultSite(**present, warnings=tuple(section.warnings))
