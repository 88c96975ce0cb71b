"""The keys of the object ``storage_configuration``."""

from pathlib import Path
from typing import Annotated

from oxd_server.config.declaring import Key, Settings
from oxd_server.config.kinds import FLAG, PATH, PREFIX, REDIS_MODE, SECRET, SERVERS, TEXT, seconds, whole

__all__ = ["StorageConfig"]


class StorageConfig(Settings, frozen=True, kw_only=True):
    """Where the store is."""

    path: Annotated[
        Path,
        Key(
            PATH,
            "For file: the path of the file (the folder is made if need be, and both are readable by their owner "
            "only).",
            flag="--store-path",
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
    database: Annotated[int, Key(whole(0, 1_000_000), "For redis: the number of the database.")] = 0
    tls: Annotated[bool, Key(FLAG, "For redis: true: over TLS.")] = False
    legacy_tls: Annotated[bool, Key(FLAG, "The same, by its old name.", name="useSSL", legacy=True)] = False
    ca_path: Annotated[
        Path | None, Key(PATH, "For redis: certificates (PEM) of authorities to trust; none: the system's.")
    ] = None
    cert_path: Annotated[Path | None, Key(PATH, "For redis: the server's own certificate (PEM) for TLS.")] = None
    key_path: Annotated[Path | None, Key(PATH, "For redis: its key.")] = None
    prefix: Annotated[
        str, Key(PREFIX, "For redis: what every key begins with, in braces. The server touches no other keys.")
    ] = "oxd"
    wait_for_replicas: Annotated[
        int | None,
        Key(
            whole(0, 100),
            "For redis: how many replicas must have a write before the server acknowledges it. Not set: 1 with "
            "Sentinel, otherwise 0.",
        ),
    ] = None
    timeout_in_seconds: Annotated[float, Key(seconds(0.1), "For redis: how long an answer may take.")] = 2.0
