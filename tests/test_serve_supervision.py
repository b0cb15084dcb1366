"""Supervision: what runs, what is slow, and what is logged of it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog
from starlette.applications import Starlette

from cairndb.cancellation import CancelToken
from cairndb.server import logs
from cairndb.server.debugging import debug_routes, sampled
from cairndb.server.handling import logged
from cairndb.server.supervision import Supervision, stacks
from cairndb.service import Answer, Request
from cairndb.service_access import EVERYTHING, Forbidden, Grant, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = Request("run", "transfer", grant=Grant("shop"), protocol="resp", peer="here")


@pytest.fixture(name="stream")
def _stream() -> Iterator[io.StringIO]:
    """Where everything logs to, as JSON."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    yield stream
    root.handlers[:], logging.raiseExceptions = before[0], before[2]
    root.setLevel(before[1])
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_all_that_is_logged_has_one_form(stream: io.StringIO) -> None:
    """Events of structlog, Python's own records, warnings, exceptions: a JSON object a line."""
    logs.log().info("started", lsn=5)
    logging.getLogger("somebody").warning("%s of %d", "two", 3, extra={"more": [1]})
    logging.getLogger("uvicorn.error").info("of no interest")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("be careful", RuntimeWarning, stacklevel=1)
    try:
        int("odd")
    except ValueError:
        logging.getLogger("somebody").exception("it failed")
    logs.log().info("object", what=Grant)

    first, second, third, fourth, fifth = lines(stream)
    assert (first["event"], first["lsn"], first["level"]) == ("started", 5, "info")
    assert (second["event"], second["more"], second["logger"]) == ("two of 3", [1], "somebody")
    assert "be careful" in third["event"]
    assert "ValueError: invalid" in fourth["exception"]
    assert "Grant" in fifth["what"]
    assert all("time" in each for each in lines(stream))


def test_for_people_it_is_text() -> None:
    """On a terminal, or when asked for: no JSON, no colours in a file."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        logs.configure("text", "info", stream)
        logs.log().info("started", lsn=5)
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        logging.captureWarnings(False)
        structlog.reset_defaults()

    assert "started" in stream.getvalue()
    assert "lsn=5" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_each_request_is_logged_with_its_outcome(stream: io.StringIO) -> None:
    """Whether it was answered, failed, or was refused by raising."""

    def refuse(_: Request) -> Answer:
        raise Forbidden("no")

    logged(lambda _: Answer(value=1))(REQUEST)
    logged(lambda _: Answer(error=ValueError()))(REQUEST)
    with pytest.raises(Forbidden):
        logged(refuse)(REQUEST)

    assert [each["outcome"] for each in lines(stream)] == ["ok", "ValueError", "Forbidden"]
    assert lines(stream)[0]["token"] == "shop"  # noqa: S105  a name
    assert lines(stream)[0]["target"] == "transfer"


def test_what_takes_long_is_told_once_with_its_stack(stream: io.StringIO) -> None:
    """Looked at again and again, a slow request is one line; what has ended is none."""
    supervision = Supervision(0.001, lambda: None)
    seen: list[list[dict[str, Any]]] = []

    def dawdle(request: Request) -> Answer:
        until = time.monotonic() + 0.002
        while time.monotonic() < until:
            pass
        for _ in range(3):
            supervision.look()
        seen.append(lines(stream))
        assert [each.request for each in supervision.running()] == [request]
        return Answer()

    supervision.around(dawdle)(REQUEST)
    supervision.look()

    (told,) = seen[0]
    assert lines(stream) == [told]
    assert (told["event"], told["target"], told["token"]) == (
        "a request takes long",
        "transfer",
        "shop",
    )
    assert any("in dawdle" in each for each in told["stack"])
    assert supervision.slow == 1
    assert supervision.running() == []


def test_what_raises_runs_no_more() -> None:
    """A handler that raises is forgotten like one that returns."""
    supervision = Supervision(1.0, lambda: None)

    def fail(_: Request) -> Answer:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        supervision.around(fail)(REQUEST)
    assert supervision.running() == []


def test_the_thread_ends_what_is_overdue() -> None:
    """After the moment that was set, and not before one is."""
    called = threading.Event()
    supervision = Supervision(0.0, called.set)
    supervision.start()
    try:
        supervision.look()
        assert not called.is_set()
        supervision.end_by = time.monotonic()

        assert called.wait(10)
    finally:
        supervision.stop()


def test_stacks_name_threads_and_functions() -> None:
    """What every thread does, this one included."""
    (own,) = [stack for name, stack in stacks().items() if name.startswith("MainThread")]

    assert any("test_stacks_name_threads_and_functions" in line for line in own)


def test_a_profile_says_where_time_goes() -> None:
    """A thread that is busy in a function is seen there; who looks isn't seen."""
    ended, begun = threading.Event(), threading.Event()

    def busily() -> None:
        while not ended.is_set():
            begun.set()
            sum(range(100))

    thread = threading.Thread(target=busily, name="busy")
    thread.start()
    assert begun.wait(30)
    try:
        counts = sampled(0.05, CancelToken())
    finally:
        ended.set()
        thread.join()

    assert any("busy;" in stack and "busily" in stack for stack in counts)
    assert not any("sampled" in stack for stack in counts)


def grant_of(request: Any) -> Grant | None:
    """By a header."""
    token = request.headers.get("authorization")
    if token == "wrong":  # noqa: S105  a word
        raise Unauthenticated("wrong")
    return {"admin": EVERYTHING, "shop": Grant("shop")}.get(token)


WRONG = ("0", "-1", "nan", "61", "x")


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("127.0.0.1", {"Host": "127.0.0.1:7380"}, 200),
        ("127.0.0.1", {"Host": "[::1]"}, 200),
        ("127.0.0.1", {"Host": "pages.example"}, 403),
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1", "Authorization": "admin"}, 200),
        ("192.0.2.1", {}, 403),
        ("192.0.2.1", {"Authorization": "shop"}, 403),
        ("192.0.2.1", {"Authorization": "wrong"}, 403),
        ("192.0.2.1", {"Authorization": "admin"}, 200),
        ("no address", {}, 403),
    ],
)
def test_debugging_is_for_admins_and_this_machine(
    client: str, headers: dict[str, str], status: int
) -> None:
    """Not for who is passed on by a proxy of this machine, nor for other tokens."""
    asked = ["stacks", "profile?seconds=0.01", *(f"profile?seconds={each}" for each in WRONG)]
    transport = httpx.ASGITransport(Starlette(routes=debug_routes(grant_of)), client=(client, 1))

    async def ask() -> list[int]:
        here = "http://localhost/debug"
        async with httpx.AsyncClient(transport=transport, base_url=here) as asking:
            return [(await asking.get(each, headers=headers)).status_code for each in asked]

    wrong = 400 if status == 200 else status
    assert asyncio.run(ask()) == [status, status, *[wrong] * len(WRONG)]


def test_uncaught_exceptions_are_logged(stream: io.StringIO) -> None:
    """Whichever thread they end."""
    before = sys.excepthook, threading.excepthook
    try:
        logs.log_uncaught()
        thread = threading.Thread(target=lambda: 1 // 0, name="odd")
        thread.start()
        thread.join()
        sys.excepthook(ValueError, ValueError("main"), None)
    finally:
        sys.excepthook, threading.excepthook = before

    in_thread, in_main = lines(stream)
    assert in_thread["thread"] == "odd"
    assert "ZeroDivisionError" in in_thread["exception"]
    assert "ValueError: main" in in_main["exception"]
