"""Every key of the configuration, declared once: name, type, kind, default and a sentence.

The loader, its errors, the sample file and the reference table are all made from this table. To add a key, add a
field with a ``Key`` and run ``python -m oxd_server.config.reference``.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, get_args, get_type_hints

import msgspec

from oxd_server.config.kinds import (
    ADDRESSES,
    CALLERS,
    COMMANDS,
    FLAG,
    MINUTES,
    PATH,
    PREFIX,
    REDIS_MODE,
    SECRET,
    SERVERS,
    TEXT,
    TEXTS,
    WORKERS,
    Kind,
    mapping,
    one_of,
    seconds,
    whole,
)
from oxd_server.config.ops import OP_EXCEPTIONS, OP_SETTINGS
from oxd_server.op.settings import OpException, OpSettings

__all__ = [
    "DEFAULT_SITE_NAME",
    "Config",
    "Declared",
    "HttpsConfig",
    "Key",
    "Settings",
    "StorageConfig",
    "declared_keys",
]

DEFAULT_SITE_NAME: Final = "oxd-default-site-config.json"

_PORT: Final = whole(0, 65535)
_CONNECTIONS: Final = whole(1, 1_000_000)


class Key(NamedTuple):
    """What is declared of a key beside its name, type and default.

    ``kind`` is a struct for an object that has keys of its own. ``name`` is the key's spelling in the file where that
    is not the attribute's. ``heading`` begins a group of keys. A ``legacy`` key is read, but not recommended to
    anybody: it stands in no sample.
    """

    kind: Kind | type["Settings"]
    sentence: str
    name: str = ""
    heading: str = ""
    legacy: bool = False


class Declared(NamedTuple):
    """One key of a struct: its spelling in the file, the attribute, the declaration and the default."""

    name: str
    attribute: str
    key: Key
    default: Any

    @property
    def is_secret(self) -> bool:
        """Tell whether the value is hidden."""
        return isinstance(self.key.kind, Kind) and self.key.kind.secret


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the configuration. Its repr leaves out what is secret."""

    def __repr__(self) -> str:
        hidden = {key.attribute for key in declared_keys(type(self)) if key.is_secret}
        shown = {name: value for name, value in msgspec.structs.asdict(self).items() if name not in hidden}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __rich_repr__(self) -> list[tuple[str, str]]:  # msgspec's own would show the passwords
        return [("", repr(self))]


class HttpsConfig(Settings, frozen=True, kw_only=True):
    """The HTTPS front."""

    enabled: Annotated[bool, Key(FLAG, "true: it runs.")] = False
    port: Annotated[int, Key(_PORT, "Its TCP port.")] = 8443
    bind_addresses: Annotated[
        tuple[str, ...],
        Key(
            ADDRESSES,
            "The IP addresses to listen on; empty: 127.0.0.1 and ::1, or all of them if there is a certificate "
            "(cert_path).",
        ),
    ] = ()
    allowed_hosts: Annotated[
        tuple[str, ...],
        Key(
            TEXTS,
            "Names that the front is called by (the Host header), besides localhost, the addresses that it listens on "
            "and the names of its certificate. Requests by another name are refused: a web page can make one resolve "
            "to this machine. *: any name.",
        ),
    ] = ()
    dialect: Annotated[
        str,
        Key(
            one_of("auto", "3", "4", "4-beta"),
            "3: envelopes, as in oxd 3.1. 4: flat answers with HTTP statuses, as in oxd 4.0 to 4.2. 4-beta: as in oxd "
            "4.0.beta. auto: told from the site and the client; whoever registers without a token gets 4.",
        ),
    ] = "auto"
    url: Annotated[
        str | None,
        Key(
            TEXT,
            "The front's URL as OPs reach it, for example https://oxd.example.org:8443: get_request_object_uri makes "
            "its URIs with it, unless a command names another one. Its name belongs in allowed_hosts, if it is not in "
            "the certificate. With dialect 3, OPs are answered nothing there.",
        ),
    ] = None
    max_connections: Annotated[
        int,
        Key(
            _CONNECTIONS,
            "How many connections may be open; a new one takes the place of the one that has been idle for longest.",
        ),
    ] = 1000
    max_connections_per_address: Annotated[
        int,
        Key(
            _CONNECTIONS,
            "How many of them one address may have (an IPv6 network of 64 bits counts as one); the next one is "
            "answered with 503 server_busy. Raise it to max_connections behind a proxy.",
        ),
    ] = 500
    cert_path: Annotated[
        Path | None,
        Key(
            PATH,
            "The certificate with its chain (PEM). Without one, a self-signed one for localhost is made once and kept "
            "where the sites are.",
        ),
    ] = None
    key_path: Annotated[Path | None, Key(PATH, "The key of the certificate (PEM, without a password).")] = None


