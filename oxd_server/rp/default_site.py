"""The default site configuration in force."""

from dataclasses import dataclass

from oxd_server.config import DefaultSite

__all__ = ["DefaultSiteHolder"]


@dataclass(slots=True)
class DefaultSiteHolder:
    """The default site configuration in force; a reload replaces it as a whole."""

    current: DefaultSite
