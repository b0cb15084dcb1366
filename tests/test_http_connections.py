"""Connections that break, dawdle or make no sense: the server goes on, and nothing is half done."""

from __future__ import annotations

import re
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cairndb
from cairndb.server.http import HttpLimits
from serving import Bank, opened
from serving_http import Listening, problem
from threads import LIMIT_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cairndb import Database

ADD_NOTE = (
    b"POST /run/add_note HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    b'Content-Length: 7\r\n\r\n["one"]'
)
TOTAL = b"POST /run/total HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database[Bank]]:
    """A bank."""
    with opened(tmp_path_factory.mktemp("bank")) as database:
        yield database


@pytest.fixture(scope="module")
def listening(db: Database[Bank]) -> Iterator[Listening]:
    """It is served."""
    limits = HttpLimits(body_seconds=0.1, body_bytes=1000)
    with Listening(cairndb.asgi(db, limits=limits)) as server:
        yield server


@contextmanager
def connected(listening: Listening) -> Iterator[socket.socket]:
    """A connection."""
    host, _, port = listening.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), LIMIT_SECONDS) as connection:
        yield connection


def received(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    found = b""
    while True:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            return found
        if not piece:
            return found
        found += piece


def notes(db: Database[Bank]) -> int:
    """How many there are."""
    with db.view() as bank:
        return len(bank.notes)


def test_a_request_that_breaks_off_is_nothing(listening: Listening, db: Database[Bank]) -> None:
    """Wherever it does; whoever comes next is served."""
    before = notes(db)
    for length in (*range(1, 40, 7), len(ADD_NOTE) - 7, len(ADD_NOTE) - 1):
        with connected(listening) as connection:
            connection.sendall(ADD_NOTE[:length])
    assert httpx.post(f"{listening.url}/run/total").json() == 100
    assert notes(db) == before


def test_a_body_that_dawdles_ends_its_connection(listening: Listening) -> None:
    """408, and then it is closed."""
    with connected(listening) as connection:
        connection.sendall(ADD_NOTE[:-1])
        found = received(connection)
    assert found.startswith(b"HTTP/1.1 408 ")
    assert b"body-too-slow" in found


def test_a_body_that_is_announced_too_large_isnt_waited_for(listening: Listening) -> None:
    """413 at once, and then it is closed."""
    with connected(listening) as connection:
        connection.sendall(ADD_NOTE.replace(b"Length: 7", b"Length: 7000"))
        found = received(connection)
    assert found.startswith(b"HTTP/1.1 413 ")


def test_requests_one_after_the_other_are_answered_in_order(listening: Listening) -> None:
    """Sent at once, on one connection."""
    with connected(listening) as connection:
        closing = TOTAL.replace(b"Host", b"Connection: close\r\nHost")
        connection.sendall(TOTAL + ADD_NOTE.replace(b"add_note", b"nothing_") + closing)
        found = received(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", found) == [b"200", b"404", b"200"]


def test_who_leaves_while_a_lock_is_waited_for_has_begun_something(
    listening: Listening, db: Database[Bank]
) -> None:
    """The update is made when the lock is to be had, though nobody waits for it any more."""
    before = notes(db)
    with db.update() as bank:
        with connected(listening) as connection:
            connection.sendall(ADD_NOTE)
            wait_until(lambda: bool(db._engine.lock._update_queue))
        assert len(bank.notes) == before
    wait_until(lambda: notes(db) == before + 1)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.integers(0, len(ADD_NOTE)))
def test_garbage_is_refused(listening: Listening, garbage: bytes, place: int) -> None:
    """Any bytes, alone or in the middle of a request: no answer is the server's fault."""
    with connected(listening) as connection:
        connection.sendall(ADD_NOTE[:place] + garbage)
        connection.shutdown(socket.SHUT_WR)
        found = received(connection)
    assert b"HTTP/1.1 5" not in found


def test_it_is_served_still(listening: Listening) -> None:
    """After all of that."""
    assert problem(httpx.get(f"{listening.url}/nowhere")) == (404, "not-found")
    assert httpx.post(f"{listening.url}/run/total").json() == 100