class StorageConfig(Settings, frozen=True, kw_only=True):
    """Where the store is."""

    path: Annotated[
        Path,
        Key(
            PATH,
            "For file: the path of the file (the folder is made if need be, and both are readable by their owner "
            "only).",
        ),
    ] = Path("oxd-data/oxd.sqlite")
    legacy_path: Annotated[
        Path | None, Key(PATH, "Of a legacy h2 store: sites are kept beside it.", name="dbFileLocation", legacy=True)
    ] = None
    mode: Annotated[str, Key(REDIS_MODE, "For redis: whose addresses the servers are.")] = "standalone"
    legacy_mode: Annotated[
        str | None, Key(REDIS_MODE, "The mode, by its old name.", name="redisProviderType", legacy=True)
    ] = None
    servers: Annotated[
        tuple[str, ...],
        Key(SERVERS, "For redis: its addresses; of the Sentinels, or of some servers of the cluster."),
    ] = ("127.0.0.1:6379",)
    legacy_host: Annotated[str | None, Key(TEXT, "The one server, by its old name.", name="host", legacy=True)] = None
    legacy_port: Annotated[int, Key(whole(1, 65535), "Its port.", name="port", legacy=True)] = 6379
    sentinel_master: Annotated[str | None, Key(TEXT, "For redis with Sentinel: the name of the master there.")] = None
    legacy_sentinel_master: Annotated[
        str | None, Key(TEXT, "The same, by its old name.", name="sentinelMasterGroupName", legacy=True)
    ] = None
    username: Annotated[str | None, Key(TEXT, "For redis: the ACL user.")] = None
    password: Annotated[str | None, Key(SECRET, "For redis: the user's password.")] = None
    password_path: Annotated[Path | None, Key(PATH, "For redis: a file that holds the password.")] = None
    password_variable: Annotated[
        str | None, Key(TEXT, "For redis: an environment variable that holds the password.")
    ] = None
    database: Annotated[int, Key(whole(0, 1_000_000), "For redis: the number of the database.")] = 0
    tls: Annotated[bool, Key(FLAG, "For redis: true: over TLS.")] = False
    legacy_tls: Annotated[bool, Key(FLAG, "The same, by its old name.", name="useSSL", legacy=True)] = False
    ca_path: Annotated[
        Path | None, Key(PATH, "For redis: certificates (PEM) of authorities to trust; none: the system's.")
    ] = None
    cert_path: Annotated[Path | None, Key(PATH, "For redis: the server's own certificate (PEM) for TLS.")] = None
    key_path: Annotated[Path | None, Key(PATH, "For redis: its key.")] = None
    prefix: Annotated[
        str, Key(PREFIX, "For redis: what every key begins with, in braces; nothing else is touched.")
    ] = "oxd"
    wait_for_replicas: Annotated[
        int | None,
        Key(
            whole(0, 100),
            "For redis: how many replicas must have a write before it is acknowledged; none: 1 with Sentinel, else 0.",
        ),
    ] = None
    timeout_in_seconds: Annotated[float, Key(seconds(0.1), "For redis: how long an answer may take.")] = 2.0


