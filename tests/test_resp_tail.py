"""CAIRN.TAIL: what the server makes of it, and what it costs the owner."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import serving
from cairndb.client import dialling
from cairndb.client_connection import Connection, Lost, Refused
from cairndb.client_waiting import Wait
from cairndb.service_access import Grant
from cairndb.wire_tail import Entries, Heartbeat, Owner, decode_item
from remote import Served
from serving import Bank
from threads import LIMIT_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cairndb.wire_tail import Item


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A bank that is served."""
    with serving.opened(tmp_path) as db, Served(db, Bank) as found:
        yield found


@contextmanager
def connected(server: Served, token: str | None = None) -> Iterator[Connection]:
    """A connection that is nobody's else."""
    connection = dialling(server.url, token, None)(Wait(LIMIT_SECONDS))
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: Connection, *words: str) -> Any:
    """The reply to a command."""
    return connection.ask(words, Wait(LIMIT_SECONDS))


def item(connection: Connection) -> Item:
    """The next item of the stream."""
    name, data = connection.message(Wait(LIMIT_SECONDS))
    assert name == b"cairn.tail"
    return decode_item(data)


def test_a_stream_begins_with_what_there_is_and_goes_on(server: Served) -> None:
    """From nothing, from a position, and with a heartbeat where nothing happens."""
    with connected(server) as one, connected(server) as other:
        assert ask(one, "CAIRN.TAIL") == b"OK"
        names = [type(item(one)).__name__ for _ in range(4)]
        assert names == ["Owner", "Begin", "Loaded", "Entries"]
        lsn, running = server.service.engine.position
        assert ask(other, "CAIRN.TAIL", f"{lsn}-{running:08x}") == b"OK"
        assert isinstance(item(other), Owner)
        server.service.database.run(Bank.transfer, "alice", "bob", 1)
        found = item(one), item(other)
        assert found[0] == found[1]
        assert isinstance(found[0], Entries)
        assert (found[0].before_lsn, found[0].count) == (lsn, 1)
        assert item(one) == Heartbeat(lsn + 1)


def test_what_cannot_be_streamed_is_refused(tmp_path: Path) -> None:
    """Nobody who isn't known, no two streams at once, no version 2, nothing that is no position."""
    with (
        serving.opened(tmp_path) as db,
        Served(db, Bank, authenticate={"secret": Grant("reader")}.get) as server,
        connected(server, "secret") as connection,
    ):
        with pytest.raises(Refused, match="NOAUTH"), connected(server):
            pass
        for words, reason in (
            (["yesterday"], "isn't a position"),
            (["5", "mine"], "isn't the UUID"),
            (["5", "x", "y"], "wrong number of arguments"),
        ):
            with pytest.raises(Refused, match=reason):
                ask(connection, "CAIRN.TAIL", *words)
        assert ask(connection, "CAIRN.TAIL", "") == b"OK"
        with pytest.raises(Refused, match="a stream on this connection already"):
            ask(connection, "CAIRN.TAIL")
        assert ask(connection, "RESET") == b"RESET"
        assert ask(connection, "AUTH", "secret") == b"OK"
        with pytest.raises(Refused, match="HELLO 3"):
            ask(connection, "CAIRN.TAIL")


def test_commands_are_answered_beside_a_stream(server: Served) -> None:
    """A connection with a stream takes other commands as well."""
    with connected(server) as connection:
        ask(connection, "CAIRN.TAIL")
        assert ask(connection, "FCALL", "transfer", "0", "alice", "bob", "5") == 95
        seen: list[Item] = []
        while not (seen and isinstance(seen[-1], Entries)):
            seen.append(item(connection))


def test_who_takes_nothing_holds_nobody_up(server: Served) -> None:
    """A replica that doesn't read costs a bounded buffer; updates and other replicas go on."""
    db = server.service.database
    with connected(server) as stuck, connected(server) as other:
        ask(stuck, "CAIRN.TAIL")
        ask(other, "CAIRN.TAIL")
        count = 200
        for _ in range(count):
            db.run(Bank.add_note, "n" * 50_000)
        found = 0
        while found < count + 2:
            each = item(other)
            found += each.count if isinstance(each, Entries) else 0
        held = [each.output_bytes for each in server.resp.connections.values()]
        assert max(held) < 50_000 * count / 10
    wait_until(lambda: not server.resp.connections)
    wait_until(lambda: db._hub.watched() == 0)


def test_an_owner_that_ends_ends_the_streams(tmp_path: Path) -> None:
    """A closed database has nothing more to say; the connection is closed, not left in silence."""
    db = serving.opened(tmp_path)
    with Served(db, Bank) as server, connected(server) as connection:
        ask(connection, "CAIRN.TAIL")
        for _ in range(4):
            item(connection)
        db.close()
        with pytest.raises(Lost, match="closed the connection"):
            all(item(connection) for _ in range(100))


@pytest.mark.slow
def test_streams_that_come_and_go_leave_nothing(server: Served) -> None:
    """Connections that are closed at any moment leave no watch of the log and no file behind."""
    db = server.service.database
    stopping = threading.Event()

    def write() -> None:
        while not stopping.is_set():
            db.run(Bank.transfer, "alice", "bob", 1)
            db.run(Bank.transfer, "bob", "alice", 1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(60):
            with connected(server) as connection:
                ask(connection, "CAIRN.TAIL", *(["3"] if number % 2 else []))
                for _ in range(number % 5):
                    item(connection)
    finally:
        stopping.set()
        thread.join()
    wait_until(lambda: not server.resp.connections)
    wait_until(lambda: db._hub.watched() == 0)
    assert not db._hub._listeners
