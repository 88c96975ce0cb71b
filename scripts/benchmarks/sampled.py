"""Starts a server that notes, all along, which part of the program it is in. Not started by hand.

At every tick of processor time, 4 ms on most systems, a signal looks at the stack. SIGALRM starts the count anew; at
its end the server writes the counts beside its configuration, by part.
"""

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

from oxd_server.cli import main

SAMPLES: Final = "samples.json"
_INTERVAL: Final = 0.001
_PEER: Final = "oxd_server.entrances.tcp_peer"
_PARTS: Final = (
    # Where a name is given, the function waits for the kernel and does nothing else worth mentioning.
    ("system calls", (f"{_PEER}.read", f"{_PEER}.write", "selectors.select", "trio._core._io_epoll.get_events")),
    ("listener", ("oxd_server.entrances", "oxd_server.sync.first_wait", "selectors")),
    ("event loop (trio)", ("trio", "outcome")),
    ("frames and JSON (msgspec)", ("oxd_protocol", "json")),
    ("dispatch: checks and places", ("oxd_server.dispatch",)),
    ("log and figures", ("oxd_server.log", "oxd_server.observe", "structlog")),
    ("store", ("oxd_server.store", "oxd_server.sync")),
    ("states and PKCE (hashlib, authlib)", ("oxd_server.rp.login_state", "oxd_server.op.base64url", "authlib")),
    ("handler", ("oxd_server.handlers", "oxd_server.rp", "oxd_server.op")),
)


def part_of(frame: FrameType | None) -> str:
    """Return the part of the innermost frame that belongs to one."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        place = f"{module}.{frame.f_code.co_name}."
        for part, prefixes in _PARTS:
            if any(place.startswith(f"{prefix}.") for prefix in prefixes):
                return part
        frame = frame.f_back
    return "the rest"


if __name__ == "__main__":
    counts: Counter[str] = Counter()
    signal.signal(signal.SIGPROF, lambda _, frame: counts.update((part_of(frame),)))
    signal.signal(signal.SIGALRM, lambda _, __: counts.clear())
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL, _INTERVAL)
    code = main(sys.argv[1:])
    signal.setitimer(signal.ITIMER_PROF, 0)
    Path(sys.argv[-1]).with_name(SAMPLES).write_text(json.dumps(counts))
    sys.exit(code)
