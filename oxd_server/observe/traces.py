"""Traces by OpenTelemetry: a span for each command, and in it one for each request to an OP.

Whoever runs the server decides where they go, for example with ``opentelemetry-instrument``. Without that there are
none.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final, Self

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from oxd_server import __version__
from oxd_server.observe.call import Call, current_call
from oxd_server.op.observed import Observe, OpRequest

__all__ = ["Traces"]

_UNKNOWN: Final = "unknown"


class Traces:
    """Makes the spans. An OP learns the trace (W3C Trace Context), and nothing else: no baggage."""

    def __init__(self, provider: TracerProvider) -> None:
        """``provider`` takes the spans."""
        self._tracer = provider.get_tracer("oxd_server", __version__)
        self._headers = TraceContextTextMapPropagator()

    @classmethod
    def if_wanted(cls) -> Self | None:
        """Return what makes the spans, None if nobody takes any."""
        provider = trace.get_tracer_provider()
        return None if isinstance(provider, trace.ProxyTracerProvider) else cls(provider)

    def begin(self, call: Call) -> None:
        """Begin the span of a command, within the caller's trace if it named one."""
        theirs = None if call.caller.trace is None else self._headers.extract({"traceparent": call.caller.trace})
        call.span = self._tracer.start_span(_UNKNOWN, theirs, SpanKind.SERVER)

    def end(self, call: Call) -> None:
        """End it, also of a command that was given up."""
        span: Span = call.span
        span.update_name(call.command or _UNKNOWN)
        span.set_attributes(_known(call))
        if call.error is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def begin_op_request(self, method: str, host: str, head: dict[str, str]) -> Observe:
        """Begin the span of a request, and add to its headers; return what ends it."""
        call = current_call()
        within = None if call is None or call.span is None else trace.set_span_in_context(call.span)
        names = {"http.request.method": method, "server.address": host}
        span = self._tracer.start_span(method, within, SpanKind.CLIENT, names)
        self._headers.inject(head, trace.set_span_in_context(span))
        return partial(_end, span)


def _known(call: Call) -> Mapping[str, str]:
    """What a span says of a command: what the log says as well."""
    facts = {
        "oxd.request_id": call.request_id,
        "oxd.entrance": call.entrance,
        "oxd.dialect": call.caller.dialect,
        "oxd.oxd_id": call.oxd_id,
        "error.type": call.error,
        "oxd.limit": call.limit,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _end(span: Span, request: OpRequest) -> None:
    span.set_attribute("oxd.outcome", request.outcome)
    if request.outcome not in ("ok", "client_error"):
        span.set_status(Status(StatusCode.ERROR))
        span.set_attribute("error.type", request.outcome)
    span.end()
