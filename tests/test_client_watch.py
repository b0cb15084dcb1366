"""Watches of a database that another process owns: each change once, whatever happens."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest

import cairndb
import serving
from cairndb.cancellation import CancelToken
from cairndb.client import connect
from cairndb.errors import Cancelled, Unavailable, UsageError
from remote import Cut, Served, Wire
from remote_root import Tally, client_of, served
from serving import Bank
from threads import LIMIT_SECONDS, Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A tally that is served."""
    with served(tmp_path) as found:
        yield found


def count(server: Served, name: str) -> None:
    """Count a name, without a network."""
    server.service.database.run(Tally.count, name)


def test_items_are_those_of_a_watch_beside_it(tmp_path: Path) -> None:
    """Kind, position, time, paths and values are as in the owner's process."""
    with serving.opened(tmp_path) as db, Served(db, Bank) as server, connect(server.url) as client:
        with client.watch("/accounts/*", initial=True) as watch, db.watch("/accounts/*") as own:
            first = next(watch)
            assert (first.kind, first.lsn) == ("initial", db.lsn)
            assert {change.pointer for change in first.changes} == {
                "/accounts/alice",
                "/accounts/bob",
            }
            db.run(Bank.transfer, "alice", "bob", 5)
            item, theirs = next(watch), next(own)
            assert (item.kind, item.lsn, item.position) == ("update", db.lsn, theirs.position)
            assert item.time == theirs.time
            alice = item.changes[0]
            assert (alice.path, alice.kind) == (("accounts", "alice"), "changed")
            assert alice.before == {"owner": "Alice", "balance": 100, "tags": []}
            assert alice.after == {"owner": "Alice", "balance": 95, "tags": []}
            assert watch.position == item.position
        with client.watch(since=first.position, timeout=LIMIT_SECONDS) as again:
            assert next(again).lsn == item.lsn


def test_now_is_when_it_begins(server: Served) -> None:
    """A watch begins when it is made, also if its connection is lost before the first item."""
    count(server, "before")
    with (
        Wire(server.port) as wire,
        client_of(wire.url) as client,
        client.watch("/counts/*") as watch,
    ):
        for number in range(5):
            connection = watch._connection
            assert connection is not None
            connection._stream.shutdown(socket.SHUT_RDWR)
            count(server, f"{number}")
            item = next(watch)
            assert [change.pointer for change in item.changes] == [f"/counts/{number}"]
        assert wire.made == 6


def test_each_change_comes_once_wherever_the_connection_is_cut(server: Served) -> None:
    """Cut at any byte of what comes, a watch goes on after its last item."""
    names = [f"name {number}" for number in range(60)]
    cuts = [Cut(replies=place) for place in range(0, 2000, 37)]
    with Wire(server.port, *cuts) as wire, client_of(wire.url) as client:
        with client.watch("/counts/*", since=server.service.database.lsn) as watch:
            for name in names:
                count(server, name)
            found = [next(watch).changes[0].pointer for _ in names]
        assert found == [f"/counts/{name}" for name in names]
        assert wire.made > 10


def test_it_ends_without_items(server: Served) -> None:
    """An iteration ends after its timeout; `poll` doesn't wait; both can go on later."""
    with client_of(server.url) as client, client.watch("/counts/*", timeout=0.05) as watch:
        assert list(watch) == []
        assert watch.poll() is None
        count(server, "x")
        found: list[int] = []
        while not found:  # on a busy machine it takes longer to come
            found = [item.lsn for item in watch]
        assert found == [server.service.database.lsn]


def test_it_is_closed_and_cancelled_while_it_waits(server: Served) -> None:
    """Another thread ends a wait: closed, the iteration ends; cancelled, it raises."""
    token = CancelToken()
    with client_of(server.url) as client:
        closed, cancelled = client.watch(), client.within(cancel=token).watch()
        first, second = Aside(lambda: list(closed)), Aside(lambda: list(cancelled))
        closed.close()
        assert first.result() == []
        token.cancel("enough")
        with pytest.raises(Cancelled, match="enough"):
            second.result()
        cancelled.close()
        wait_until(lambda: not server.resp.connections)


def test_it_is_closed_at_any_moment(server: Served) -> None:
    """Closed by another thread while items come, the iteration ends, and nothing stays open."""
    with client_of(server.url) as client:
        for _ in range(30):
            watch = client.watch("/counts/*")
            reading = Aside(partial(list[cairndb.Change], watch))
            count(server, "x")
            closing = Aside(watch.close)
            watch.close()
            closing.result()
            assert len(reading.result()) <= 1
            assert watch._connection is None
        wait_until(lambda: not server.resp.connections)


def test_a_forgotten_watch_says_so(server: Served) -> None:
    """A watch that nobody closes warns, as files do, and its connection is closed."""
    with client_of(server.url) as client:
        watch = client.watch("/counts/*")
        with pytest.warns(ResourceWarning, match="unclosed watch"):
            del watch
        wait_until(lambda: not server.resp.connections)


def test_it_lives_through_a_restart(tmp_path: Path) -> None:
    """The owner ends, changes come by another one, and the watch goes on."""
    path = str(tmp_path / "socket")
    with client_of(f"cairn+unix://{path}") as client:
        with served(tmp_path, path=path) as first:
            watch = client.watch("/counts/*")
            count(first, "x")
            assert next(watch).changes[0].pointer == "/counts/x"
        with served(tmp_path, path=path) as second:
            count(second, "y")
            assert next(watch).changes[0].pointer == "/counts/y"
            watch.close()


def test_what_the_server_refuses(server: Served) -> None:
    """A pattern that means nothing there, and a position that isn't there, are refused."""
    with client_of(server.url) as client:
        with pytest.raises(UsageError, match="no_such_field"):
            client.watch("/no_such_field/*")
        with pytest.raises(UsageError):
            next(client.watch(since=10**9))
        with pytest.raises(UsageError, match="since="):
            client.watch(since="1", initial=True)
        with pytest.raises(UsageError, match="isn't a position"):
            client.watch(since="yesterday")


def test_nobody_is_there(tmp_path: Path) -> None:
    """Without a server a watch isn't begun, within the timeout of a call."""
    with (
        client_of(f"cairn+unix://{tmp_path}/none", timeout=0.05) as client,
        pytest.raises(Unavailable, match="watching"),
    ):
        client.watch()
