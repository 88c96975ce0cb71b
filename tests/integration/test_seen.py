"""What an operator sees of a server: who asked for what, how long it took, what was refused and why."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import trio
from prometheus_client.parser import text_string_to_metric_families

from oxd_server.sandbox import RunningSandbox
from tests.integration import preloaded
from tests.integration.conftest import StartServer
from tests.integration.https_client import Front, running_front
from tests.integration.logins import data_of, register
from tests.integration.oxd_process import LOG_POLL_SECONDS, START_SECONDS, ServerProcess

Line = dict[str, Any]


async def wait_for(server: ServerProcess, wanted: Callable[[Line], bool]) -> Line:
    """Wait for a line of the log: those of commands come a moment later than the answer."""
    with trio.move_on_after(START_SECONDS):
        while True:
            if found := [line for line in server.log_lines() if wanted(line)]:
                return found[0]
            await trio.sleep(LOG_POLL_SECONDS)
    raise AssertionError(f"no such line:\n{server.log_text()}")


async def line_of(server: ServerProcess, **fields: Any) -> Line:
    """Wait for a line with these fields."""
    return await wait_for(server, lambda line: fields.items() <= line.items())


async def test_the_log_of_one_login(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """Each command has a line: from where, what, for which site, how it ended, how long it and the OP took."""
    async with running_front(tmp_path) as front:
        server = front.server
        rp = await register(server, sandbox.issuer)
        tokens = await rp.log_in()
        refused = await rp.error("get_tokens_by_code", code="used", state="unknown")
        await line_of(server, event="command", error=refused["error"])
        lines = [line for line in server.log_lines() if line["event"] == "command"]
        names = ["register_site", "get_authorization_url", "get_tokens_by_code", "get_tokens_by_code"]
        assert [line["command"] for line in lines] == names
        assert {line["oxd_id"] for line in lines} == {rp.oxd_id}  # that of the new site as well
        assert [line["outcome"] for line in lines] == ["ok", "ok", "ok", "error"]
        assert {(line["entrance"], line["dialect"], line["host"]) for line in lines} == {
            ("socket", "3", socket.gethostname())
        }
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+", line["peer"]) for line in lines)
        assert len({line["request_id"] for line in lines}) == len(lines)
        assert all(line["duration_ms"] >= line["op_ms"] for line in lines)
        assert [line["op_ms"] > 0 for line in lines] == [True, False, True, False]
        assert tokens["access_token"] not in server.log_text()
        await _check_requests(front, rp.oxd_id)


async def _check_requests(front: Front, oxd_id: str) -> None:
    """An HTTPS caller gets the request's id back: its own, if that can stand in a log."""
    answers = {}
    for given, is_kept in (("my-request_1", True), ("a b", False), ("x" * 65, False), ("a.b.c", False), (None, False)):
        headers = {} if given is None else {"X-Request-Id": given}
        answer = await front.post("get-rp", {"oxd_id": oxd_id}, headers=headers)
        answers[given] = answer.headers["x-request-id"]
        assert (answers[given] == given) is is_kept
        refused = await line_of(front.server, request_id=answers[given])
        assert (refused["event"], refused["status"], refused["path"]) == ("request_refused", 403, "/get-rp")
    assert len(set(answers.values())) == len(answers)
    answer = await front.post(
        "get-authorization-url", {"oxd_id": oxd_id}, token="bad", headers={"X-Request-Id": "mine"}
    )
    line = await line_of(front.server, event="command", request_id="mine")
    assert (line["entrance"], line["outcome"], line["oxd_id"]) == ("https", "error", oxd_id)
    for request, status in ((b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400), (b"POST /nowhere HTTP/1.1\r\n\r\n", 400)):
        raw = await front.exchange(request)
        request_id = raw.split(b"X-Request-Id: ")[1].split(b"\r\n")[0].decode()
        assert (await line_of(front.server, request_id=request_id))["status"] == status
    answer = await front.client.get("/nowhere")
    refused = await line_of(front.server, request_id=answer.headers["x-request-id"])
    assert (refused["status"], refused["path"]) == (404, "/nowhere")
    assert front.server.log_text().count("mine") == 1


