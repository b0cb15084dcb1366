"""What a rewind or a migration has kept can be let go, and nothing else is lost by that."""

from __future__ import annotations

import errno
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import cairndb
from cairndb.appender_parts import StoreOptions
from cairndb.checkpointer import make_checkpoint
from cairndb.errors import CairnError, UsageError
from cairndb.files import RealDirectory
from cairndb.forgetting import Forgotten, Pinned, forget, pinned
from cairndb.history import folded, read_at
from cairndb.opening import own
from cairndb.recovery import read_chain, verify
from cairndb.retention import ALL, Retention
from cairndb.rewinding import rewind
from cairndb.schema import compile_root, describe, fingerprint
from cairndb.store import Store
from cairndb.transaction import Update
from crashing import checkpoints_of, crash_points
from effort import examples
from simulated import SimulatedDirectory, World, images
from test_cli import cairn as cairn_fixture

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from commands import Cairn
    from simulated import Image

cairn = cairn_fixture
KIND = compile_root(dict[str, Any], guard=False)
OPTIONS = StoreOptions(4096 + 400, 4096 + 800)


class Life:
    """An untyped database in a world, and its owners one after the other."""

    def __init__(self, retention: Retention = Retention()) -> None:  # noqa: B008  a tuple
        self.world = World()
        self.options = replace(OPTIONS, retention=retention)
        self.engine: Any = None
        self.reopen()

    def reopen(self) -> None:
        """Kill the owner; have another."""
        self.kill()
        directory = SimulatedDirectory(self.world)
        self.engine = own(directory, KIND, create=True, options=self.options).engine

    def kill(self) -> None:
        """End the owner."""
        for directory in self.world.locks[:]:
            directory.close()

    def put(self, count: int = 1) -> None:
        """Updates."""
        for _ in range(count):
            with Update[Any](self.engine, None, durable=True) as root:
                root["n"] = self.engine.applied_lsn

    def checkpoint(self) -> None:
        """As the helper and the owner make one."""
        store = self.engine.store
        self.engine.sync()
        store.seal()
        if store.checkpoint_lsn < store.sealed_lsn:
            report = make_checkpoint(SimulatedDirectory(self.world), store.sealed_lsn, lambda: None)
            store.check_checkpoint(report.file, report.lsn)
            store.adopt(report.file)

    def rewind(
        self, to: int, *, renames: int = 99, at_sync: bool = False, reopen: bool = True
    ) -> None:
        """Go back; or be killed at a renaming on the way, or at the sync after it."""
        self.kill()

        def observed(what: str) -> None:
            nonlocal renames
            renames -= what == "rename"
            if renames <= 0 and (what == "sync directory" or not at_sync):
                raise KeyboardInterrupt

        self.world.observe = observed
        with suppress(KeyboardInterrupt):
            rewind(SimulatedDirectory(self.world), to, lambda _: None)
        self.world.observe = lambda _: None
        if reopen:
            self.reopen()

    def forget(self, lsns: Collection[int] | None) -> Forgotten:
        """As its owner, without the application."""
        self.kill()
        schema = describe(KIND, 1)
        store = Store.open(
            SimulatedDirectory(self.world),
            schema=schema,
            fingerprint=fingerprint(schema),
            create=False,
            options=self.options,
            clock=lambda: 1 << 50,
        )
        with closing(store):
            store.start()
            return forget(store, lsns)

    def pinned(self) -> list[Pinned]:
        """As a reader sees them."""
        with closing(read_chain(SimulatedDirectory(self.world))) as reading:
            return pinned(reading)

    def states(self) -> dict[int, bytes]:
        """Each state that can be seen, by its LSN."""
        found = {}
        for lsn in range(1, self.engine.applied_lsn + 1):
            directory = SimulatedDirectory(self.world)
            with suppress(UsageError, CairnError), closing(read_at(directory, lsn)) as reading:
                found[lsn] = folded(reading, directory.path, lambda _: None).fold.encode()
        return found


def rewound() -> Life:
    """LSN 4 is pinned, 5 is that of LSN 2 again, and two checkpoints follow."""
    life = Life()
    life.put(3)
    life.rewind(2)
    for _ in range(2):
        life.put()
        life.checkpoint()
    return life


