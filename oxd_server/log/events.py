"""Every event of the log: its name, its level, and what an operator makes of it. A test holds it against the code."""

from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["EVENTS", "LISTENING", "Event", "table"]


class Event(NamedTuple):
    """One event; ``levels`` are all that it has."""

    levels: str
    meaning: str


LISTENING: Final = "Start listening for notifications"
"""Init scripts of the old server wait for a log line with these words."""

EVENTS: Final[dict[str, Event]] = {
    # Commands
    "command": Event("info", "A command has ended. One line for each; see above."),
    "command_failed": Event("error", "A bug, or a store that failed: the traceback under the caller's `error_id`."),
    "connection_refused": Event("info", "A connection to the socket was refused: `limit` names what is used up."),
    "frame_refused": Event("info", "What came over the socket was no request; `error` is the code of the answer."),
    "request_refused": Event("info", "The HTTPS front refused a request by itself: `status` and `reason`."),
    "request_failed": Event("error", "A bug in the HTTPS front: the traceback of a request that got 500."),
    "connection_failed": Event("error", "A bug in the socket's listener: the traceback. The connection was closed."),
    "no_connection_accepted": Event("error", "No file descriptor or memory is left for a further connection."),
    "repeated": Event("as those", "`count` further lines like those of the event `of` were not written."),
    # OpenID providers
    "op_outage_began": Event("warning", "An OP does not answer, or only with errors of its own; `reason` says how."),
    "op_outage_ended": Event("warning", "It answers again, after `seconds` and `failures` requests that failed."),
    "registered_differently": Event("warning", "An OP did not register all that it was asked for (`registered_...`)."),
    "encryption_unsupported": Event("warning", "The site has metadata that only the OP can use (`names`)."),
    "request_object_not_encrypted": Event("warning", "The OP publishes no key to encrypt request objects to."),
    "client_not_deleted": Event("info", "An OP did not delete a client that is not needed."),
    "client_left_behind": Event("warning", "A client that no site uses stays at the OP; delete it there."),
    "client_not_read": Event("warning", "`sync_client_from_op`: the OP did not tell of the client."),
    "client_sync_without_effect": Event("warning", "`sync_client_from_op` needs the client's configuration endpoint."),
    "client_secret_expires": Event("warning", "A client secret expires within a day, or has expired: renew it."),
    "login_by_exception": Event("warning", "A login was accepted only by an exception in `op_exceptions`."),
    "refreshed_tokens_not_remembered": Event(
        "warning", "The store did not keep refreshed tokens; their user has them."
    ),
    "logout_not_told": Event("warning", "An application's logout URI did not take the news of a logout."),
    # UMA
    "paths_without_conditions": Event("warning", "`uma_rs_protect` named paths without conditions: they are open."),
    "resource_dates_without_effect": Event("warning", "The authorization server takes no `iat` and `exp`."),
    "resource_expired": Event("warning", "A resource was registered that has expired already."),
    "resources_left_behind": Event("warning", "Resources that nobody uses may stay at the authorization server."),
    "resource_not_deleted": Event("warning", "A resource that nobody uses stays at the authorization server."),
    "resource_not_renamed": Event("warning", "A resource keeps its longer name at the authorization server."),
    "ticket_unavailable": Event("error", "The authorization server gave no ticket: access was denied without one."),
    # The server
    LISTENING: Event(
        "info",
        "The server takes commands: where, with which configuration and store. Init scripts wait for these words.",
    ),
    "https_listening": Event("info", "The HTTPS front takes requests."),
    "metrics_listening": Event("info", "`/metrics`, `/ready` and `/health-check` can be read at this port."),
    "self_signed_certificate": Event("warning", "The HTTPS front has a certificate of its own making, for localhost."),
    "socket_exposed": Event("warning", "Other machines can reach the command socket."),
    "configuration_warning": Event("warning", "Something in the configuration has no effect, or a risk (`message`)."),
    "too_few_open_files": Event("warning", "The system allows fewer open files than the limits need."),
    "sites_imported": Event("info", "The sites in `migration_source_folder_path` were read."),
    "old_database_imported": Event("info", "The sites of the old server's database were read; it is not read again."),
    "old_redis_imported": Event("info", "The old server's sites in Redis were read; they are not read again."),
    "configuration_reloaded": Event("info", "SIGHUP: both files were read, and are in force."),
    "configuration_not_reloaded": Event("error", "SIGHUP: `reasons` say what is wrong; all stays as it was."),
    "restart_needed": Event("warning", "SIGHUP: these `keys` have changed, and are taken by a restart only."),
    "log_file_not_reopened": Event("error", "SIGHUP: the log file cannot be opened; the one before stays."),
    "log_lines_lost": Event("warning", "`count` lines could not be written, or were too many at once."),
    "store_unavailable": Event("warning", "The store cannot be reached, or its file was deleted or replaced."),
    "clock_set_back": Event("warning", "The clock was set back: the logins that are under way have to start again."),
    "figures": Event("info", "SIGUSR1: what the server holds and uses."),
    "service_manager_unreachable": Event("warning", "systemd cannot be told how the server does."),
    "upgrade_started": Event("info", "SIGUSR2: a new process was started, and was handed the sockets."),
    "upgraded": Event("info", "SIGUSR2: the new process serves; this one ends with those who are connected."),
    "upgrade_failed": Event("error", "SIGUSR2: the new process does not serve, and is gone; this one goes on."),
    "worker_started": Event("info", "The supervisor started a worker."),
    "worker_ended": Event("error", "A worker ended unasked, and is replaced."),
    "stopping": Event("info", "A signal asked the server to stop."),
    "commands_abandoned": Event("warning", "Commands did not finish within `shutdown_timeout_in_seconds`."),
    "stopped": Event("info", "The server has stopped."),
    # The sandbox
    "sandbox_listening": Event("info", "`oxd-server sandbox`: the OP and the demo application take requests."),
    "sandbox_logout_delivered": Event("info", "`oxd-server sandbox`: a client was told of a logout."),
    "sandbox_logout_not_delivered": Event("warning", "`oxd-server sandbox`: a client could not be told of a logout."),
    "sandbox_handler_failed": Event("error", "`oxd-server sandbox`: a bug; the traceback."),
}


def table() -> Iterator[str]:
    """Yield the lines of the table of events in docs/reference/logging.md."""
    yield "| event | level | meaning |"
    yield "| --- | --- | --- |"
    for name, event in EVENTS.items():
        yield f"| `{name}` | {event.levels} | {event.meaning} |"