async def test_what_is_refused_has_a_line(start_server: StartServer) -> None:
    """One connection too many, a frame that is none, a request without a command: each says who, and which limit."""
    async with start_server({"max_connections": 1}) as server:
        first = await server.connect()
        assert (await first.call("get_rp", list=True))["status"] == "ok"
        second = await server.connect()
        assert (await second.receive())["data"]["error"] == "server_busy"
        busy = await line_of(server, event="connection_refused", limit="max_connections")
        assert busy["peer"].startswith("127.0.0.1:")
        await first.send(b"0002{}")
        assert (await first.receive())["data"]["error"] == "invalid_request"
        line = await line_of(server, event="frame_refused", error="invalid_request")
        assert 'no "command"' in line["reason"]
        await second.aclose()
        await first.aclose()


async def test_an_op_that_does_not_answer(start_server: StartServer) -> None:
    """Its outage is a warning that begins once, whatever asks."""
    async with start_server() as server:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            op = f"127.0.0.1:{unused.getsockname()[1]}"
            site = {"op_host": f"http://{op}", "authorization_redirect_uri": "https://a.example/", "scope": ["openid"]}
            for _ in range(2):
                assert (await server.call("register_site", **site))["status"] == "error"
        began = await line_of(server, event="op_outage_began", op=op)
        assert (began["level"], began["reason"]) == ("warning", "refused")
        assert server.log_text().count("op_outage_began") == 1


async def test_workers_name_themselves_and_open_the_log_anew(start_server: StartServer, tmp_path: Path) -> None:
    """Each line says which worker wrote it. Whoever rotates logs moves the file and sends SIGHUP to the supervisor."""
    log, old, workers = tmp_path / "oxd-server.log", tmp_path / "oxd-server.log.1", 2
    async with start_server({"workers": workers, "log_file": str(log)}) as server:
        ready = await server.wait_for_log("Start listening")
        assert "worker" not in ready
        seen: set[int] = set()
        with trio.fail_after(START_SECONDS):
            while len(seen) < workers:
                data_of(await server.call("get_rp", list=True))
                seen |= {line["worker"] for line in server.log_lines() if line["event"] == "command"}
        assert seen == set(range(workers))
        log.rename(old)
        server.signal(signal.SIGHUP)
        with trio.fail_after(START_SECONDS):
            while not log.exists() or log.read_text().count("configuration_reloaded") < workers:
                await trio.sleep(LOG_POLL_SECONDS)
        assert log.stat().st_mode & 0o777 == 0o600
    assert "Start listening" in old.read_text()
    assert [line["event"] for line in server.log_lines()][-1] == "stopped"


