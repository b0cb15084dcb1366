"""Updates that are executed at most once for a request, however often it is asked."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import TYPE_CHECKING

import msgspec
import pytest

import cairndb
from asking import Client, Counter
from cairndb import requests, restoring, rewinding
from cairndb.errors import (
    LockTimeout,
    OutcomeUnknown,
    ResultLost,
    SessionExpired,
    UsageError,
)
from cairndb.files import RealDirectory
from cairndb.requests import Once, RequestId
from cairndb.service import Request, Service
from cairndb.service_access import EVERYTHING
from cairndb.transaction import Update
from cairndb.transaction_async import AsyncUpdate
from cairndb.watch_items import Start
from serving import value

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


def test_a_repeated_request_gets_the_first_answer(client: Client) -> None:
    """And nothing is done; whatever its arguments are by now, in whatever form it asks."""
    assert client.ask(0, "add", 5) == 5
    assert client.ask(1, "add", 1) == 6
    lsn = client.service.database.lsn

    assert client.ask(0, "add", 5) == 5
    assert client.ask(1, "add", 7) == 6
    once = RequestId(*client.session, 0, 0)
    as_json = Request("run", "add", "json", b"[5]", once=once, grant=EVERYTHING)
    answer = client.service.handle(as_json)
    assert value(answer) == 5
    assert (answer.position or Start(0, None)).lsn == client.service.database.lsn == lsn
    assert client.total == 6


def test_an_answer_survives_with_what_it_answers(client: Client, path: Path) -> None:
    """Over closing, checkpoints and the log after them: they are a part of the state."""
    assert client.ask(0, "add", 5) == 5
    client.service.database.close()
    for sequence in (1, 2):
        with cairndb.open(path, Counter) as db:
            later = Client(Service(db, Counter), client.session)
            assert later.ask(sequence, "add", 1) == 5 + sequence
            db.checkpoint()
            assert later.ask(0, "add", 5) == 5
    with cairndb.open(path, Counter) as db:
        later = Client(Service(db, Counter), client.session)
        assert [later.ask(sequence, "add", 9) for sequence in (0, 1, 2)] == [5, 6, 7]
        assert later.total == 7


def test_an_answer_survives_a_change_of_the_schema(client: Client, path: Path) -> None:
    """A migration puts another state in the place of this one, and keeps what was answered."""

    class Counter2(Counter):
        name: str = "new"

    assert client.ask(0, "add", 5) == 5
    client.service.database.close()
    for _ in range(2):
        with cairndb.open(path, Counter2) as db:
            later = Client(Service(db, Counter2), client.session)
            assert later.ask(0, "add", 5) == 5
            assert later.total == 5


def test_a_rewind_takes_back_what_was_done_and_no_answer(client: Client, path: Path) -> None:
    """Whoever asks again what a rewind has undone is told what came of it; it isn't done again."""
    db = client.service.database
    lsn = db.lsn
    assert client.ask(0, "add", 5) == 5
    db.close()
    with closing(RealDirectory(str(path))) as directory:
        rewinding.rewind(directory, lsn, lambda _: None)

    with cairndb.open(path, Counter) as again:
        later = Client(Service(again, Counter), client.session)
        assert later.total == 0
        assert later.ask(0, "add", 5) == 5
        assert later.total == 0
        assert later.ask(1, "add", 2) == 2


def test_a_restored_copy_knows_what_its_state_knows(client: Client, path: Path) -> None:
    """What was asked for after the copy was made is new to it, as its effect would be."""
    assert client.ask(0, "add", 5) == 5
    copy = str(path) + ".copy"
    with closing(RealDirectory(str(path))) as directory:
        restoring.restore(directory, copy, None, lambda _: None)
    assert client.ask(1, "add", 1) == 6
    younger = client.service.session()
    with cairndb.open(copy, Counter) as db:
        service = Service(db, Counter)
        with pytest.raises(SessionExpired):
            Client(service, younger).ask(0, "add", 5)
        later = Client(service, client.session)
        assert later.ask(0, "add", 5) == 5
        assert later.ask(1, "add", 1) == 6
        assert later.total == 6