def test_what_is_kept_is_listed_with_its_reason() -> None:
    """By LSN, with the call that it is the way back over."""
    life = Life()
    life.put(3)
    life.rewind(2)
    ((lsn, created, size, why, needed),) = life.pinned()
    assert (lsn, why) == (4, "rewind")
    assert created > 0
    assert size > 4096
    assert "one of the last two" in needed
    ((lsn, _, _, why, needed),) = rewound().pinned()
    assert (lsn, why, needed) == (4, "", "")


def test_what_is_forgotten_is_gone_and_stays_gone() -> None:
    """Its file, and nothing else; another owner finds the same."""
    life = rewound()
    before = life.states()
    assert checkpoints_of(life.world) == [4, 6, 7]
    assert life.forget([4]) == Forgotten([4], [])
    assert checkpoints_of(life.world) == [6, 7]
    life.reopen()
    assert life.states() == {lsn: state for lsn, state in before.items() if lsn != 4}
    assert list(verify(SimulatedDirectory(life.world))) == []


def test_what_isnt_pinned_or_is_needed_is_refused() -> None:
    """With the reason, and nothing has happened, also to others that were named."""
    life = rewound()
    with pytest.raises(UsageError, match="LSN 6 isn't one"):
        life.forget([4, 6])
    life.reopen()
    life.rewind(6)
    assert checkpoints_of(life.world) == [4, 6, 7, 8]
    with pytest.raises(UsageError, match="LSN 7 has to stay: it is one of the last two"):
        life.forget([4, 7])
    assert checkpoints_of(life.world) == [4, 6, 7, 8]
    done = life.forget(None)
    assert (done.gone, [each.lsn for each in done.pinned]) == ([4], [7])


def test_what_the_log_leads_over_stays() -> None:
    """The state between two rewinds is in its checkpoint alone, as long as the log has both."""
    life = Life(ALL)
    life.put(3)
    life.rewind(2)
    life.rewind(3)
    for _ in range(2):
        life.put()
        life.checkpoint()
    before = life.states()
    assert [each.lsn for each in life.pinned()] == [4, 5]
    done = life.forget(None)
    assert [each.lsn for each in done.pinned if "leads over LSN 5 by it" in each.needed] == [5]
    life.reopen()
    assert {4: before[4], **life.states()} == before


def test_what_others_are_reached_from_stays() -> None:
    """Where the log begins after it, the states between it and the next checkpoint need it."""
    life = Life(Retention(bytes=40_000))
    life.put(3)
    life.rewind(2, renames=3)  # killed before it took effect: the checkpoint of LSN 4 is left
    for _ in range(3):
        life.put(2)
        life.checkpoint()
    before = life.states()
    assert min(before) == 4
    (kept,) = life.forget(None).pinned
    assert (kept.lsn, kept.why, "retain=" in kept.needed) == (4, "interrupted", True)
    life.options = OPTIONS
    with pytest.raises(UsageError, match="the state of LSN 5 is reached from it alone"):
        life.forget([4])
    life.reopen()
    assert life.states() == before


def test_a_reader_keeps_what_it_is_at() -> None:
    """Then that stays, and the answer says why."""
    life = rewound()
    with closing(read_at(SimulatedDirectory(life.world), 4)):
        done = life.forget([4])
    assert done.gone == []
    assert "somebody is reading it" in done.pinned[0].needed
    assert life.forget([4]).gone == [4]


RETENTIONS = st.sampled_from([Retention(), ALL, Retention(bytes=40_000)])
STEPS = st.sampled_from(["put", "put", "checkpoint", "rewind", "interrupt", "reopen"])


@settings(suppress_health_check=list(HealthCheck), max_examples=examples(6))
@given(st.lists(STEPS, max_size=14), RETENTIONS, st.data())
def test_nothing_but_what_is_forgotten_is_lost(
    steps: list[str], retention: Retention, data: st.DataObject
) -> None:
    """After any life, every state that could be seen still can, but for those that were let go."""
    check_life(steps, retention, data)


@pytest.mark.slow
@settings(suppress_health_check=list(HealthCheck), max_examples=examples(30))
@given(st.lists(STEPS, max_size=20), RETENTIONS, st.data())
def test_nothing_but_what_is_forgotten_is_lost_longer(
    steps: list[str], retention: Retention, data: st.DataObject
) -> None:
    """The same, for more and longer lives."""
    check_life(steps, retention, data)


