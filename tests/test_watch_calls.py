"""Functions called with what is committed: in order, after it is durable, on their own thread."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from cairndb import watch_calls
from cairndb.errors import UsageError
from threads import Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cairndb import Change, Database


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database[dict[str, Any]]]:
    """A database without types, at LSN 1."""
    with cairndb.open(tmp_path / "x.cairn", restart_target=None) as db:
        yield db


def put(db: Database[dict[str, Any]], number: int) -> None:
    """One update."""
    with db.update() as root:
        root["n"] = number


def test_a_function_gets_every_item_in_order(db: Database[dict[str, Any]]) -> None:
    """On one thread, which isn't that of the updates; what is there first, if asked for."""
    got: list[tuple[str, int, bool]] = []
    threads = set()

    def take(item: Change) -> None:
        threads.add(threading.get_ident())
        got.append((item.kind, item.lsn, item.lsn <= db.durable_lsn))

    subscription = db.on_commit("/n", take, initial=True)
    for number in range(20):
        put(db, number)
    wait_until(lambda: subscription.delivered_lsn == 21)
    assert got == [("initial", 1, True)] + [("update", lsn, True) for lsn in range(2, 22)]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_what_it_raises_is_logged_and_counted(
    db: Database[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """And the next item comes."""
    got = []

    def take(item: Change) -> None:
        got.append(item.lsn)
        if item.lsn == 2:
            raise ValueError("no")

    subscription = db.on_commit("/**", take)
    for number in range(3):
        put(db, number)
    wait_until(lambda: subscription.delivered_lsn == 4)
    assert got == [2, 3, 4]
    stats = db.stats()
    assert (stats["callbacks"], stats["callback_failures"], stats["callback_lag"]) == (1, 1, 0)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("cairndb", logging.ERROR)
    assert "on_commit failed at LSN 2" in record.message


def test_it_may_update_the_database(db: Database[dict[str, Any]]) -> None:
    """Derived state in the same database, from a pattern that it doesn't match itself."""

    def take(item: Change) -> None:
        with db.update() as root:
            root["double"] = 2 * item.changes[0].after

    subscription = db.on_commit("/n", take)
    put(db, 1)
    put(db, 2)
    wait_until(lambda: subscription.delivered_lsn == db.lsn == 5)
    with db.view() as root:
        assert root["double"] == 4


def test_a_slow_one_delays_nobody(db: Database[dict[str, Any]]) -> None:
    """Updates go on while it works; it lags, and is told of all of them."""
    go_on, got = threading.Event(), []

    def take(item: Change) -> None:
        go_on.wait()
        got.append(item.lsn)

    subscription = db.on_commit("/n", take)
    for number in range(50):
        put(db, number)
    assert db.stats()["callback_lag"] == 50
    go_on.set()
    wait_until(lambda: subscription.delivered_lsn == 51)
    assert got == list(range(2, 52))


def test_stopped_it_gets_no_more(db: Database[dict[str, Any]]) -> None:
    """Also by itself; and nothing is left of it."""
    got = []

    def take(item: Change) -> None:
        got.append(item.lsn)
        subscription.stop()

    subscription = db.on_commit("/n", take)
    other = db.on_commit("/n", lambda item: got.append(item.lsn))
    other.stop()
    put(db, 1)
    wait_until(lambda: got)
    put(db, 2)
    assert got == [2]
    wait_until(lambda: db.stats()["watches"] == 0)


def test_close_delivers_what_is_durable(tmp_path: Path) -> None:
    """Then the function's thread ends."""
    got = []
    with cairndb.open(tmp_path / "x.cairn") as db:
        db.on_commit("/n", lambda item: got.append(item.lsn))
        with db.update(durable=False) as root:
            root["n"] = 1
    assert got == [2]
    assert not [t for t in threading.enumerate() if t.name == "cairndb on_commit"]


def test_close_doesnt_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that hangs is left behind, with a warning; its own updates are refused then."""
    monkeypatch.setattr(watch_calls, "CLOSE_SECONDS", 0.01)
    go_on = threading.Event()
    errors: list[UsageError] = []

    def take(_item: Change) -> None:
        go_on.wait()
        try:
            put(database, 2)
        except UsageError as error:
            errors.append(error)

    database = cairndb.open(tmp_path / "x.cairn")
    database.on_commit("/n", take)
    put(database, 1)
    database.close()
    assert "has got to LSN 1 of 2" in caplog.text
    go_on.set()
    wait_until(lambda: errors)


def test_a_function_may_close_the_database(tmp_path: Path) -> None:
    """It isn't waited for by itself."""
    db = cairndb.open(tmp_path / "x.cairn")
    closed = threading.Event()

    def take(_item: Change) -> None:
        db.close()
        closed.set()

    db.on_commit("/n", take)
    Aside(lambda: put(db, 1)).result()
    wait_until(closed.is_set)
    with pytest.raises(UsageError, match="closed"), db.view():
        pass


def test_a_reader_calls_functions_too(db: Database[dict[str, Any]], tmp_path: Path) -> None:
    """With what its owner writes, as it finds it in the log."""
    got = []
    with cairndb.open(tmp_path / "x.cairn", read_only=True) as reader:
        reader.on_commit("/n", lambda item: got.append(item.lsn))
        put(db, 1)
        wait_until(lambda: got)
    assert got == [2]
