"""The keys of the object ``https``."""

from pathlib import Path
from typing import Annotated

from oxd_server.config.declaring import Key, Settings
from oxd_server.config.kinds import ADDRESSES, CONNECTIONS, FLAG, PATH, PORT, TEXT, TEXTS, one_of

__all__ = ["HttpsConfig"]


class HttpsConfig(Settings, frozen=True, kw_only=True):
    """The HTTPS front."""

    enabled: Annotated[bool, Key(FLAG, "true: it runs.", flag="--https", restart=True)] = False
    port: Annotated[int, Key(PORT, "Its TCP port.", flag="--https-port", restart=True)] = 8443
    bind_addresses: Annotated[
        tuple[str, ...],
        Key(
            ADDRESSES,
            "The IP addresses to listen on; empty: 127.0.0.1 and ::1, or all of them if there is a certificate "
            "(cert_path).",
            flag="--https-bind",
            restart=True,
        ),
    ] = ()
    allowed_hosts: Annotated[
        tuple[str, ...],
        Key(
            TEXTS,
            "Further names of the front in the Host header. It always takes localhost, the addresses that it "
            "listens on and the names of its certificate. It refuses requests by other names, because a web page "
            "can make one resolve to this machine. *: any name.",
        ),
    ] = ()
    dialect: Annotated[
        str,
        Key(
            one_of("auto", "3", "4", "4-beta"),
            "3: envelopes, as in oxd 3.1. 4: flat answers with HTTP statuses, as in oxd 4.0 to 4.2. 4-beta: as in oxd "
            "4.0.beta. auto: the dialect that the site or the client was registered in; a site that registers without "
            "a token gets 4.",
        ),
    ] = "auto"
    url: Annotated[
        str | None,
        Key(
            TEXT,
            "The front's URL as OPs reach it, for example https://oxd.example.org:8443: get_request_object_uri and "
            "backchannel_logout make their URIs with it. Its name belongs in allowed_hosts, if it is not in the "
            "certificate. With dialect 3, OPs get no request objects there.",
        ),
    ] = None
    max_connections: Annotated[
        int,
        Key(
            CONNECTIONS,
            "How many connections may be open. A new one replaces the one that has been idle for longest.",
        ),
    ] = 1000
    max_connections_per_address: Annotated[
        int,
        Key(
            CONNECTIONS,
            "How many connections one address may have (an IPv6 network of 64 bits counts as one). The next one "
            "gets 503 server_busy. Behind a proxy, raise it to max_connections.",
        ),
    ] = 500
    cert_path: Annotated[
        Path | None,
        Key(
            PATH,
            "The certificate with its chain (PEM). Without one, the server makes a self-signed one for localhost, "
            "once, and keeps it beside the sites.",
        ),
    ] = None
    key_path: Annotated[Path | None, Key(PATH, "The key of the certificate (PEM, without a password).")] = None
