"""Whole histories: random updates, checkpoints, kills and reopenings against plain Python objects.

The steps of an update, and the model that says what it must show, are those of test_draft_model.
Here each update is a real one, on a store with tiny segments in a simulated directory. After every
commit the untyped fold of what is on disk must give the very bytes of the state in memory; so must
every checkpoint, and every opening after a kill.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis.stateful import rule

from cairndb.appender_parts import StoreOptions
from cairndb.checkpointer import make_checkpoint
from cairndb.fold import Fold
from cairndb.opening import own
from cairndb.patch import decode_entries, decode_operations
from cairndb.recovery import read_chain
from cairndb.schema import compile_root
from cairndb.transaction import Update
from draft_model import Root
from effort import examples
from simulated import SimulatedDirectory, World
from test_draft_model import CHECKED, Drafts

if TYPE_CHECKING:
    from cairndb.engine import Engine
    from cairndb.kinds import Kind

OPTIONS = StoreOptions(4096 + 600, 4096 + 1200)


class Abandoned(Exception):  # noqa: N818  no error
    """Ends a block without a commit."""


class Live:
    """A database in a world, in the form that the model's machine drives.

    Without its indexes: so that updates whose writes nobody notes are tried, too.
    """

    def __init__(self, root: Root) -> None:
        self.kind: Kind = compile_root(Root, guard=True)
        self.world = World()
        self.engine = self.opened()
        with Update[Root](self.engine, None, durable=True) as draft:
            for name in root.__struct_fields__:
                setattr(draft, name, getattr(root, name))

    def opened(self) -> Engine:
        """The engine of a new owner."""
        engine = own(SimulatedDirectory(self.world), self.kind, create=True, options=OPTIONS).engine
        engine.rules = None
        return engine

    def kill(self) -> None:
        """End the owner as SIGKILL would: its descriptors close, and nothing else happens."""
        for directory in self.world.locks[:]:
            directory.close()

    @property
    def root(self) -> Any:
        return self.engine.tree.root

    def encoded(self) -> bytes:
        """The state in memory."""
        return self.kind.encode(self.root)

    def folded(self) -> bytes:
        """The state on disk, folded without its types."""
        directory = SimulatedDirectory(self.world)
        reading = read_chain(directory)
        fold = Fold()
        for count, payload in reading.checkpoint_frames():
            for operation in decode_operations(payload, count):
                fold.apply([operation])
        for _, count, payload in reading.log_frames():
            for entry in decode_entries(payload, count):
                fold.apply(entry.operations)
        reading.close()
        directory.close()
        return fold.encode()

    def checkpoint(self) -> None:
        """Make a checkpoint, as the helper process would, and adopt it."""
        store = self.engine.store
        store.seal()
        if store.checkpoint_lsn < store.sealed_lsn:
            directory = SimulatedDirectory(self.world)
            report = make_checkpoint(directory, store.sealed_lsn, lambda: None)
            directory.close()
            store.check_checkpoint(report.file, report.lsn)
            store.adopt(report.file)


class Histories(Drafts):
    """Drives a database and its model with the same updates."""

    update: Update[Root] | None = None

    def made(self, root: Root) -> Live:
        return Live(root)

    def started(self) -> Root:
        self.update = Update[Root](self.bench.engine, None, durable=True)
        return self.update.__enter__()

    def committed(self) -> None:
        assert self.update is not None
        self.update.__exit__(None, None, None)
        assert self.bench.folded() == self.bench.encoded()

    def dropped(self) -> None:
        assert self.update is not None
        with contextlib.suppress(Abandoned):
            self.update.__exit__(Abandoned, Abandoned(), None)
        self.update = None

    def teardown(self) -> None:
        if self.update is not None:
            self.dropped()
            self.bench.kill()

    def same_again(self) -> None:
        """Nothing that isn't an update changes anything, in memory or on disk."""
        assert self.bench.encoded() == self.before == self.bench.folded()
        self.begin()

    @rule()
    def checkpoint(self) -> None:
        self.dropped()
        self.bench.checkpoint()
        self.same_again()

    @rule()
    def kill(self) -> None:
        self.dropped()
        self.bench.kill()
        self.bench.engine = self.bench.opened()
        self.same_again()

    @rule()
    def reopen(self) -> None:
        self.dropped()
        self.bench.engine.close()
        self.bench.engine = self.bench.opened()
        self.same_again()


class LongHistories(Histories):
    """The same, for longer."""


Histories.TestCase.settings = settings(CHECKED, max_examples=examples(10), stateful_step_count=20)
LongHistories.TestCase.settings = settings(
    CHECKED, max_examples=examples(100), stateful_step_count=40
)
TestHistories = Histories.TestCase
TestLongHistories = pytest.mark.slow(LongHistories.TestCase)
