"""The programs that the scripts start are found where they say that they listen, and nowhere else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from scripts.demo_kit import Oxd, Programs, StepFailed, Steps


@pytest.fixture
def taken() -> Iterator[int]:
    """A port where another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_another_listener_is_not_taken_for_the_server(tmp_path: Path, taken: int) -> None:
    """Where another program has the port that is wanted, the server gets one of its own and answers there."""
    with Programs(tmp_path) as programs:
        port = programs.start_server(taken, storage="memory")
        assert port != taken
        assert Oxd(port, Steps()).call("Nothing is registered.", "get_rp", list=True) == {"node": []}


def test_another_listener_is_not_taken_for_the_sandbox(tmp_path: Path, taken: int) -> None:
    """The same for the sandbox's provider and its demo application, whichever of the two ports is taken."""
    for number, wanted in enumerate([(taken, 0), (0, taken)]):
        (folder := tmp_path / str(number)).mkdir()
        with Programs(folder) as programs:
            ports = programs.start_sandbox(8099, wanted)
            assert taken not in ports
            for port, path in zip(ports, ("/.well-known/openid-configuration", "/"), strict=True):
                assert httpx2.get(f"http://127.0.0.1:{port}{path}", trust_env=False).status_code == 200


def test_a_server_that_cannot_start(tmp_path: Path) -> None:
    """A server that ends is a failed step, with its log."""
    with Programs(tmp_path) as programs, pytest.raises(StepFailed, match="storage"):
        programs.start_server(storage="nowhere")
