"""The keys of the object ``metrics``."""

from typing import Annotated

from oxd_server.config.declaring import Key, Settings
from oxd_server.config.kinds import ADDRESSES, FLAG, PORT, URL_PATH

__all__ = ["MetricsConfig"]


class MetricsConfig(Settings, frozen=True, kw_only=True):
    """Figures for Prometheus."""

    enabled: Annotated[
        bool, Key(FLAG, "true: /metrics, /ready and /health-check are there.", flag="--metrics", restart=True)
    ] = False
    port: Annotated[int, Key(PORT, "Their TCP port, without TLS.", flag="--metrics-port", restart=True)] = 9464
    bind_addresses: Annotated[
        tuple[str, ...],
        Key(
            ADDRESSES,
            "The IP addresses to listen on; empty: 127.0.0.1 and ::1. Whoever reaches them can read the figures, and "
            "those name OPs and sites.",
            restart=True,
        ),
    ] = ()
    https_path: Annotated[
        str | None,
        Key(URL_PATH, "A path of the HTTPS front, such as /metrics, where all its callers can read the figures too."),
    ] = None
