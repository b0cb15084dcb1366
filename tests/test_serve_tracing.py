"""Spans of OpenTelemetry: one for each operation, wherever it runs, below what asked for it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import cairndb
from cairndb.server.running import Runner
from cairndb.server.tracing import traced
from cairndb.service import Answer, Request, Service
from cairndb.service_access import EVERYTHING
from serving import Bank, opened
from threads import LIMIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

_EXPORTER = InMemorySpanExporter()


@pytest.fixture(scope="module", autouse=True)
def _provider() -> None:
    # There is one for each process, and it can be set once.
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_EXPORTER))
    trace.set_tracer_provider(provider)


@pytest.fixture(autouse=True)
def _no_spans() -> None:
    _EXPORTER.clear()


def spans() -> list[ReadableSpan]:
    """Those that have ended."""
    return list(_EXPORTER.get_finished_spans())


def test_an_operation_has_a_span_with_what_became_of_it(tmp_path: Path) -> None:
    """It is named for the method; an exception of the method is noted."""
    with opened(tmp_path) as db:
        handler = traced(Service(db, Bank).handle)
        handler(Request("run", "total", grant=EVERYTHING, protocol="http", peer="10.0.0.1"))
        handler(Request("run", "transfer", data=b'["bob", "alice", 5]', grant=EVERYTHING))
    total, transfer = spans()
    assert total.name == "run total"
    assert total.attributes is not None
    assert total.attributes["network.peer.address"] == "10.0.0.1"
    assert total.status.status_code is StatusCode.UNSET
    assert transfer.status.status_code is StatusCode.ERROR
    assert transfer.status.description == "InsufficientFunds"
    (noted,) = transfer.events
    assert noted.name == "exception"


def test_over_http_its_parent_is_what_the_header_names(tmp_path: Path) -> None:
    """A trace that begins elsewhere goes on here."""

    async def ask(app: Any, headers: dict[str, str]) -> int:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.post("/run/total", headers=headers)).status_code

    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with opened(tmp_path) as db:
        app = cairndb.asgi(db, middleware=[traced])
        for value in (parent, "nonsense"):
            assert asyncio.run(ask(app, {"traceparent": value})) == 200
    below, alone = spans()
    assert below.parent is not None
    assert f"{below.parent.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{below.parent.span_id:016x}" == "b7ad6b7169203331"
    assert alone.parent is None


def test_in_a_thread_it_is_below_what_asked_too() -> None:
    """What is current where a request is submitted is current where it is handled."""
    threads: list[int] = []

    def handler(_: Request) -> Answer:
        threads.append(threading.get_ident())
        return Answer()

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        runner = Runner(traced(handler), loop)
        runner.expected_seconds["slow"] = 1.0
        answered: asyncio.Future[Answer] = loop.create_future()
        with trace.get_tracer("the application").start_as_current_span("its own"):
            runner.submit(Request("run", "slow"), answered.set_result)
            async with asyncio.timeout(LIMIT_SECONDS):
                await answered
        runner.close()

    asyncio.run(ask())
    assert threads != [threading.get_ident()]
    operation, own = spans()
    assert operation.parent is not None
    assert operation.parent.span_id == own.get_span_context().span_id  # type: ignore[union-attr]
