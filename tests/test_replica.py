"""Replicas of a served database, over the loopback: reading, running, and being cut off."""

from __future__ import annotations

import contextlib
import threading
from datetime import date  # noqa: TC003  msgspec resolves it at run time
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
import serving
from cairndb.cancellation import CancelToken
from cairndb.client import dialling, target_of
from cairndb.client_calls import Limits
from cairndb.errors import (
    Compacted,
    ReadOnlyError,
    ReplicaBehind,
    SchemaError,
    Unavailable,
    UsageError,
)
from cairndb.replicas import Replica, replica
from cairndb.replicas_engine import Copy
from cairndb.replicas_following import Following
from cairndb.schema import compile_root
from cairndb.service_access import Grant, Unauthenticated
from forking import in_child
from remote import Cut, Served, Wire
from remote_root import Unpaused
from serving import Account, Bank, InsufficientFunds
from tasks import BACKENDS, run
from threads import Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A bank that is served."""
    with serving.opened(tmp_path) as db, Served(db, Bank) as found:
        yield found


@contextlib.contextmanager
def impatient(
    url: str, root: Any = Bank, silence_seconds: float = 5.0, timeout: float = 30.0
) -> Iterator[Replica[Any]]:
    """A replica that doesn't pause between its tries."""
    dial = dialling(url, None, None)
    copy = Copy(compile_root(root, guard=True), url)
    following = Following(copy, dial, None, silence_seconds=silence_seconds, pauses=Unpaused)
    target = target_of(url, root, dial, 4)
    made: Replica[Any] = Replica(copy, following, target, Limits(timeout))
    made.start(30.0)
    with made:
        yield made


def test_what_was_run_is_seen(server: Served) -> None:
    """A query runs here, an update at the owner, and is here when it returns, a failed one too."""
    with replica(server.url, Bank) as copy:
        assert copy.lsn == 2
        assert copy.run(Bank.total) == 100
        assert copy.run(Bank.transfer, "alice", "bob", 30) == 70
        with copy.view() as bank:
            assert (bank.accounts["alice"].balance, bank.accounts["bob"].balance) == (70, 30)
        with pytest.raises(InsufficientFunds):
            copy.run(Bank.transfer, "alice", "bob", 1000)
        assert copy.run(Bank.holders, owner="Bob") == {"bob": Account("Bob", 30)}
        assert copy.lsn == 3
        assert copy.position == serving_position(server)
        assert copy.lag.lsns == 0
        assert copy.lag.seconds < 30
        assert copy.problem is None
        stats = copy.stats()
        assert (stats["lsn"], stats["connections"], stats["resyncs"]) == (3, 1, 0)
        assert repr(copy).endswith(", at LSN 3>")


def serving_position(server: Served) -> str:
    """Where the owner is."""
    lsn, running = server.service.engine.position
    return f"{lsn}-{running:08x}"


def test_nobody_writes_to_a_replica(server: Served) -> None:
    """What is shown refuses to be changed, and there is no update but at the owner."""
    with replica(server.url, Bank) as copy:
        with copy.view() as bank, pytest.raises(ReadOnlyError):
            bank.accounts["alice"].balance = 0
        with pytest.raises(ReadOnlyError, match=r"replica\.run"):
            copy._engine.check_writable()
        with pytest.raises(UsageError, match="isn't marked"):
            copy.run(len)  # type: ignore[call-overload]


def test_limits_of_calls(server: Served) -> None:
    """A call that is over before it was sent did nothing; `timeout` and `cancel` may be given."""
    token = CancelToken()
    token.cancel("no more")
    with replica(server.url, Bank) as copy:
        assert copy.within(timeout=20.0).run(Bank.transfer, "alice", "bob", 1) == 99
        assert copy.run(Bank.holders)["bob"].balance == 1
        with pytest.raises(cairndb.Cancelled):
            copy.within(cancel=token).run(Bank.transfer, "alice", "bob", 1)
        with pytest.raises(cairndb.Cancelled):
            copy.run(Bank.total, cancel=token)
        assert copy.within(cancel=CancelToken()).run(Bank.total) == 100
        assert copy.run(Bank.transfer, "alice", "bob", 1, timeout=20.0, cancel=CancelToken()) == 98
        assert copy.run(Bank.total, timeout=20.0) == 100


def test_the_first_state_is_a_checkpoint_and_what_follows(tmp_path: Path) -> None:
    """It comes in pieces, whose bytes are told; what happens meanwhile comes after it."""
    told: list[tuple[int, int]] = []
    with serving.opened(tmp_path) as db:
        with db.update() as bank:
            for number in range(3000):
                bank.notes.append("n" * 1000)
                bank.by_number[number] = "x" * 500
        db.checkpoint()
        db.run(Bank.transfer, "alice", "bob", 5)
        with (
            Served(db, Bank) as server,
            replica(server.url, Bank, progress=lambda *each: told.append(each)) as copy,
        ):
            assert copy.run(Bank.total) == 100
            copy.wait(db.lsn, timeout=30)
            with copy.view() as here, db.view() as there:
                assert here == there
    done, total = told[-1]
    assert len(told) > 2
    assert [each for each, _ in told] == sorted(each for each, _ in told)
    assert 0.9 * total < done <= total


