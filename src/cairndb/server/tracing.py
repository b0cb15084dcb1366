"""A span of OpenTelemetry for each operation, by `--middleware cairndb.server.tracing:traced`.

What becomes of spans is set up as OpenTelemetry says, by `opentelemetry-instrument cairn serve ...`
for example. Over HTTP an operation's parent is what the header `traceparent` names (W3C Trace
Context); in a service that is traced itself (`cairndb.asgi(db, middleware=[traced])`) it is the
span of the request. The Redis protocol has no place for that, so there a span begins a trace.

A span is about the operation, as the handler sees it: it ends when the answer is there, and doesn't
include the wait for the disk, which many share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from cairndb.service import Answer, Handler, Request

_PARENTS: Final = TraceContextTextMapPropagator()


def traced(handler: Handler) -> Handler:
    """Have a span for each operation.

    Args:
        handler: what is called within it.
    """
    tracer = trace.get_tracer("cairndb")

    def handle(request: Request) -> Answer:
        parent = _PARENTS.extract({"traceparent": request.trace}) if request.trace else None
        with tracer.start_as_current_span(
            f"{request.operation} {request.target}" if request.operation == "run" else "path",
            context=parent,
            kind=SpanKind.SERVER,
            attributes={
                "db.system.name": "cairndb",
                "db.operation.name": request.operation,
                "db.namespace": request.target,
                "network.protocol.name": request.protocol,
                "network.peer.address": request.peer,
            },
        ) as span:
            answer = handler(request)
            if answer.error is not None:
                span.record_exception(answer.error)
                span.set_status(Status(StatusCode.ERROR, type(answer.error).__name__))
            return answer

    return handle
