"""The layers of the house: what each may import of the project, and what pure modules may not."""

__all__ = ["ALLOWED", "IMPURE", "PROTOCOL_IO", "PURE_STANDARD_LIBRARY"]

# What the protocol package may use of the standard library: nothing that reads, writes, waits or asks the
# machine. A module that belongs here is added here, and so is seen in a review.
PURE_STANDARD_LIBRARY = {
    "__future__",
    "abc",
    "base64",
    "binascii",
    "bisect",
    "codecs",
    "collections",
    "copy",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "ipaddress",
    "itertools",
    "json",
    "keyword",
    "math",
    "operator",
    "re",
    "string",
    "struct",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
}

# What talks over sockets or starts programs in the protocol package: it is for the other side of the socket.
PROTOCOL_IO = (
    "oxd_protocol.client.blocking",
    "oxd_protocol.client.with_trio",
    "oxd_protocol.check.runner",
    "oxd_protocol.check.scripted_server",
    "oxd_protocol.check.command_line",
)

# The layers, from the bottom up: each, and all that it may know of the project outside itself. A module belongs to the
# layer with the longest name that it lies in; one that lies in none fails the test. The root package (the version) may
# be known to all of oxd_server.
ALLOWED: dict[str, set[str]] = {
    "oxd_protocol": set(),
    "oxd_protocol.client": {"oxd_protocol.discreet", "oxd_protocol.errors", "oxd_protocol.framing"},
    "oxd_protocol.check": {
        "oxd_protocol.catalog", "oxd_protocol.discreet", "oxd_protocol.errors", "oxd_protocol.framing",
        "oxd_protocol.messages", "oxd_protocol.params",
    },
    "oxd_server.log.known": {"oxd_server.log.names"},
    "oxd_server.log": set(),
    "oxd_server.observe.call": set(),
    "oxd_server.observe": {"oxd_protocol.errors", "oxd_server.log", "oxd_server.op.observed", "oxd_server.store.base"},
    "oxd_server.sync": set(),
    "oxd_server.streams": set(),
    "oxd_server.process": set(),
    "oxd_server.op.settings": set(),
    "oxd_server.op": {
        "oxd_protocol.discreet", "oxd_server.log.known", "oxd_server.op.settings", "oxd_server.streams",
        "oxd_server.sync",
    },
    "oxd_server.client_metadata": {"oxd_protocol.discreet"},
    "oxd_server.store": {
        "oxd_protocol.dates", "oxd_protocol.discreet", "oxd_server.client_metadata", "oxd_server.sync",
    },
    "oxd_server.store.importers": {
        "oxd_protocol.client", "oxd_protocol.discreet", "oxd_server.store.base", "oxd_server.store.exchange",
        "oxd_server.store.redis_link", "oxd_server.store.redis_settings",
    },
    "oxd_server.config": {"oxd_protocol", "oxd_server.op.settings"},
    "oxd_server.config.store_place": {"oxd_server.config", "oxd_server.store"},
    "oxd_server.rp.json_logic": set(),
    "oxd_server.rp.uma_rules": {"oxd_protocol.dates", "oxd_server.rp.json_logic"},
    "oxd_server.rp.login_state": {"oxd_protocol.discreet", "oxd_server.op.authorization", "oxd_server.op.base64url"},
    "oxd_server.rp": {
        "oxd_protocol.dates", "oxd_protocol.errors", "oxd_server.client_metadata", "oxd_server.config",
        "oxd_server.log.known", "oxd_server.op", "oxd_server.store", "oxd_server.sync",
    },
    "oxd_server.handlers": {
        "oxd_protocol", "oxd_server.client_metadata", "oxd_server.config", "oxd_server.op", "oxd_server.rp",
        "oxd_server.store", "oxd_server.sync.memo",
    },
    "oxd_server.dispatch": {
        "oxd_protocol", "oxd_server.handlers", "oxd_server.log.known", "oxd_server.observe.call", "oxd_server.op",
        "oxd_server.rp", "oxd_server.store", "oxd_server.sync",
    },
    "oxd_server.entrances.http1_answer": set(),
    "oxd_server.entrances.http1_body": {"oxd_server.entrances.http1_head"},
    "oxd_server.entrances.http1_head": {"oxd_protocol.discreet"},
    "oxd_server.entrances.style": set(),
    "oxd_server.entrances.http1_places": {"oxd_server.streams"},
    "oxd_server.entrances.http1_messages": {"oxd_protocol.discreet"},
    "oxd_server.entrances.http1": {
        "oxd_server.entrances.http1_answer", "oxd_server.entrances.http1_body", "oxd_server.entrances.http1_head",
        "oxd_server.entrances.http1_messages", "oxd_server.entrances.http1_places", "oxd_server.sync.first_wait",
        "oxd_server.sync.memo",
    },
    "oxd_server.entrances.deadlines": set(),
    "oxd_server.entrances": {
        "oxd_protocol", "oxd_server.config", "oxd_server.observe.call", "oxd_server.streams",
        "oxd_server.sync.first_wait",
    },
    "oxd_server.sandbox": {
        "oxd_protocol", "oxd_server.entrances.http1", "oxd_server.entrances.http1_messages",
        "oxd_server.entrances.reference", "oxd_server.entrances.style",
        "oxd_server.rp.uma_rules", "oxd_server.streams",
    },
    "oxd_server.admin": {"oxd_server.config", "oxd_server.store"},
    "oxd_server.app": {
        "oxd_protocol.messages", "oxd_protocol.params", "oxd_protocol.site",
        "oxd_server.admin", "oxd_server.config", "oxd_server.dispatch", "oxd_server.entrances", "oxd_server.log",
        "oxd_server.observe", "oxd_server.op", "oxd_server.process", "oxd_server.rp", "oxd_server.store",
        "oxd_server.sync",
    },
    "oxd_server.cli": {
        "oxd_protocol", "oxd_server.admin", "oxd_server.app", "oxd_server.config", "oxd_server.log", "oxd_server.op",
        "oxd_server.process", "oxd_server.sandbox", "oxd_server.store",
    },
    "oxd_server.__main__": {"oxd_server.cli"},
    "oxd_server": set(),
}  # fmt: skip

# Pure modules: what they need of the outside (the time, randomness, an answer) is passed in. A module whose docstring
# calls it pure is held to it.
IMPURE = {"httpx2", "os", "random", "secrets", "socket", "sqlite3", "ssl", "time", "trio"}
