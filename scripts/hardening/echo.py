"""The control of a soak: a process that sends back what it gets. Not started by hand; it prints its port."""

import sys

import trio


async def main() -> None:
    """Echo on every connection until killed."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listener.socket.getsockname()[1], flush=True)
    await trio.serve_listeners(_echo, [listener])


async def _echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


if __name__ == "__main__":
    sys.exit(trio.run(main))