def test_a_replica_begins_with_all_there_was(server: Served) -> None:
    """However many items the first state comes in, it is there when the call returns."""
    db = server.service.database
    for _ in range(50):
        db.run(Bank.add_note, "n" * 10_000)
    with replica(server.url, Bank) as copy:
        assert copy.lsn == db.lsn


@pytest.mark.parametrize("backend", BACKENDS)
def test_tasks_read_and_run(server: Served, backend: str) -> None:
    """The calls for tasks do the same."""

    async def work() -> None:
        copy = replica(server.url, Bank)
        async with copy:
            assert await copy.run_async(Bank.transfer, "alice", "bob", 30) == 70
            assert await copy.run_async(Bank.total) == 100
            async with copy.view_async() as bank:
                assert bank.accounts["bob"].balance == 30
            await copy.wait_async(copy.lsn, timeout=30)
            with pytest.raises(ReplicaBehind) as caught:
                await copy.wait_async(copy.lsn + 1, timeout=0.01)
            assert caught.value.lsn == copy.lsn + 1

    run(backend, work)


def test_watches_see_what_comes(server: Served) -> None:
    """A watch and a function that is called get each update, as at the owner."""
    seen: list[int] = []
    with replica(server.url, Bank) as copy:
        copy.on_commit("/accounts/*/balance", lambda change: seen.append(change.lsn))
        pattern, db = "/accounts/bob/balance", server.service.database
        with copy.watch(pattern) as mine, db.watch(pattern) as owners:
            for amount in (1, 2, 3):
                copy.run(Bank.transfer, "alice", "bob", amount)
            assert [mine.poll(30) for _ in range(3)] == [owners.poll(30) for _ in range(3)]
        wait_until(lambda: seen == [3, 4, 5])
        with pytest.raises(Compacted, match="no past"):
            copy.watch("/accounts/**", since=3)
        with copy.watch("/accounts/bob/balance", since=copy.position) as watch:
            copy.run(Bank.transfer, "alice", "bob", 4)
            found = watch.poll(30)
            assert found is not None
            assert [(c.before, c.after) for c in found.changes] == [(6, 10)]


def test_a_restarted_owner_is_followed(tmp_path: Path) -> None:
    """Cut off, a replica shows its last state, and says so; it goes on where it was."""
    path = str(tmp_path / "socket")
    with contextlib.ExitStack() as stack:
        with serving.opened(tmp_path) as db, Served(db, Bank, path) as server:
            copy = stack.enter_context(impatient(server.url))
            copy.run(Bank.transfer, "alice", "bob", 5)
        wait_until(lambda: copy.problem is not None)
        assert isinstance(copy.problem, Unavailable)
        assert copy.run(Bank.holders)["bob"].balance == 5
        with serving.opened(tmp_path) as db, Served(db, Bank, path):
            copy.wait(4, timeout=30)
            assert copy.run(Bank.holders) == db.run(Bank.holders)
            assert copy.run(Bank.transfer, "alice", "bob", 7) == 93
            assert copy.problem is None
            assert copy.stats()["resyncs"] == 0


def test_another_history_is_taken_as_a_whole(tmp_path: Path) -> None:
    """Where the owner has lost what a replica shows, the replica begins anew, and watches jump."""
    path = str(tmp_path / "socket")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with contextlib.ExitStack() as stack:
        with serving.opened(tmp_path / "a") as db, Served(db, Bank, path) as server:
            copy = stack.enter_context(impatient(server.url))
            for _ in range(3):
                copy.run(Bank.transfer, "alice", "bob", 5)
            watch = stack.enter_context(copy.watch("/accounts/**"))
        with serving.opened(tmp_path / "b") as db, Served(db, Bank, path):
            wait_until(lambda: copy.lsn == 2)
            assert copy.run(Bank.holders)["bob"].balance == 0
            item = watch.poll(30)
            assert item is not None
            assert (item.lsn, item.time) == (2, None)
            assert "/accounts/bob/balance" in {each.pointer for each in item.changes}
            assert copy.stats()["resyncs"] == 1


class Stranger(cairndb.Record):
    """Another schema."""

    accounts: dict[str, str] = {}


class Wider(cairndb.Record):
    """A schema in which all that a bank has can be read."""

    accounts: dict[str, Account | None] = {}
    by_number: dict[int, str | None] = {}
    holidays: set[date] = set()
    notes: list[str] = []
    distances: dict[tuple[str, str], float] = {}


def test_other_types_are_refused(server: Served) -> None:
    """A replica whose classes can't read what the owner has doesn't begin."""
    with pytest.raises(SchemaError, match="other types than this replica's"):
        replica(server.url, Stranger)
    with replica(server.url, Wider) as copy, copy.view() as root:
        assert root.accounts["alice"] == Account("Alice", 100)


