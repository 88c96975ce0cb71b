"""The default site: what `register_site` falls back to, from the file beside the configuration.

In an ``oxd-server.yml`` of oxd 4.x it is a part of the configuration itself.
"""

from pathlib import Path
from typing import Final

from oxd_protocol.errors import ParamsError
from oxd_protocol.params import Fields
from oxd_protocol.site_metadata import NEW_SITE_ALIASES, NewSiteParams
from oxd_server.config.file import ConfigError, Section, read_file
from oxd_server.config.oxd4 import DEFAULT_SITE, convert, is_yaml

__all__ = ["DefaultSite", "load_default_site"]


class DefaultSite(NewSiteParams, frozen=True, kw_only=True):
    """The params of `register_site`, absent where the file says nothing, and warnings for the log."""

    shows = ("op_host",)

    warnings: tuple[str, ...] = ()


_OLD_SPELLINGS: Final = {"grant_type": "grant_types", "logout_redirect_uri": "post_logout_redirect_uri"}
_FIELDS: Final = Fields.of(NewSiteParams, {**NEW_SITE_ALIASES, **_OLD_SPELLINGS})


def load_default_site(path: Path) -> DefaultSite:
    """The defaults of `register_site` in the file at `path`, read as its params are; empty ones without such a file.

    Raises `ConfigError` as `load_config` does.
    """
    if not path.exists():
        return DefaultSite()
    section = Section(path, convert(path).default_site, f"{DEFAULT_SITE}.") if is_yaml(path) else read_file(path)
    try:
        values = _FIELDS.read(section.node, "")
    except ParamsError as error:
        raise ConfigError(f"{path.name}: {section.prefix}{error.description}") from None
    unknown = sorted(key for key in section.node if key not in _FIELDS.readers)
    return DefaultSite(
        **values,
        warnings=(*section.warnings, *(f"{path.name}: {section.prefix}{key} is an unknown key" for key in unknown)),
    )