def check_life(steps: list[str], retention: Retention, data: st.DataObject) -> None:
    """Live, forget, and compare what can be seen."""
    life = Life(retention)
    life.put(2)
    for step in steps:
        if step == "put":
            life.put()
        elif step == "checkpoint":
            life.checkpoint()
        elif step == "reopen":
            life.reopen()
        else:
            to = data.draw(st.sampled_from(sorted(life.states())))
            life.rewind(to, renames=3 if step == "interrupt" else 99)
    before, there = life.states(), [each.lsn for each in life.pinned()]
    if data.draw(st.booleans()):
        life.options = OPTIONS  # the command doesn't know what `retain` the application has
    done = life.forget(None)
    assert sorted([*done.gone, *(each.lsn for each in done.pinned)]) == there
    life.reopen()
    after = life.states()
    assert {lsn: before[lsn] for lsn in after} == after
    assert set(before) - set(after) <= set(done.gone)
    assert list(verify(SimulatedDirectory(life.world))) == []


@pytest.mark.slow
def test_a_crash_while_forgetting_harms_nothing() -> None:
    """Whatever it leaves of the removals, the state is the same, and so is what else was kept."""
    life = rewound()
    life.rewind(6)
    for _ in range(3):
        life.put()
        life.checkpoint()
    expected = life.states()
    points = crash_points(lambda _world, _ledger: void(life.forget(None)), life.world)
    seen: set[Image] = set()
    for point in points:
        for image in set(images(point.moment, limit=10)) - seen:
            seen.add(image)
            left = Life.__new__(Life)
            left.world, left.options = World(image), life.options
            left.reopen()
            found = left.states()
            assert set(expected) - set(found) <= {4, 7}
            assert {lsn: found[lsn] for lsn in found if lsn in expected}.items() <= expected.items()
    assert [point.call for point in points] == ["remove", "remove", "end"]


def void(_: object) -> None:
    """Nothing."""


@pytest.mark.slow
def test_a_disk_that_fails_meanwhile_ends_nothing(tmp_path: Path) -> None:
    """In a program: what can't be removed is told, and the database goes on."""
    path = tmp_path / "notes.cairn"
    assert_forgets(path)
    with cairndb.open(path) as db:
        store: Any = db._engine.store
        names = store.directory.names

        def failing() -> list[str]:
            raise OSError(errno.EIO, "failed")

        store.directory.names = failing
        with pytest.raises(CairnError, match="couldn't be removed"):
            db.forget()
        store.directory.names = names
        with db.update() as root:
            root["goes on"] = True


def assert_forgets(path: Path) -> None:
    """A database with a rewind behind it, that a program lets go of."""
    with cairndb.open(path) as db, db.update() as root:
        root["a"] = 1
    with closing(RealDirectory(str(path))) as directory:
        rewind(directory, 1, lambda _: None)
    with cairndb.open(path) as db:
        for number in range(2):
            assert [each.lsn for each in db.forget()] == [2]
            with db.update() as root:
                root["b"] = number
            db.checkpoint()
        assert db.forget(2) == []
        with db.view(), pytest.raises(UsageError, match="inside a block"):
            db.forget()


@pytest.mark.slow
def test_the_command_lists_and_forgets(cairn: Cairn, tmp_path: Path) -> None:
    """Beside an owner it lists; as one it removes, or says why not."""
    path = tmp_path / "notes.cairn"
    with cairndb.open(path) as db, db.update() as root:
        root["a"] = 1
    assert cairn("forget", path) == ""
    cairn("rewind", path, "--to", 1)
    with cairndb.open(path):
        (shown,) = cairn("forget", path).splitlines()
        cairn("forget", path, 2, code=3)
    assert shown.startswith("LSN 2: kept since ")
    assert "from before a rewind; stays: it is one of the last two" in shown
    cairn("forget", path, 2, code=2)
    assert "has to stay" in cairn.error
    assert cairn.json("forget", path, "--all", "--json")["forgotten"] == []
    for _ in range(2):
        with cairndb.open(path) as db, db.update() as root:
            root["b"] = db.lsn
        cairn("checkpoint", path)
    (about,) = cairn.json("forget", path, "--json")["pinned"]
    assert list(about) == ["lsn", "created", "bytes", "why", "needed"]
    assert (about["lsn"], about["why"], about["needed"]) == (2, "", None)
    cairn("forget", path, 2, "--all", code=2)
    assert cairn("forget", path, 2) == "LSN 2: forgotten\n"
    cairn("forget", path, 2, code=2)
    assert "isn't one that is kept" in cairn.error
