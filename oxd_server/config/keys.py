"""Every key of the configuration, declared once: name, type, kind, default and a sentence.

The loader, its errors, the sample file and the reference table are all made from this table. To add a key, add a
field with a ``Key`` and run ``python -m oxd_server.config.reference``. ``https_keys``, ``proxy_keys`` and
``storage_keys`` hold those of the objects in it.
"""

from pathlib import Path
from typing import Annotated, Final

from oxd_server.config.declaring import Key, Settings
from oxd_server.config.https_keys import HttpsConfig
from oxd_server.config.kinds import (
    ADDRESSES,
    CALLERS,
    COMMANDS,
    CONNECTIONS,
    FLAG,
    MINUTES,
    MODE,
    PATH,
    PORT,
    SECRET,
    TEXT,
    TEXTS,
    WORKERS,
    mapping,
    one_of,
    seconds,
    whole,
)
from oxd_server.config.metrics_keys import MetricsConfig
from oxd_server.config.ops import OP_EXCEPTIONS, OP_SETTINGS
from oxd_server.config.proxy_keys import ProxyConfig
from oxd_server.config.storage_keys import StorageConfig
from oxd_server.op.settings import OpException, OpSettings

__all__ = ["DEFAULT_SITE_NAME", "Config"]

DEFAULT_SITE_NAME: Final = "oxd-default-site-config.json"


