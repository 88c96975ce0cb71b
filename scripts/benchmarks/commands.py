"""The cases about commands: throughput, latency and CPU time, each beside the control in the same minutes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import trio

from oxd_server.entrances.certificates import CERT_NAME, KEY_NAME, ensure_self_signed
from oxd_server.sandbox.browser import log_in
from scripts.benchmarks.bare import CLIENT, OUR_POOL, THEIR_POOL, measure_bare_calls
from scripts.benchmarks.processes import (
    Measured,
    Outcome,
    Plan,
    apply_load,
    call,
    frame,
    free_port,
    http_request,
    running_control,
    running_quiet_server,
    running_sandbox,
    try_call,
)
from scripts.benchmarks.scale import Scale

REDIRECT_URI = "https://app.example.com/callback"
OWN_CLIENT = {"client_id": "bench-client", "client_secret": "bench-secret-0123456789"}
SITE = {"authorization_redirect_uri": REDIRECT_URI, "scope": ["openid", "profile", "email"]}
_ERROR = '"status":"error"'
_REFUSED = {"scope": ["openid"]}
_OP_CONNECTIONS = 8
_TURNS_PER_ROUND = 2
OVER_TLS = "socket, TLS to the OP"
RESUMED = "HTTPS, resumed"

Row = dict[str, Any]


@dataclass(frozen=True)
class World:
    """What runs while commands are measured."""

    server: Measured
    issuer: str
    tls_issuer: str
    certificate: Path
    folder: Path
    oxd_id: str


@contextmanager
def running_world(folder: Path, settings: dict[str, Any]) -> Iterator[World]:
    """Run the sandbox and a server with one site that brought its own client; the HTTPS front is on.

    The control writes no log, so commands leave no lines in this one; what a line costs has a row of its own.
    """
    https = {"enabled": True, "port": free_port(), "bind_addresses": ["127.0.0.1"]}
    # Over HTTPS commands are protected by default, and what that costs is the OP's answer.
    unbounded = {"max_connections": 12_000, "open_registrations_per_hour": 1_000_000}
    settings = {"https": https, "protect_commands_with_access_token": False, **unbounded, **settings}
    certificate, key = ensure_self_signed(folder / "op", datetime.now(UTC))
    settings = {"trust_store_path": str(certificate), **settings}
    with (
        running_sandbox(folder) as issuer,
        running_sandbox(folder / "tls", _in_one_file(certificate, key)) as tls_issuer,
        running_quiet_server(folder / "server", settings) as server,
    ):
        oxd_id = call(server.port, "register_site", op_host=issuer, **SITE, **OWN_CLIENT)["oxd_id"]
        call(server.port, "get_authorization_url", oxd_id=oxd_id)  # fetches the OP's metadata
        yield World(server, issuer, tls_issuer, certificate, folder, oxd_id)


@dataclass(frozen=True)
class Case:
    """A command that needs no OP, and what every answer holds. Over HTTPS `token` is its protection token."""

    label: str
    command: str
    params: dict[str, Any]
    expect: str = '"status":"ok"'
    token: str = "bench"


def _cases(world: World) -> list[Case]:
    site = {"oxd_id": world.oxd_id}
    return [
        Case("get_authorization_url", "get_authorization_url", site),
        Case("get_rp", "get_rp", site),
        Case("a rejected command", "get_authorization_url", _REFUSED, _ERROR),
    ]


def _https_cases(world: World) -> list[Case]:
    """Return the same cases; but `get_rp` needs a token there, and the OP is asked about it every time."""
    setup = call(world.server.port, "setup_client", op_host=world.issuer, **SITE)
    client = {name: setup[name] for name in ("client_id", "client_secret")}
    token = call(world.server.port, "get_client_token", op_host=world.issuer, **client)["access_token"]
    get_rp = Case("get_rp (asks the OP)", "get_rp", {"oxd_id": setup["oxd_id"]}, token=token)
    return [get_rp if case.command == "get_rp" else case for case in _cases(world)]


def measure_commands(world: World, scale: Scale) -> Iterator[Row]:
    """Measure the commands that need no OP over the socket, against the control."""
    for case in _cases(world):
        payload = _size_of_answer(world.server, case.command, case.params)
        with running_control(world.folder, payload) as control:
            requests = [frame(case.command, case.params)]
            plan = Plan(requests=requests, count=scale.requests, connections=1, expect=case.expect)
            for connections in (1, 8, 32):
                yield compare(case.label, world.server, control, replace(plan, connections=connections), scale.rounds)
            one_shot = replace(plan, count=scale.requests_that_connect, connections=8, reconnect=True)
            yield compare(case.label, world.server, control, one_shot, scale.rounds)


def measure_https(world: World, scale: Scale) -> Iterator[Row]:
    """Measure the same over HTTPS, kept open and with a handshake each, against the control over HTTPS."""
    certificate = _certificate(world.folder)
    for case in _https_cases(world):
        payload = _size_of_answer(world.server, case.command, case.params)
        with running_control(world.folder, payload, certificate) as control:
            for connections, reconnect in ((1, False), (8, False), (32, False), (8, True)):
                count = scale.requests_with_a_handshake if reconnect else scale.requests_over_https
                request = http_request(case.command, case.params, keep=not reconnect, token=case.token)
                plan = Plan(requests=[request], count=count, connections=connections, expect=case.expect)
                way = replace(plan, reconnect=reconnect, http=True)
                yield compare(case.label, world.server, control, way, scale.rounds)
            if case.command == "get_rp":
                continue
            yield {
                **compare(case.label, world.server, control, replace(way, resume=True), scale.rounds),
                "over": RESUMED,
            }


def compare(label: str, server: Measured, control: Measured, plan: Plan, rounds: int) -> Row:
    """Run server and control in turn; the ratios are medians of those within one turn."""
    ours, theirs = [], []
    for measured in (server, control):  # to warm up
        apply_load(measured, _for(measured, control, replace(plan, count=max(plan.count // 10, 1))))
    for _ in range(rounds):
        ours.append(apply_load(server, plan))
        theirs.append(apply_load(control, _for(control, control, plan)))
    pairs = list(zip(ours, theirs, strict=True))
    return {
        **row_of(label, plan, ours, server),
        "control_throughput": statistics.median(o.throughput for o in theirs),
        "control_cpu_us": statistics.median(o.cpu_per_command for o in theirs) * 1e6,
        "throughput_ratio": statistics.median(a.throughput / b.throughput for a, b in pairs),
        "cpu_ratio": statistics.median(a.cpu_per_command / b.cpu_per_command for a, b in pairs),
        # Other programs on the machine only ever add to what a run costs: the best run of each is the least disturbed.
        "best_cpu_us": min(o.cpu_per_command for o in ours) * 1e6,
        "control_best_cpu_us": min(o.cpu_per_command for o in theirs) * 1e6,
    }


def _for(measured: Measured, control: Measured, plan: Plan) -> Plan:
    return replace(plan, expect='"status":"ok"') if measured is control else plan


def row_of(label: str, plan: Plan, outcomes: list[Outcome], server: Measured) -> Row:
    """Return what runs of one plan came to: medians of the runs."""
    latencies = sorted(latency for outcome in outcomes for latency in outcome.latencies)
    return {
        "case": label,
        "over": "HTTPS" if plan.http else "socket",
        "connections": plan.connections,
        "one_connection_per_command": plan.reconnect,
        "requests": plan.count,
        "rounds": len(outcomes),
        "throughput": statistics.median(o.throughput for o in outcomes),
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
        "cpu_us": statistics.median(o.cpu_per_command for o in outcomes) * 1e6,
        "memory_mib": server.memory_kib() / 1024,
    }


def measure_op_commands(world: World, scale: Scale) -> Iterator[Row]:
    """Measure commands that ask the OP. Their CPU time is the server's alone; the OP is another process."""
    port, count = world.server.port, scale.requests_to_the_op
    for http in (False, True):
        # Each time anew: the sandbox forgets the oldest of many clients.
        registered = call(port, "register_site", op_host=world.issuer, **SITE)["oxd_id"]
        callbacks = trio.run(_fresh_callbacks, port, registered, count * scale.rounds)
        logins = [{"oxd_id": registered, **callback} for callback in callbacks]
        yield _measure_in_turns("get_tokens_by_code", world, logins, count, http=http)
        registration = {"op_host": world.issuer, **SITE}
        yield _measure_in_turns("register_site", world, [registration] * count * scale.rounds, count, http=http)
        yield _measure_check_access(world, count, scale.rounds, http=http)
    yield _measure_check_access(world, count, scale.rounds, http=False, tls_to_the_op=True)


