"""What a command is refused with when a limit has been reached."""

from oxd_protocol.errors import CommandError

__all__ = ["ServerBusy"]


class ServerBusy(CommandError):
    """``server_busy``; ``limit`` says in the log which limit it was: a key of the configuration, or a few words."""

    def __init__(self, limit: str, description: str | None = None) -> None:
        super().__init__("server_busy", description)
        self.limit = limit