def test_a_result_that_is_too_long(client: Client) -> None:
    """It is returned, and then it is known only that the request was executed."""
    long = requests.RESULT_BYTES_MAX
    assert len(client.ask(0, "text", long)) == long
    assert len(client.ask(1, "text", 10)) == 10
    with pytest.raises(ResultLost):
        client.ask(0, "text", long)
    assert len(client.ask(1, "text", 10)) == 10
    assert client.total == 2


def test_a_result_that_can_not_be_told_again(client: Client) -> None:
    """It is refused before anything has happened."""
    with pytest.raises(UsageError, match="odd returns what can't be kept"):
        client.ask(0, "odd")
    assert client.total == 0


def test_what_was_forgotten_is_never_done_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where a session has had too many answers, nor where there were too many sessions."""
    monkeypatch.setattr(requests, "RESULTS_MAX", 2)
    monkeypatch.setattr(requests, "SESSIONS_MAX", 2)
    for sequence in range(4):
        client.ask(sequence, "add", 1)
    for sequence in range(2):
        with pytest.raises(OutcomeUnknown, match="read what is there"):
            client.ask(sequence, "add", 1)

    unused = Client(client.service)
    for _ in range(2):
        Client(client.service).ask(0, "add", 1)
    for sequence in range(5):
        with pytest.raises(SessionExpired, match="begin a new one"):
            client.ask(sequence, "add", 1)
    assert unused.ask(0, "add", 1) == 7
    assert Client(client.service).ask(0, "add", 1) == 8


def test_numbers_of_no_request(client: Client) -> None:
    """They are refused, and so is a session that this database can't have given."""
    with pytest.raises(UsageError, match="first_incomplete"):
        client.ask(1, "add", 1, first=2)
    ahead = Client(client.service, (client.service.database.lsn + 1, 1))
    with pytest.raises(SessionExpired):
        ahead.ask(0, "add", 1)


def test_tries_at_the_same_time(client: Client) -> None:
    """Of many threads with the same request one executes it, and all get its answer."""
    together = Barrier(8)

    def ask(number: int) -> tuple[int, int]:
        together.wait(10)
        shared: int = client.ask(0, "add", 5)
        own: int = client.ask(number, "add", 1)
        return shared, own

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(1, 9)))
    assert {shared for shared, _ in found} == {5}
    assert sorted(own for _, own in found) == list(range(6, 14))
    assert client.total == 13


def test_a_try_does_not_wait_for_another_that_runs(client: Client) -> None:
    """Unless it may; what it is told then isn't the answer."""
    answers = client.service.answers
    once = RequestId(*client.session, 0, 0)
    answers.begin(once, None)
    with pytest.raises(LockTimeout, match="still running"):
        client.ask(0, "add", 5, timeout=0.0)
    answers.end(once)
    assert client.ask(0, "add", 5) == 5


def test_an_update_answers_a_request_of_its_own(client: Client) -> None:
    """The core refuses to write down a second answer, whoever forgot to look."""

    def update() -> None:
        once = Once(RequestId(*client.session, 0, 0), msgspec.msgpack.encode(1))
        with Update[Counter](client.service.engine, None, durable=True, _once=once) as root:
            root.total += 1

    update()
    with pytest.raises(ValueError, match="answered"):
        update()
    assert client.total == 1
    assert client.ask(0, "add", 1) == 1


def test_an_update_of_a_task_answers_a_request(client: Client) -> None:
    """As that of a thread does."""

    async def answered() -> None:
        once = Once(RequestId(*client.session, 0, 0))
        update = AsyncUpdate[Counter](client.service.engine, None, durable=True, _once=once)
        async with update as root:
            root.total += 3
            once.result = msgspec.msgpack.encode("three")

    asyncio.run(answered())
    assert client.ask(0, "add", 3) == "three"
    assert client.total == 3
