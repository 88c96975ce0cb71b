"""A well-behaved client in a process of its own: times one command again and again. Not started by hand.

It reads the frame from stdin and prints the latencies (seconds) and the number of error answers as JSON.
"""

import json
import socket
import sys
import time


def main() -> int:
    """``prober PORT COUNT PAUSE``: return the exit code."""
    port, count, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    frame = sys.stdin.buffer.read()
    seconds: list[float] = []
    errors = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            begun = time.perf_counter()
            sock.sendall(frame)
            body = _exactly(sock, int(_exactly(sock, 4)))
            seconds.append(time.perf_counter() - begun)
            errors += not body.startswith(b'{"status":"ok"')
            time.sleep(pause)
    json.dump({"seconds": seconds[1:], "errors": errors}, sys.stdout)  # the first waits for the duplicate rule
    return 0


def _exactly(sock: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        chunk = sock.recv(count - len(received))
        if not chunk:
            raise EOFError
        received += chunk
    return received


if __name__ == "__main__":
    sys.exit(main())
