"""Reading an HTTP request as a server does, for servers that answer as a test wants."""

import h11
import trio

__all__ = ["read_request"]


async def read_request(
    stream: trio.abc.ReceiveStream, connection: h11.Connection | None = None
) -> tuple[h11.Request, bytes]:
    """Return head and body of the next request; an answer goes through the connection that is given.

    Raises ``trio.BrokenResourceError`` if none comes, ``h11.RemoteProtocolError`` if it is none.
    """
    connection, body, head = connection or h11.Connection(h11.SERVER), b"", None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            return head, body
        else:
            raise trio.BrokenResourceError
