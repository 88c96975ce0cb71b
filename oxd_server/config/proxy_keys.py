"""The keys of the object ``op_proxy``."""

from typing import Annotated

import msgspec

from oxd_server.config.declaring import Key, Settings
from oxd_server.config.kinds import FLAG, PROXY, SECRET, TEXT, TEXTS, mapping

__all__ = ["ProxyConfig"]


class ProxyConfig(Settings, frozen=True, kw_only=True):
    """The proxy that leads to OPs."""

    url: Annotated[
        str | None,
        Key(
            PROXY,
            "The proxy for all OPs, such as http://relay.example:8118; with https://, the proxy itself is reached "
            "through TLS. OPs on this machine are never asked through it.",
        ),
    ] = None
    user: Annotated[str | None, Key(TEXT, "The user that the proxy at url asks for.")] = None
    password: Annotated[str | None, Key(SECRET, "That user's password.")] = None
    hosts: Annotated[
        dict[str, str],
        Key(
            mapping(PROXY, "each host (or host:port)"),
            "Hosts with a proxy of their own, or with direct for none. They count more than no_proxy.",
        ),
    ] = msgspec.field(default_factory=dict)
    no_proxy: Annotated[
        tuple[str, ...],
        Key(
            TEXTS,
            "What is reached without a proxy: hosts (with all names below them, and with a port if one is named), IP "
            "addresses, networks such as 10.0.0.0/8, or * for all.",
        ),
    ] = ()
    from_environment: Annotated[
        bool,
        Key(
            FLAG,
            "true: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY of the environment count as well, for what is not "
            "set here. false: they do not.",
        ),
    ] = False