# --- figures and readiness ----------------------------------------------------------------------


Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(port: int) -> Figures:
    """Return every sample of the metrics port."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def commands(figures: Figures, **labels: str) -> float:
    """Return how many commands with these labels were counted."""
    return sum(
        value for (name, its), value in figures.items() if name == "oxd_commands_total" and labels.items() <= set(its)
    )


async def test_figures_of_workers_are_summed_and_outlive_them(start_server: StartServer) -> None:
    """Any worker answers for all. What one that is killed has counted is neither lost nor counted twice."""
    config = {"workers": 2, "metrics": {"enabled": True, "port": 0}}
    async with start_server(config) as server:
        port = (await server.wait_for_log("metrics_listening"))["port"]
        asked = 0
        with trio.fail_after(START_SECONDS):
            while len({line["worker"] for line in server.log_lines() if line["event"] == "command"}) < 2:
                data_of(await server.call("get_rp", list=True))
                asked += 1
        await server.call("get_rp", oxd_id="unknown")
        asked += 1
        figures = await scrape(port)
        assert commands(figures, command="get_rp", dialect="3") == asked
        assert commands(figures, outcome="invalid_oxd_id") == 1
        victim = next(line["pid"] for line in server.log_lines() if line["event"] == "worker_started")
        os.kill(victim, signal.SIGKILL)
        await server.wait_for_log("worker_ended")
        with trio.fail_after(START_SECONDS):
            while sum(line["event"] == "metrics_listening" for line in server.log_lines()) < 3:
                await trio.sleep(LOG_POLL_SECONDS)
        data_of(await server.call("get_rp", list=True))
        for _ in range(4):  # whichever worker answers
            assert commands(await scrape(port), command="get_rp") == asked + 1


async def test_figures_of_a_login(tmp_path: Path, sandbox: RunningSandbox) -> None:
    """Commands, requests to the OP, times, connections, what was refused, what the front's certificate says."""
    metrics = {"enabled": True, "port": 0, "https_path": "/figures"}
    async with running_front(tmp_path, {"metrics": metrics}) as front:
        port = (await front.server.wait_for_log("metrics_listening"))["port"]
        rp = await register(front.server, sandbox.issuer)
        await rp.log_in()
        assert (await front.client.get("/nowhere")).status_code == 404
        figures = await scrape(port)
        host = sandbox.issuer.removeprefix("http://")
        for command in ("register_site", "get_authorization_url", "get_tokens_by_code"):
            assert commands(figures, command=command, outcome="ok") == 1
        assert figures["oxd_op_requests_total", frozenset({("host", host), ("outcome", "ok")})] >= 3
        assert figures["oxd_op_request_seconds_sum", frozenset({("host", host)})] > 0
        assert figures["oxd_command_seconds_sum", frozenset({("command", "register_site")})] > 0
        assert figures["oxd_refused_total", frozenset({("entrance", "https"), ("code", "404")})] == 1
        caches = {dict(labels)["cache"] for name, labels in figures if name == "oxd_cache_bytes"}
        assert caches == {"discovery", "uma_discovery", "key_sets", "sites", "sessions"}
        assert figures["oxd_certificate_expiry_timestamp_seconds", frozenset()] > time.time() + 365 * 86_400
        shown = await front.client.get("/figures")
        assert shown.headers["content-type"].startswith("text/plain")
        assert "oxd_commands_total" in shown.text
        assert (await front.client.post("/figures")).status_code == 405
        assert (await front.client.get("/metrics")).status_code == 404


async def test_ready_and_health(tmp_path: Path) -> None:
    """A store that is deleted under the server is noticed on both ports and by the command."""
    config = {"metrics": {"enabled": True, "port": 0}}
    async with running_front(tmp_path, config) as front, httpx2.AsyncClient(trust_env=False) as plain:
        server = front.server
        url = f"http://127.0.0.1:{(await server.wait_for_log('metrics_listening'))['port']}/ready"
        for answer in (await front.client.get("/ready"), await plain.get(url)):
            assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
        assert (await _health(server.port)) == (0, "The server answers.")
        (tmp_path / "data").rename(tmp_path / "away")
        with trio.fail_after(START_SECONDS):
            while (answer := await plain.get(url)).status_code == 200:  # believed for a second
                await trio.sleep(LOG_POLL_SECONDS)
        assert "deleted or replaced" in answer.json()["reason"]
        assert (await front.client.get("/ready")).status_code == 503
        assert (await front.client.get("/health-check")).status_code == 200
        code, said = await _health(server.port)
        assert (code, "storage_unavailable" in said) == (1, True)
        (tmp_path / "away").rename(tmp_path / "data")
        with trio.fail_after(START_SECONDS):
            while (await plain.get(url)).status_code != 200:
                await trio.sleep(LOG_POLL_SECONDS)
    code, said = await _health(server.port)
    assert (code, said.startswith("oxd-server: ")) == (1, True)


async def _health(port: int) -> tuple[int, str]:
    """Run `oxd-server health`; return its exit code and the one line that it prints."""
    ran = await trio.to_thread.run_sync(preloaded.run, "health", "--port", str(port))
    return ran.returncode, (ran.stdout + ran.stderr).strip()
