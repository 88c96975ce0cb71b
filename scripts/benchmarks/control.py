"""The control: the least that any trio server has to do for the same bytes. Not started by hand.

It reads frames (or, over TLS, HTTP requests), decodes their JSON with msgspec, encodes an answer of a given size with
msgspec, and sends it. No command, no check, no limit, no time-out. Its port is the one line that it prints.
"""

import argparse
import ssl
from functools import partial
from pathlib import Path

import h11
import msgspec
import trio

_RECEIVE_BYTES = 65_536
_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


async def serve_frames(payload: str, stream: trio.SocketStream) -> None:
    """Answer every frame on one connection."""
    received = b""
    try:
        async with stream:
            while data := await stream.receive_some(_RECEIVE_BYTES):
                received += data
                while len(received) >= 4 and len(received) >= (end := 4 + int(received[:4])):
                    _decoder.decode(received[4:end])
                    received = received[end:]
                    body = _encoder.encode({"status": "ok", "data": {"payload": payload}})
                    await stream.send_all(b"%04d%s" % (len(body), body))
    except trio.BrokenResourceError:
        pass  # the peer has left


async def serve_https(payload: str, context: ssl.SSLContext, stream: trio.SocketStream) -> None:
    """Answer every HTTP request on one TLS connection."""
    tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
    connection = h11.Connection(h11.SERVER)
    body = b""
    try:
        async with tls:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(bytes(await tls.receive_some(_RECEIVE_BYTES)))
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    _decoder.decode(body)
                    body = b""
                    await tls.send_all(_http_answer(connection, payload))
                    if connection.our_state is h11.MUST_CLOSE:
                        return
                    connection.start_next_cycle()
                elif isinstance(event, h11.ConnectionClosed):
                    return
    except trio.BrokenResourceError:
        pass


def _http_answer(connection: h11.Connection, payload: str) -> bytes:
    body = _encoder.encode({"status": "ok", "data": {"payload": payload}})
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    events: tuple[h11.Event, ...] = (
        h11.Response(status_code=200, headers=headers),
        h11.Data(data=body),
        h11.EndOfMessage(),
    )
    return b"".join(connection.send(event) or b"" for event in events)


async def main(payload_bytes: int, certificate: Path | None) -> None:
    """Serve until the process is stopped."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    payload = "x" * payload_bytes
    if certificate is None:
        handler = partial(serve_frames, payload)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        handler = partial(serve_https, payload, context)
    print(listener.socket.getsockname()[1], flush=True)
    await trio.serve_listeners(handler, [listener])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--payload-bytes", type=int, required=True)
    parser.add_argument("--certificate", type=Path, help="PEM with certificate and key: HTTPS instead of frames")
    options = parser.parse_args()
    trio.run(main, options.payload_bytes, options.certificate)