def _measure_in_turns(command: str, world: World, params: list[dict[str, Any]], count: int, *, http: bool) -> Row:
    requests = [_request(command, each, http=http) for each in params]
    turns = [requests[start : start + count] for start in range(0, len(requests), count)]
    plans = [Plan(requests=turn, count=count, connections=_OP_CONNECTIONS, http=http) for turn in turns]
    return row_of(command, plans[0], [apply_load(world.server, plan) for plan in plans], world.server)


def _request(command: str, params: dict[str, Any], *, http: bool) -> str:
    return http_request(command, params) if http else frame(command, params)


async def _fresh_callbacks(port: int, oxd_id: str, count: int) -> list[dict[str, str]]:
    """Log a user in once and fetch `count` codes with the session: code and state of each."""

    def url(**params: str) -> str:
        return str(call(port, "get_authorization_url", oxd_id=oxd_id, **params)["authorization_url"])

    async with httpx2.AsyncClient(trust_env=False) as browser:
        await log_in(browser, url(), "alice", "wonderland")
        answers = [await browser.get(url(prompt="none")) for _ in range(count)]
    params = [httpx2.URL(answer.headers["location"]).params for answer in answers]
    return [{"code": found["code"], "state": found["state"]} for found in params]


def _measure_check_access(world: World, count: int, rounds: int, *, http: bool, tls_to_the_op: bool = False) -> Row:
    """Measure `uma_rs_check_access` with an RPT that suffices, beside the bare call that it cannot do without."""
    port, issuer = world.server.port, world.tls_issuer if tls_to_the_op else world.issuer
    resource = {"path": "/photo", "conditions": [{"httpMethods": ["GET"], "scopes": ["https://photos.example/view"]}]}
    grants = ["authorization_code", "client_credentials"]
    scope = ["openid", "uma_protection"]
    oxd_id = call(
        port, "register_site", op_host=issuer, authorization_redirect_uri=REDIRECT_URI, scope=scope, grant_types=grants
    )["oxd_id"]
    call(port, "uma_rs_protect", oxd_id=oxd_id, resources=[resource])
    access = {"oxd_id": oxd_id, "path": "/photo", "http_method": "GET"}
    ticket = call(port, "uma_rs_check_access", **access)["ticket"]
    rpt = call(port, "uma_rp_get_rpt", oxd_id=oxd_id, ticket=ticket)["access_token"]
    site = call(port, "get_rp", oxd_id=oxd_id)["node"]
    plan = Plan(
        requests=[_request("uma_rs_check_access", {**access, "rpt": rpt}, http=http)],
        count=count * 2,
        connections=_OP_CONNECTIONS,
        http=http,
        expect='"granted"',
    )
    auth = site["client_id"], site["client_secret"]
    apply_load(world.server, replace(plan, count=count))  # to warm up
    ours: list[Outcome] = []
    bare: dict[str, list[float]] = {CLIENT: [], THEIR_POOL: [], OUR_POOL: []}
    for _ in range(_TURNS_PER_ROUND * rounds):
        ours.append(apply_load(world.server, plan))
        for way, seconds in bare.items():
            url, trust = f"{issuer}/introspect", world.certificate
            seconds.append(measure_bare_calls(way, url, auth, {"token": rpt}, plan.count, _OP_CONNECTIONS, trust))
    # The least disturbed turn of each, for other programs only ever add.
    client, theirs, own = (min(seconds) for seconds in bare.values())
    return {
        **row_of("uma_rs_check_access", plan, ours, world.server),
        **({"over": OVER_TLS} if tls_to_the_op else {}),
        "bare_call_cpu_us": own * 1e6,
        "client_ratio": min(outcome.cpu_per_command for outcome in ours) / client,
        "pool_ratio": own / theirs,
    }


def _size_of_answer(server: Measured, command: str, params: dict[str, Any]) -> int:
    data = try_call(server.port, command, params)["data"]
    return len(str(data))


def _certificate(folder: Path) -> Path:
    """Return certificate and key in one file: those that the server made for itself."""
    found = {path.name: path for path in (folder / "server").rglob("https-localhost.*")}
    return _in_one_file(found[CERT_NAME], found[KEY_NAME])


def _in_one_file(certificate: Path, key: Path) -> Path:
    both = certificate.with_name("both.pem")
    both.touch(0o600)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both