class Config(Settings, frozen=True, kw_only=True):
    """The server's settings. Names say their unit.

    Three fields are not keys of the file: ``warnings`` are lines for the log, ``default_site_path`` is the file beside
    this one for ``load_default_site``, and ``store_path`` is where the store's file lies when ``storage`` is "file".
    """

    port: Annotated[int, Key(_PORT, "The TCP port of the oxd protocol.", heading="Where it listens.")] = 8099
    localhost_only: Annotated[
        bool,
        Key(
            FLAG,
            "true: only programs on this machine can connect. false: every machine that can reach this one, and then "
            "a firewall and protect_commands_with_access_token decide who may use it.",
        ),
    ] = True
    bind_addresses: Annotated[
        tuple[str, ...],
        Key(
            ADDRESSES,
            "The IP addresses to listen on; empty: 127.0.0.1 and ::1, or all of them if localhost_only is false.",
        ),
    ] = ()
    https: Annotated[HttpsConfig, Key(HttpsConfig, "The HTTPS front: the same commands as POST requests.")] = (
        HttpsConfig()
    )
    protect_commands_with_access_token: Annotated[
        bool | None,
        Key(
            FLAG,
            "true: commands need a protection_access_token. false: they do not. null: they do over HTTPS and on every "
            "address that is not loopback.",
        ),
    ] = None

    https_commands_without_token: Annotated[
        tuple[str, ...],
        Key(
            COMMANDS,
            "Commands that need no token over HTTPS, for libraries that send none with them (older ones: "
            "introspect_access_token, introspect_rpt, get_access_token_by_refresh_token). Whoever reaches the front "
            "can then run them for every site.",
        ),
    ] = ()
    bind_ip_addresses: Annotated[
        tuple[str, ...] | None,
        Key(
            CALLERS,
            "The IP addresses and networks that may call the HTTPS front; all others get 403. []: this machine only. "
            "null or *: whoever can reach it.",
        ),
    ] = None
    protect_commands_with_oxd_id: Annotated[
        tuple[str, ...],
        Key(
            TEXTS,
            "The sites whose clients' tokens may run commands of other sites (the header AuthorizationOxdId); empty: "
            "every site may read along at its own OP, but change no site, see no secrets, get no tokens as its client.",
        ),
    ] = ()

    storage: Annotated[
        str,
        Key(
            one_of("file", "redis", "memory", "h2"),
            "file: in a file. redis: in Redis, for several machines (docs/how-to/redis.md). memory: nowhere, every start "
            'begins empty. "h2" of old configurations means file.',
            heading="Where sites are kept.",
        ),
    ] = "file"
    storage_configuration: Annotated[StorageConfig, Key(StorageConfig, "What the storage needs to know.")] = (
        StorageConfig()
    )
    migration_source_folder_path: Annotated[
        Path | None, Key(PATH, "A folder with site files of old versions, to be imported.")
    ] = None

    allowed_op_hosts: Annotated[
        tuple[str, ...],
        Key(
            TEXTS,
            "The OPs that may be used; empty: any. A host is meant with any port, host:port with that port only, a "
            "URL with its own port or that of its scheme.",
            heading="How it talks to OpenID providers (OPs).",
        ),
    ] = ()
    allow_http_op_hosts: Annotated[
        tuple[str, ...],
        Key(TEXTS, "Hosts, besides those on this machine, that may be spoken to without TLS. Best left empty."),
    ] = ()
    trust_all_certs: Annotated[
        bool,
        Key(
            FLAG,
            "true: certificates of OPs are not checked, and anybody on the way can pose as the OP. For trying things "
            "out only.",
        ),
    ] = False
    trust_store_path: Annotated[
        Path | None, Key(PATH, "Certificates to trust besides the system's: a PEM bundle or a PKCS#12 file.")
    ] = None
    trust_store_password: Annotated[str | None, Key(SECRET, "The password of the trust store, if it is PKCS#12.")] = (
        None
    )
    op_connect_timeout_in_seconds: Annotated[float, Key(seconds(0.1), "How long connecting to an OP may take.")] = 5
    op_read_timeout_in_seconds: Annotated[float, Key(seconds(0.1), "How long an OP may be silent.")] = 10
    op_total_timeout_in_seconds: Annotated[
        float, Key(seconds(0.1), "How long one request to an OP may take in all.")
    ] = 20
    op_max_response_bytes: Annotated[
        int,
        Key(
            whole(1000, 100_000_000),
            "The longest answer of an OP that is read; of metadata and keys 262144 bytes at most.",
        ),
    ] = 1_000_000
    op_max_requests_per_host: Annotated[
        int,
        Key(
            whole(1, 10_000),
            "How many requests one host of an OP may get at a time, and beside them a quarter as many for its metadata "
            "and keys; twice as many wait, more are answered with "
            "server_busy, so that an OP that hangs does not hold up the sites of others.",
        ),
    ] = 100
    op_clock_leeway_in_seconds: Annotated[
        int, Key(whole(0, 600), "How far the clock of an OP may be off from ours.")
    ] = 10
    discovery_cache_expiration_in_minutes: Annotated[
        int, Key(MINUTES, "How long an OP's metadata is used before it is fetched again, if the OP does not say.")
    ] = 60
    public_op_key_cache_expiration_in_minutes: Annotated[
        int, Key(MINUTES, "How long an OP's keys are used before they are fetched again, if the OP does not say.")
    ] = 60

    op_issuers: Annotated[
        dict[str, str],
        Key(
            mapping(TEXT, "the URL of an OP's metadata"),
            "OPs whose issuer is another URL than the one that their metadata is under, and that issuer. {tenantid} in "
            "it stands for the tid of a token, as Entra's common endpoint has it.",
        ),
    ] = {}
    op_settings: Annotated[
        dict[str, OpSettings],
        Key(
            mapping(OP_SETTINGS, "an OP"),
            "What is special about an OP, by op_host (with op_discovery_path, if sites name one). assertion_audience: "
            "whom client assertions are for; not set: the token endpoint where it lies on the issuer's own origin, "
            "else the issuer. fapi_enabled: they are for the issuer always. trusted_audiences: what may stand beside "
            "the client in the aud of an id_token, or as azp. logout_parameters: further parameters of the logout "
            "request; {client_id} and {post_logout_redirect_uri} are filled in.",
        ),
    ] = {}
    op_exceptions: Annotated[
        dict[str, tuple[OpException, ...]],
        Key(
            mapping(OP_EXCEPTIONS, "an OP"),
            "What an OP never sends and may leave out. no_nonce: the nonce of id_tokens, which keeps a stolen one out "
            "of other logins. no_token_type: the type of access tokens. Each weakens a check, and the log says so.",
        ),
    ] = {}

    crypt_provider_key_store_path: Annotated[
        Path | None,
        Key(
            PATH,
            "Private keys: a JWKS, PEM or PKCS#12 file.",
            heading="The key with which clients authenticate at an OP (private_key_jwt).",
        ),
    ] = None
    crypt_provider_key_store_password: Annotated[
        str | None, Key(SECRET, "The password of the key store, if it has one.")
    ] = None
    crypt_provider_dn_name: Annotated[
        str | None,
        Key(TEXT, "The distinguished name in old key stores; kept for old files, not needed any more."),
    ] = None

    state_expiration_in_minutes: Annotated[
        int,
        Key(
            MINUTES,
            "How long a login may take, from the authorization URL to the code.",
            heading="How logins and sites are treated.",
        ),
    ] = 5
    request_object_expiration_in_minutes: Annotated[
        int, Key(MINUTES, "How long an OP may fetch a request object (get_request_object_uri).")
    ] = 5
    nonce_expiration_in_minutes: Annotated[int, Key(MINUTES, "How long a nonce is good for.")] = 5
    op_initial_access_tokens: Annotated[
        dict[str, str],
        Key(
            mapping(SECRET, "each OP"),
            "For OPs that register nobody without one: an initial access token, for example "
            '{"https://op.example.org": "..."}.',
        ),
    ] = {}
    send_locales: Annotated[
        bool,
        Key(
            FLAG,
            "true: logins are asked for in the ui_locales and claims_locales of the site. false: only where "
            "get_authorization_url names them, as the old server.",
        ),
    ] = False
    deregister_client_on_remove: Annotated[bool, Key(FLAG, "true: remove_site also deletes the client at the OP.")] = (
        False
    )
    support_google_logout: Annotated[
        bool,
        Key(
            FLAG,
            "true: logging out at Google, which has no end_session_endpoint, goes to its own logout page.",
            name="support-google-logout",
        ),
    ] = False
    use_client_authentication_for_pat: Annotated[
        bool,
        Key(FLAG, "true: the client authenticates when it gets a PAT, the access token for UMA's protection API."),
    ] = True
    add_client_credentials_grant_type_automatically_during_client_registration: Annotated[
        bool,
        Key(
            FLAG,
            "true: a client of a site that speaks dialect 4 may get tokens for itself (client_credentials), as its "
            "protection needs.",
        ),
    ] = True
    uma2_auto_register_claims_gathering_endpoint_as_redirect_uri_of_client: Annotated[
        bool, Key(FLAG, "true: the OP's claims-gathering endpoint becomes a redirect URI of UMA clients.")
    ] = True

    workers: Annotated[
        int,
        Key(
            WORKERS,
            'How many processes share the socket and the store; "auto": one for each processor. The limits below, and '
            "https max_connections, hold for each of them.",
            heading="Limits.",
        ),
    ] = 1
    max_connections: Annotated[int, Key(_CONNECTIONS, "How many connections may be open; more are refused.")] = 2000
    max_request_bytes: Annotated[int, Key(whole(1000, 999_999), "The longest request, up to 999999.")] = 65536
    max_commands_in_flight: Annotated[
        int,
        Key(
            whole(1, 100_000),
            "How many commands may run at once; those of one site, those at one OP host and those that name no site "
            "half as many each. More are answered with server_busy.",
        ),
    ] = 500
    open_registrations_per_hour: Annotated[
        int,
        Key(
            whole(1, 1_000_000),
            "How many clients one address may have registered in an hour without a token, over HTTPS or a socket that "
            "is not loopback; all addresses together ten times as many. Each worker counts for itself.",
        ),
    ] = 500
    max_sites_without_token: Annotated[
        int,
        Key(
            whole(0, 10_000_000),
            "How many sites and setup clients are kept for one address (of IPv6: for one network of 64 bits) that were "
            "registered without a token where commands are protected; for all addresses together ten times as many. "
            "Beyond that, server_busy. 0: no bound.",
        ),
    ] = 5000
    time_out_in_seconds: Annotated[
        float,
        Key(
            seconds(0),
            "How long a command may take in all; 0: four times op_total_timeout_in_seconds.",
        ),
    ] = 0
    frame_timeout_in_seconds: Annotated[
        float, Key(seconds(0.1), "How long a request that has begun to arrive may take to be complete.")
    ] = 10
    idle_timeout_in_seconds: Annotated[
        float,
        Key(
            seconds(0, zero_is_none=True),
            "How long a connection may be idle; 0: as long as it likes, because some libraries cannot reconnect.",
        ),
    ] = 0
    shutdown_timeout_in_seconds: Annotated[
        float, Key(seconds(0), "How long commands may still run when the server is stopped.")
    ] = 10

    log_level: Annotated[
        str,
        Key(
            one_of("debug", "info", "warning", "error", "critical"),
            "What is logged: debug, info, warning, error or critical, and everything above it.",
            heading="The log, on stderr.",
        ),
    ] = "info"
    log_format: Annotated[
        str,
        Key(
            one_of("auto", "json", "console"),
            "json: one JSON object a line. console: for people. auto: console on a terminal, else json.",
        ),
    ] = "auto"

    store_path: Path = Path("oxd-data/oxd.sqlite")
    default_site_path: Path = Path(DEFAULT_SITE_NAME)
    warnings: tuple[str, ...] = ()


@cache
def declared_keys(struct: type[Settings]) -> tuple[Declared, ...]:
    """Return the keys of a struct in the order of their declaration."""
    return tuple(_declared(struct))


def _declared(struct: type[Settings]) -> Iterator[Declared]:
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        for key in get_args(hints[field.name]):
            if isinstance(key, Key):
                default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
                yield Declared(key.name or field.name, field.name, key, default)
