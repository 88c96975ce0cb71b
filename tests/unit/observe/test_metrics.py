"""The figures: what is counted under which names, and what nobody can blow up."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from oxd_server.observe.call import Caller, Calls
from oxd_server.observe.metrics import Metrics
from oxd_server.observe.sample import Sample
from oxd_server.op.observed import OpRequest


async def figures(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample by its name and labels."""
    families = text_string_to_metric_families((await metrics.text()).decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


async def value(metrics: Metrics, name: str, **labels: str) -> float:
    """Return one sample."""
    return (await figures(metrics))[name, frozenset(labels.items())]


def run(metrics: Metrics, error: str | None = None, **facts: Any) -> None:
    """Have a command end with these facts."""
    calls = Calls([metrics.see_command])
    call = calls.begin(Caller(dialect="4"), "https", "x")
    for name, fact in facts.items():
        setattr(call, name, fact)
    call.started -= 1.0
    calls.end(call, error)
    calls.leave(call)


async def test_commands_are_counted() -> None:
    """By name, outcome and dialect; the time is that of the server, without the OP's."""
    metrics = Metrics()
    run(metrics, command="get_rp", op_seconds=0.9)
    run(metrics, command="get_rp", op_seconds=0.9)
    run(metrics, "op_unreachable", command="get_rp")
    run(metrics, "unsupported_operation", name="x" * 1000)
    for status in range(400, 500):
        run(metrics, f"http_status_{status}", command="get_user_info")
    labels = {"command": "get_rp", "dialect": "4"}
    assert await value(metrics, "oxd_commands_total", outcome="ok", **labels) == 2
    assert await value(metrics, "oxd_commands_total", outcome="op_unreachable", **labels) == 1
    unknown = {"command": "unknown", "dialect": "4", "outcome": "unsupported_operation"}
    assert await value(metrics, "oxd_commands_total", **unknown) == 1
    theirs = {"command": "get_user_info", "dialect": "4", "outcome": "http_status_4xx"}
    assert await value(metrics, "oxd_commands_total", **theirs) == 100
    assert await value(metrics, "oxd_command_seconds_count", command="get_rp") == 3
    assert 1.2 < await value(metrics, "oxd_command_seconds_sum", command="get_rp") < 1.9


async def test_requests_to_ops_are_counted() -> None:
    """By host and outcome. After a hundred hosts, all others are one: an application may name any."""
    metrics = Metrics()
    for number in range(150):
        metrics.see_op_request(OpRequest(f"op-{number}", "ok", 0.25))
    metrics.see_op_request(OpRequest("op-0", "timeout", 20.0))
    assert await value(metrics, "oxd_op_requests_total", host="op-0", outcome="ok") == 1
    assert await value(metrics, "oxd_op_requests_total", host="op-0", outcome="timeout") == 1
    assert await value(metrics, "oxd_op_requests_total", host="other", outcome="ok") == 50
    assert await value(metrics, "oxd_op_request_seconds_sum", host="op-1") == 0.25


async def test_what_is_looked_up() -> None:
    """Gauges show what is now, commits what has been added since."""
    metrics = Metrics()
    sample = Sample({"socket": 3, "https": 2}, 4, {"discovery": 1000}, 7, 50_000, 20)
    metrics.see(sample, 1)
    metrics.see(sample._replace(store_commits=9, commands_in_flight=0), 0)
    assert await value(metrics, "oxd_connections", entrance="socket") == 3
    assert await value(metrics, "oxd_commands_in_flight") == 0
    assert await value(metrics, "oxd_cache_bytes", cache="discovery") == 1000
    assert await value(metrics, "oxd_store_commits_total") == 9
    assert await value(metrics, "oxd_op_outages") == 0
    assert await value(metrics, "oxd_resident_memory_bytes") == 50_000
    assert await value(metrics, "oxd_open_files") == 20


async def test_what_was_refused_and_what_expires() -> None:
    """Refusals by entrance and code; the certificate and, of sites that were used, the client secret."""
    metrics = Metrics()
    metrics.see_refusal("https", "404")
    metrics.see_certificate(2_000_000_000)
    run(metrics, command="get_rp", oxd_id="a", secret_expires_at=1_900_000_000_000)
    run(metrics, command="get_rp", oxd_id="b", secret_expires_at=0)
    assert await value(metrics, "oxd_refused_total", entrance="https", code="404") == 1
    assert await value(metrics, "oxd_certificate_expiry_timestamp_seconds") == 2_000_000_000
    assert await value(metrics, "oxd_client_secret_expiry_timestamp_seconds", oxd_id="a") == 1_900_000_000
    assert not [key for key in await figures(metrics) if ("oxd_id", "b") in key[1]]
    run(metrics, command="get_rp", oxd_id="a", secret_expires_at=1_950_000_000_000)
    assert await value(metrics, "oxd_client_secret_expiry_timestamp_seconds", oxd_id="a") == 1_950_000_000
    run(metrics, "op_unreachable", command="remove_site", oxd_id="a", secret_expires_at=1_950_000_000_000)
    assert await value(metrics, "oxd_client_secret_expiry_timestamp_seconds", oxd_id="a") == 1_950_000_000
    run(metrics, command="remove_site", oxd_id="a", secret_expires_at=1_950_000_000_000)
    assert await value(metrics, "oxd_client_secret_expiry_timestamp_seconds", oxd_id="a") == 0


async def test_sites_without_end_take_no_memory() -> None:
    """Two hundred sites are shown; a site that is removed at once is not among them."""
    metrics = Metrics()
    run(metrics, command="remove_site", oxd_id="gone", secret_expires_at=1)
    for number in range(300):
        run(metrics, command="get_rp", oxd_id=str(number), secret_expires_at=1_900_000_000_000)
    shown = [name for name, labels in await figures(metrics) if name == "oxd_client_secret_expiry_timestamp_seconds"]
    assert len(shown) == 200