class Config(Settings, frozen=True, kw_only=True):
    """The server's settings. Names say their unit.

    Four fields are not keys of the file: ``config_path`` is the file itself, ``warnings`` are lines for the log,
    ``default_site_path`` is the file beside this one for ``load_default_site``, and ``store_path`` is where the store's
    file lies when ``storage`` is "file".
    """

    port: Annotated[
        int,
        Key(PORT, "The TCP port of the oxd protocol.", heading="Where it listens.", flag="--port", restart=True),
    ] = 8099
    localhost_only: Annotated[
        bool,
        Key(
            FLAG,
            "true: only programs on this machine can connect. false: every machine that can reach this one, and then "
            "a firewall and protect_commands_with_access_token decide who may use it.",
            restart=True,
        ),
    ] = True
    bind_addresses: Annotated[
        tuple[str, ...],
        Key(
            ADDRESSES,
            "The IP addresses to listen on; empty: 127.0.0.1 and ::1, or all of them if localhost_only is false.",
            flag="--bind",
            restart=True,
        ),
    ] = ()
    tcp_enabled: Annotated[
        bool,
        Key(
            FLAG, "false: nothing listens on port: commands come by the Unix socket and over HTTPS only.", restart=True
        ),
    ] = True
    unix_socket_path: Annotated[
        Path | None,
        Key(
            PATH,
            "A Unix socket for commands, beside the port. Whoever its mode and group let in may do what programs on "
            "this machine may do at the port. What an earlier server left there is replaced.",
            flag="--unix-socket",
            restart=True,
        ),
    ] = None
    unix_socket_mode: Annotated[int, Key(MODE, "Its mode.", restart=True)] = 0o660
    unix_socket_group: Annotated[
        str | None, Key(TEXT, "The name of its group; none: that of the server.", restart=True)
    ] = None
    https: Annotated[HttpsConfig, Key(HttpsConfig, "The HTTPS front: the same commands as POST requests.")] = (
        HttpsConfig()
    )
    metrics: Annotated[
        MetricsConfig,
        Key(MetricsConfig, "Figures for Prometheus, and whether the server is ready: docs/reference/metrics.md."),
    ] = MetricsConfig()
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
            "The sites whose clients' tokens may run commands of other sites (the header AuthorizationOxdId). "
            "Empty: a site's token may run commands of other sites at the same OP, as long as they change "
            "nothing, show no secrets and get no tokens.",
        ),
    ] = ()

    storage: Annotated[
        str,
        Key(
            one_of("file", "redis", "memory", "h2"),
            "file: in a file. redis: in Redis, for several machines (docs/how-to/redis.md). memory: nowhere, every "
            'start begins empty. "h2" of old configurations means file.',
            heading="Where sites are kept.",
            flag="--storage",
            restart=True,
        ),
    ] = "file"
    storage_configuration: Annotated[
        StorageConfig, Key(StorageConfig, "What the storage needs to know.", restart=True)
    ] = StorageConfig()
    migration_source_folder_path: Annotated[
        Path | None, Key(PATH, "A folder with site files of old versions, to be imported.", restart=True)
    ] = None

    allowed_op_hosts: Annotated[
        tuple[str, ...],
        Key(
            TEXTS,
            "The OPs that sites may use; empty: any. A host allows any port. host:port allows that port. A URL "
            "allows its port, or the port of its scheme.",
            heading="How it talks to OpenID providers (OPs).",
        ),
    ] = ()
    allow_http_op_hosts: Annotated[
        tuple[str, ...],
        Key(TEXTS, "Hosts that the server may talk to without TLS, besides this machine. Best left empty."),
    ] = ()
    trust_all_certs: Annotated[
        bool,
        Key(
            FLAG,
            "true: the server does not check certificates of OPs, and anybody on the path can pose as the OP. For "
            "trying things out only.",
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
            "How many requests one OP host may have under way. A quarter as many may fetch its metadata and keys. "
            "Twice as many may wait. More fail with server_busy, so that an OP that hangs does not hold up other "
            "sites.",
        ),
    ] = 100
    op_proxy: Annotated[
        ProxyConfig, Key(ProxyConfig, "The proxy that leads to OPs. Without one, the server connects to them itself.")
    ] = ProxyConfig()
    op_clock_leeway_in_seconds: Annotated[int, Key(whole(0, 600), "How far the OP's clock may differ from ours.")] = 10
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
            "OPs whose issuer differs from the URL of their metadata: that URL, and the issuer. {tenantid} stands "
            "for the tid of a token, as in Entra's common endpoint.",
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
    crypt_provider_pkcs11_uris: Annotated[
        tuple[str, ...],
        Key(
            TEXTS,
            "Private keys in PKCS#11 tokens, by their URIs (RFC 7512), for example "
            "pkcs11:token=oxd;object=signing?module-path=/usr/lib/softhsm/libsofthsm2.so. They sign before those of "
            "the key store; of those that fit, the first one does.",
        ),
    ] = ()
    crypt_provider_pkcs11_pin: Annotated[str | None, Key(SECRET, "The PIN of these tokens.")] = None
    mtls_client_key_store_path: Annotated[
        Path | None,
        Key(
            PATH,
            "A PEM or PKCS#12 file with a key, its certificate, and those of the authorities between. Sites whose "
            "client_token_endpoint_auth_method is tls_client_auth or self_signed_tls_client_auth show it, and those "
            "with tls_client_certificate_bound_access_tokens.",
            heading="The certificate that clients show an OP in TLS (RFC 8705).",
        ),
    ] = None
    mtls_client_key_stores_path: Annotated[
        Path | None,
        Key(
            PATH,
            "A folder with more such files, for single sites (<oxd_id>.pem) or for all sites at an OP "
            "(<host of the OP>.pem, with a port <host>:<port>.pem); .p12 as well.",
        ),
    ] = None
    mtls_client_key_store_password: Annotated[
        str | None, Key(SECRET, "The password of these files, if they have one.")
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
    nonce_expiration_in_minutes: Annotated[int, Key(MINUTES, "How long a nonce is valid.")] = 5
    op_initial_access_tokens: Annotated[
        dict[str, str],
        Key(
            mapping(SECRET, "each OP"),
            "Initial access tokens, for OPs that register clients only with one, for example "
            '{"https://op.example.org": "..."}.',
        ),
    ] = {}
    send_locales: Annotated[
        bool,
        Key(
            FLAG,
            "true: logins ask for the site's ui_locales and claims_locales. false: only get_authorization_url can "
            "ask for them, as with the old server.",
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
            "true: clients of sites that speak dialect 4 are registered for client_credentials, because their own "
            "tokens protect them.",
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
            flag="--workers",
            restart=True,
        ),
    ] = 1
    max_connections: Annotated[int, Key(CONNECTIONS, "How many connections may be open; more are refused.")] = 2000
    max_request_bytes: Annotated[int, Key(whole(1000, 999_999), "The longest request, up to 999999.")] = 65536
    max_commands_in_flight: Annotated[
        int,
        Key(
            whole(1, 100_000),
            "How many commands may run at once. One site, one OP host, and all commands that name no site may "
            "each have half of them. More fail with server_busy.",
        ),
    ] = 500
    open_registrations_per_hour: Annotated[
        int,
        Key(
            whole(1, 1_000_000),
            "How many clients one address may register in an hour without a token, over HTTPS or a socket that is "
            "not loopback. All addresses together may register ten times as many. Each worker counts for itself.",
        ),
    ] = 500
    max_sites_without_token: Annotated[
        int,
        Key(
            whole(0, 10_000_000),
            "How many sites and setup clients that were registered without a token the server keeps for one "
            "address (in IPv6: one network of 64 bits), where commands are protected. It keeps ten times as many "
            "for all addresses together. More fail with server_busy. 0: no bound.",
        ),
    ] = 5000
    time_out_in_seconds: Annotated[
        float,
        Key(
            seconds(0),
            "How long a command may take in all. 0: four times op_total_timeout_in_seconds. Commands that make few "
            "requests to the OP are then bound by the time-outs of these alone.",
        ),
    ] = 0
    frame_timeout_in_seconds: Annotated[
        float, Key(seconds(0.1), "How long a request that has begun to arrive may take to be complete.")
    ] = 10
    idle_timeout_in_seconds: Annotated[
        float,
        Key(
            seconds(0, zero_is_none=True),
            "How long a connection may be idle. 0: without end, because some libraries cannot reconnect.",
        ),
    ] = 0
    shutdown_timeout_in_seconds: Annotated[
        float, Key(seconds(0), "How long commands may still run when the server is stopped.")
    ] = 10
    handover_timeout_in_seconds: Annotated[
        float,
        Key(
            seconds(0),
            "How long the old process serves those who are connected when SIGUSR2 has put a new one in its place.",
        ),
    ] = 300

    log_level: Annotated[
        str,
        Key(
            one_of("debug", "info", "warning", "error", "critical"),
            "What is logged: debug, info, warning, error or critical, and everything above it.",
            heading="The log.",
            flag="--log-level",
        ),
    ] = "info"
    log_format: Annotated[
        str,
        Key(
            one_of("auto", "json", "console", "journal"),
            "json: one JSON object a line. console: for people. auto: console on a terminal, else json. journal: "
            "entries of systemd's journal with fields of their own, wherever the rest says.",
            flag="--log-format",
            restart=True,
        ),
    ] = "auto"

    log_file: Annotated[
        Path | None,
        Key(
            PATH,
            "A file that the log is appended to, instead of stderr. SIGHUP opens it anew, for those who rotate logs.",
            restart=True,
        ),
    ] = None

    config_path: Path | None = None
    store_path: Path = Path("oxd-data/oxd.sqlite")
    default_site_path: Path = Path(DEFAULT_SITE_NAME)
    warnings: tuple[str, ...] = ()
