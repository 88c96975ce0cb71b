"""Traces: a span for each command and one for each request to an OP, in one trace with the caller's and the OP's."""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from oxd_server.app.watching import make_sight
from oxd_server.config import Config
from oxd_server.entrances import http1
from oxd_server.entrances.http1 import Limits
from oxd_server.entrances.http1_messages import HttpRequest, HttpResponse
from oxd_server.observe.call import Caller
from oxd_server.observe.sight import Sight
from oxd_server.observe.traces import Traces
from oxd_server.op.errors import OpHostRefused, OpUnreachable
from oxd_server.op.observed import nobody_follows
from oxd_server.op.transport import Transport, TransportSettings
from oxd_server.process.listen_fds import Inherited

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
THEIRS = f"00-{TRACE}-00f067aa0ba902b7-01"


class Seen:
    """Spans that were made, and an OP that keeps the headers of its requests."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.sight = Sight(traces=Traces(provider))
        self.requests: list[HttpRequest] = []

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    @asynccontextmanager
    async def op(self) -> AsyncIterator[tuple[Transport, str]]:
        async def answer(request: HttpRequest) -> HttpResponse:
            self.requests.append(request)
            return HttpResponse(200, [("Content-Type", "application/json")], b"{}")

        settings = TransportSettings(ssl_context=ssl.create_default_context())
        sight = self.sight
        async with (
            trio.open_nursery() as nursery,
            Transport(settings, observe=sight.see_op_request, begin=sight.begin_op_request) as transport,
        ):
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listener.socket.getsockname()[1]
            await nursery.start(http1.serve, [listener], answer, Limits())
            yield transport, f"http://127.0.0.1:{port}/token"
            nursery.cancel_scope.cancel()


def identity(span: ReadableSpan) -> tuple[str, str]:
    """Return the ids of trace and span as headers have them."""
    context = span.get_span_context()
    assert context is not None
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


async def test_one_trace_from_the_caller_to_the_op() -> None:
    """The command's span lies within the caller's, the request's within the command's; the OP learns of that."""
    seen = Seen()
    async with seen.op() as (transport, url):
        calls = seen.sight.calls
        call = calls.begin(Caller("192.0.2.1:9", "4", "r-1", THEIRS), "https", "get_rp")
        call.command, call.oxd_id = "get_rp", "site-1"
        await transport.send("POST", url, step="token", form={"a": "b"})
        calls.end(call, None)
        calls.leave(call)
    request, command = seen.spans
    assert (command.name, command.kind, request.name, request.kind) == (
        "get_rp", trace.SpanKind.SERVER, "POST", trace.SpanKind.CLIENT,
    )  # fmt: skip
    assert identity(command)[0] == identity(request)[0] == TRACE
    assert command.parent is not None
    assert trace.format_span_id(command.parent.span_id) == "00f067aa0ba902b7"
    assert request.parent is not None
    assert trace.format_span_id(request.parent.span_id) == identity(command)[1]
    assert seen.requests[0].header("traceparent") == f"00-{TRACE}-{identity(request)[1]}-01"
    assert dict(command.attributes or {}) == {
        "oxd.request_id": "r-1", "oxd.entrance": "https", "oxd.dialect": "4", "oxd.oxd_id": "site-1",
    }  # fmt: skip
    assert call.op_seconds > 0


async def test_what_failed_says_so() -> None:
    """A command with an error, one that was given up, and a request without an answer."""
    seen = Seen()
    calls = seen.sight.calls
    async with seen.op() as (transport, url):
        call = calls.begin(Caller(), "socket", "fly")
        with pytest.raises(OpUnreachable) as unreachable:
            await transport.send("GET", "http://127.0.0.1:1/", step="discovery")
        with pytest.raises(OpHostRefused):
            await transport.send("GET", "ftp://127.0.0.1/", step="discovery")
        calls.end(call, "unsupported_operation")
        calls.leave(call)
        calls.leave(calls.begin(Caller(), "socket", "get_rp"))
        await transport.send("GET", url, step="discovery")
    refused, failed, given_up, alone = seen.spans
    assert refused.status.status_code is trace.StatusCode.ERROR
    assert (refused.attributes or {})["error.type"] == unreachable.value.cause
    assert (failed.name, failed.status.status_code) == ("unknown", trace.StatusCode.ERROR)
    assert (failed.attributes or {})["error.type"] == "unsupported_operation"
    assert given_up.status.status_code is trace.StatusCode.UNSET
    assert (alone.parent, alone.status.status_code) == (None, trace.StatusCode.UNSET)


async def test_a_callers_trace_that_is_none_begins_one() -> None:
    """A header that cannot be read is no reason to refuse anything."""
    seen = Seen()
    call = seen.sight.calls.begin(Caller(trace="nonsense"), "https", "get_rp")
    seen.sight.calls.leave(call)
    assert seen.spans[0].parent is None


def test_without_anybody_who_takes_them_there_are_none() -> None:
    """The library is there, and nobody set it up."""
    assert Traces.if_wanted() is None
    calls = Sight().calls
    call = calls.begin(Caller(), "socket", "x")
    calls.leave(call)
    assert call.span is None


def test_whoever_set_the_library_up_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `opentelemetry-instrument` does."""
    monkeypatch.setattr(trace, "get_tracer_provider", TracerProvider)
    assert isinstance(Traces.if_wanted(), Traces)
    assert make_sight(Config(), Inherited(), None).begin_op_request is not nobody_follows


def test_a_library_that_nobody_set_up_is_not_even_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be installed: a start does not pay for it."""
    monkeypatch.setattr(trace, "get_tracer_provider", TracerProvider)
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    assert make_sight(Config(), Inherited(), None).begin_op_request is nobody_follows
    assert "opentelemetry.trace" not in sys.modules