def test_types_that_change_leave_the_last_state(tmp_path: Path) -> None:
    """An owner with other types is followed no more: the state stays, and whoever waits is told."""
    path = str(tmp_path / "socket")
    with contextlib.ExitStack() as stack:
        with serving.opened(tmp_path) as db, Served(db, Bank, path) as server:
            copy = stack.enter_context(impatient(server.url))
        migrations: Any = {1: lambda state: {"accounts": dict.fromkeys(state["accounts"], "x")}}
        with (
            cairndb.open(
                tmp_path / "bank.cairn", Stranger, version=2, migrations=migrations
            ) as new,
            Served(new, Stranger, path),
        ):
            wait_until(lambda: isinstance(copy.problem, SchemaError))
            assert copy.run(Bank.total) == 100
            with pytest.raises(SchemaError, match="start this process again"):
                copy.wait(100)


def test_a_token_is_needed_where_it_is(tmp_path: Path) -> None:
    """Without one, or with an unknown one, a replica doesn't begin; with one that reads it does."""
    tokens = {"secret": Grant("reader")}
    with serving.opened(tmp_path) as db, Served(db, Bank, authenticate=tokens.get) as server:
        for token in (None, "wrong"):
            with pytest.raises(Unauthenticated):
                replica(server.url, Bank, token=token)
        with replica(server.url, Bank, token=lambda: "secret") as copy:
            assert copy.run(Bank.total) == 100


def cut_streams(server: Served) -> None:
    """Have the owner's side close the connections of all replicas."""

    def cut() -> None:
        for each in list(server.resp.connections.values()):
            if each.streams:
                each.abort("a test")

    server.resp.loop.call_soon_threadsafe(cut)


def test_nobody_there() -> None:
    """Without an owner there is no state, and so no replica."""
    with Wire(1) as wire:
        pass
    with pytest.raises(Unavailable, match="no state has come"):
        replica(wire.url, Bank, start_timeout=0.05)


def test_what_has_not_come_is_told(server: Served) -> None:
    """An update that the replica doesn't get in time is durable, and `ReplicaBehind` says so."""
    # But for the first stream, nothing comes, whatever stream begins.
    rest = Cut(withholds=b"CAIRN.TAIL", stalls=True)
    with Wire(server.port, Cut(), rest=rest) as wire, impatient(wire.url, timeout=0.3) as copy:
        cut_streams(server)
        wait_until(lambda: wire.made > 1)
        with pytest.raises(ReplicaBehind, match="durable at the owner"):
            copy.run(Bank.transfer, "alice", "bob", 5)
        assert copy.run(Bank.holders)["bob"].balance == 0
        assert server.service.database.run(Bank.holders)["bob"].balance == 5


def test_silence_is_an_end(server: Served) -> None:
    """A link on which nothing comes, and nothing is closed, is given up for another."""
    stalled = Cut(replies=400, stalls=True)
    with Wire(server.port, stalled) as wire, impatient(wire.url, silence_seconds=1.5) as copy:
        copy.wait(server.service.database.lsn, timeout=30)
        server.service.database.run(Bank.transfer, "alice", "bob", 5)
        copy.wait(3, timeout=30)
        wait_until(lambda: copy.stats()["connections"] >= 1)
        assert wire.made > 1


def test_views_see_no_half_of_an_update(server: Served) -> None:
    """While updates come as fast as they can, every view shows money that is all there."""
    stopping = threading.Event()
    with replica(server.url, Bank) as copy:

        def look() -> set[int]:
            totals = set()
            while not stopping.is_set():
                with copy.view() as bank:
                    totals.add(sum(account.balance for account in bank.accounts.values()))
            return totals

        looking = [Aside(look) for _ in range(3)]
        db = server.service.database
        for _ in range(50):
            db.run(Bank.transfer, "alice", "bob", 1)
        copy.wait(db.lsn, timeout=30)
        stopping.set()
        assert [each.result() for each in looking] == [{100}] * 3


def test_a_child_has_no_replica(server: Served) -> None:
    """After a fork the child is told so, and the parent's goes on."""
    with replica(server.url, Bank) as copy:

        def body() -> bool:
            with pytest.raises(UsageError, match="made before fork"), copy.view():
                pass
            with pytest.raises(UsageError, match="made before fork"):
                copy.wait(100)
            copy.close()
            with replica(server.url, Bank) as mine:
                return mine.run(Bank.total) == 100

        assert in_child(body)
        assert copy.run(Bank.transfer, "alice", "bob", 1) == 99


def test_closing_ends_all_waits(server: Served) -> None:
    """Whoever waits for an LSN, or for a watch's next item, is told that the replica is closed."""
    copy = replica(server.url, Bank)
    waiting = Aside(lambda: copy.wait(1000))
    watch = copy.watch("/**")
    polling = Aside(lambda: watch.poll(None))
    wait_until(lambda: copy._copy.arrivals._gates)
    with copy.view(), pytest.raises(UsageError, match="inside a block"):
        copy.close()
    copy.close()
    copy.close()
    for each in (waiting, polling):
        with pytest.raises(UsageError, match="closed"):
            each.result()
    assert repr(copy).endswith("closed>")
    with pytest.raises(UsageError, match="closed"), copy.view():
        pass
