"""Requests whose update wrote nothing: the process remembers what they were answered."""

from __future__ import annotations

import asyncio
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import cairndb
from asking import Client, Counter, StrangeError
from cairndb import requests
from cairndb.errors import ConstraintError, LockTimeout, OutcomeUnknown, SessionExpired
from cairndb.requests import RequestId
from cairndb.server.running import Runner
from cairndb.service import Answer, Conflict, Request, Service
from cairndb.service_access import EVERYTHING
from cairndb.watch_items import Start
from serving import value
from threads import LIMIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "counter.cairn"


@pytest.fixture
def client(path: Path) -> Iterator[Client]:
    """A client of a new database."""
    with cairndb.open(path, Counter) as db:
        yield Client(Service(db, Counter))


def test_what_had_no_effect_is_not_done_later(client: Client) -> None:
    """Nothing is written of it; and a first try that is late gets the answer that there was."""
    lsn = client.service.database.lsn
    assert client.ask(0, "add_if_open", 5) is False
    with pytest.raises(KeyError):
        client.ask(1, "add_or_raise", 5)
    assert client.service.database.lsn == lsn
    with client.service.database.update() as root:
        root.open = True

    assert client.ask(0, "add_if_open", 5) is False
    with pytest.raises(KeyError):
        client.ask(1, "add_or_raise", 5)
    assert client.total == 0

    # The client says that it has these: there is nothing to tell any more.
    client.ask(2, "add_if_open", 0, first=2)
    for sequence, target in enumerate(("add_if_open", "add_or_raise")):
        with pytest.raises(OutcomeUnknown):
            client.ask(sequence, target, 5)
    assert client.total == 0


def test_all_services_of_a_database_remember_the_same(client: Client) -> None:
    """By whatever protocol a request comes, it is the same request."""
    db = client.service.database
    assert client.ask(0, "add_if_open", 5) is False
    with db.update() as root:
        root.open = True
    other = Client(Service(db, Counter), client.session)
    assert other.ask(0, "add_if_open", 5) is False
    assert other.total == 0


def test_what_had_no_effect_is_new_to_another_process(client: Client, path: Path) -> None:
    """Nobody can have had an answer who asks for it again there."""
    assert client.ask(0, "add_if_open", 5) is False
    client.service.database.close()
    with cairndb.open(path, Counter) as db:
        with db.update() as root:
            root.open = True
        later = Client(Service(db, Counter), client.session)
        assert later.ask(0, "add_if_open", 5) is True
        assert later.ask(0, "add_if_open", 5) is True
        assert later.total == 5


def test_a_rule_that_rejects_is_an_answer(client: Client) -> None:
    """As is whatever else the end of the update raises."""
    for _ in range(2):
        with pytest.raises(ConstraintError):
            client.ask(0, "limited")
    with client.service.database.update() as root:
        root.total = 3
    with pytest.raises(Conflict):
        client.ask(1, "add", 1, expected=Start(1, None))
    with pytest.raises(Conflict):
        client.ask(1, "add", 1)


def test_an_exception_is_kept_without_what_hangs_on_it(client: Client) -> None:
    """Told again it has no frames of the first try; if it is odd or long, it is its text."""
    with pytest.raises(KeyError) as first:
        client.ask(0, "add_or_raise", 5)
    with pytest.raises(KeyError) as again:
        client.ask(0, "add_or_raise", 5)
    assert again.value.args == first.value.args == (5,)
    frames = [frame.name for frame in traceback.extract_tb(again.value.__traceback__)]
    assert "add_or_raise" not in frames

    for sequence, length in ((1, 3), (2, 10_000)):
        with pytest.raises(StrangeError):
            client.ask(sequence, "strange", length)
        with pytest.raises(cairndb.CairnError, match="StrangeError: 0xxx") as told:
            client.ask(sequence, "strange", length)
        assert len(str(told.value)) < 3000


def test_forgetting_what_had_no_effect(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of the process is bounded as the table is, and refuses what it has dropped."""
    monkeypatch.setattr(requests, "SESSIONS_MAX", 1)
    client.ask(0, "add_if_open", 1)
    Client(client.service).ask(0, "add_if_open", 1)
    with client.service.database.update() as root:
        root.open = True
    with pytest.raises(SessionExpired):
        client.ask(0, "add_if_open", 1)
    assert client.total == 0


def test_a_lock_that_was_not_free_at_once_is_no_answer(client: Client) -> None:
    """It is for the caller to try again with more patience, as the event loop does."""
    with ThreadPoolExecutor(1) as pool, client.service.database.update():
        asked = pool.submit(client.ask, 0, "add", 5, timeout=0.0)
        with pytest.raises(LockTimeout):
            asked.result(10)
    assert client.ask(0, "add", 5) == 5


def test_what_the_event_loop_can_not_do_a_thread_does(client: Client) -> None:
    """A request that finds the lock taken is tried again there, and answered once."""
    db = client.service.database
    once = RequestId(*client.session, 0, 0)
    request = Request("run", "add", "json", b"[5]", grant=EVERYTHING, once=once)

    async def answers() -> list[Answer]:
        loop = asyncio.get_running_loop()
        runner, found = Runner(client.service.handle, loop), list[Answer]()
        both, released = asyncio.Event(), threading.Event()

        def deliver(answer: Answer) -> None:
            found.append(answer)
            if len(found) == 2:
                both.set()

        taken = threading.Event()

        def hold() -> None:
            with db.update():
                taken.set()
                released.wait(LIMIT_SECONDS)

        holding = loop.run_in_executor(None, hold)
        await asyncio.to_thread(taken.wait, LIMIT_SECONDS)
        runner.submit(request, deliver)
        runner.submit(request, deliver)
        assert found == []
        released.set()
        async with asyncio.timeout(LIMIT_SECONDS):
            await both.wait()
            await holding
        runner.close()
        return found

    assert [value(answer) for answer in asyncio.run(answers())] == [5, 5]
    assert client.total == 5
