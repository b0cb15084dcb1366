"""Databases whose schemas change again and again, compared with a model on plain data.

Random schemas go through random changes (`evolving`), with updates, checkpoints, kills, losses of
power and rewinds between them; versions are skipped. What needs nothing reads as it was; a rewrite
gives what the model says; what isn't settled is refused, and not a byte changes; the past stays.
"""

from __future__ import annotations

import contextlib
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairndb import codec
from cairndb.appender_parts import StoreOptions
from cairndb.checkpointer import make_checkpoint
from cairndb.errors import SchemaError, UsageError
from cairndb.opening import own, read
from cairndb.record import Record
from cairndb.recovery import verify
from cairndb.rewinding import rewind
from cairndb.schema import compile_root
from cairndb.schema_change import Evolution
from cairndb.transaction import Update, View
from crashing import Nonces
from effort import examples
from evolving import edit, first, following
from schema_model import REQUIRED, ROOT, Maker, Program, normal, value
from simulated import SimulatedDirectory, World
from survivors import sampled

Data = dict[str, Any]


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Moment:
    """A state that was current at some LSN, and the program whose schema is stored with it.

    Or one of two programs, to which the data is the same: a checkpoint has the schema of the log
    before it, and the log goes on with that of its owner.
    """

    programs: list[Program]
    data: Data


def root_of(program: Program) -> Any:
    """The declared root."""
    return Maker(program.schema).classes["Root"]


def settled(program: Program, stored: Program) -> Evolution:
    """What a program says of older data, in a way that is right whatever the older program was.

    Where versions are skipped, the types may have gone through more than migrations know of: then
    one function of the whole tree does it all.
    """
    since = program.since(stored)
    migrations = program.migrations()
    if len(since) > 1 and program.version > stored.version:

        def follow_all(data: Data) -> Data:
            for each in since:
                data = each.follow(data)
            return data

        migrations |= {version: lambda _: None for version in migrations}
        migrations[stored.version] = follow_all
    return Evolution(program.version, migrations, program.drops())


def part(whole: Any, path: list[Any]) -> Any:
    """What is at a path, in plain data or in a tree."""
    for step in path:
        whole = getattr(whole, step) if isinstance(whole, Record) else whole[step]
    return whole


class Life:
    """One database, the model of its state, and the moments of its past."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.world = World()
        self.options = StoreOptions(4096 + 600, 4096 + 1200, Nonces(str(random.random())))
        self.program = self.stored = first(random)
        self.changes = 0
        self.past: dict[int, Moment] = {}
        self.engine: Any = None
        self.open(self.program)
        self.data: Data = self.shown()
        for key, each in self.program.schema.classes["Root"].fields.items():
            self.put([key], value(random, self.program.schema, each))

    def kill(self) -> None:
        """The owner is gone; what it wrote is in the page cache."""
        for directory in self.world.locks[:]:
            directory.close()

    def open(self, program: Program, evolution: Evolution | None = None) -> None:
        """Become the owner, as a program."""
        self.kill()
        self.kind = compile_root(root_of(program), guard=self.random.random() < 0.5)
        self.engine = own(
            SimulatedDirectory(self.world),
            self.kind,
            create=not self.world.names,
            evolution=evolution or settled(program, self.stored),
            options=self.options,
        ).engine

    def shown(self) -> Data:
        """The state as plain data."""
        with View[Any](self.engine, None, durable=True) as root:
            found: Data = codec.decode(self.kind.encode(root))
            return found

    def lsn(self) -> int:
        """Of the last update."""
        lsn: int = self.engine.store.applied_lsn
        return lsn

    def check(self) -> None:
        """What is in memory is what the model says."""
        assert self.shown() == normal(self.program.schema, ROOT, self.data)
        self.past.setdefault(self.lsn(), Moment([self.stored], deepcopy(self.data)))

    # What happens

    def put(self, path: list[Any], given: Any) -> None:
        """One update of one place: what is there from now on, or REQUIRED, if it goes."""
        before = self.lsn()
        *above, last = path
        part(self.data, above)[last] = given
        with Update[Any](self.engine, None, durable=True) as root:
            holder = part(root, above)
            if given is REQUIRED:
                del part(self.data, above)[last], holder[last]
            else:
                data = normal(self.program.schema, ROOT, self.data)
                typed = part(self.kind.decode(codec.encode(data)), path)
                if isinstance(holder, Record):
                    setattr(holder, last, typed)
                else:
                    holder[last] = typed
        if self.lsn() > before:
            self.stored = self.program
        self.check()

    def update(self) -> None:
        """One random update."""
        schema = self.program.schema
        key, each = self.random.choice(list(schema.classes["Root"].fields.items()))
        path, given = edit(self.random, schema, each, self.data[key])
        self.put([key, *path], given)

    def checkpoint(self) -> None:
        """As the helper and the owner make it."""
        store = self.engine.store
        if store.checkpoint_lsn < store.applied_lsn:
            self.engine.sync()
            store.seal()
            report = make_checkpoint(SimulatedDirectory(self.world), store.sealed_lsn, lambda: None)
            store.check_checkpoint(report.file, report.lsn)
            store.adopt(report.file)
            # The log goes on in a segment of this program's schema, whatever is written to it.
            self.stored = self.program
            self.past[self.lsn()].programs.append(self.program)

    def crash(self) -> None:
        """Something of what isn't synced survives."""
        # Picked apart: LOCK has the time in it, and what is picked of it mustn't change the rest.
        picker = Random(self.random.random())  # noqa: S311  reproducible, not secret
        (image,) = list(sampled(self.world.moment(), picker, 3))[-1:]
        self.world = World(image)

    def lose_power(self) -> None:
        """All that was acknowledged is there, whatever survives of the rest."""
        self.kill()
        self.crash()
        self.open(self.program)
        self.check()

    def change(self) -> None:
        """The program changes, and nobody opens the database as that yet."""
        self.changes += 1
        self.program = following(self.random, self.program, self.changes)
        self.data = self.program.follow(self.data)

    def refuse(self) -> None:
        """Without what the last change needs, it is told what to write, and no byte changes."""
        program, before = self.program, self.program.previous
        if before is not self.stored or program.needs not in {"drop", "migration"}:
            return
        self.kill()
        files = self.files()
        with pytest.raises(SchemaError) as caught:
            self.open(program, Evolution(before.version, {}, before.drops()))
        told = str(caught.value)
        assert f".{program.what}: " in told
        if program.needs == "drop":
            assert f'drop=["{program.changed}.{program.what}"]' in told
        assert f"version={before.version + 1}, migrations={{{before.version}:" in told
        assert self.files() == files

    def files(self) -> dict[str, bytes]:
        """What is on the disk, but for what tells people who owns it."""
        found = {name: self.world.inodes[n].cache for name, n in self.world.names.items()}
        found.pop("LOCK", None)
        return found

    def take_up(self) -> None:
        """The database is opened as the program is now; perhaps it is interrupted at first."""
        since = self.program.since(self.stored)
        needs = {each.needs for each in since}
        lsn = self.lsn()
        if self.random.random() < 0.5:
            self.interrupted()
        self.open(self.program)
        if needs <= {"nothing"}:
            assert self.lsn() == lsn
            self.open(self.stored)  # the program before can still be used
            self.check()
            self.open(self.program)
        if len(since) == 1 and needs != {"nothing"}:
            assert self.lsn() == lsn + 1
        if self.lsn() > lsn:
            self.stored = self.program
        self.check()

    def interrupted(self) -> None:
        """Killed, or without power, at some call of the opening: it was all or nothing."""
        left = self.random.randint(1, 40)

        def count(_: str) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Killed

        self.world.observe = count
        lsn = self.lsn()
        with contextlib.suppress(Killed):
            self.open(self.program)
        self.world.observe = lambda _: None
        self.kill()
        if self.random.random() < 0.5:
            self.crash()
        moment = self.past[lsn]
        program = moment.programs[-1]
        assert self.seen(lsn, program, Evolution(program.version)) == moment.data

    def seen(self, lsn: int, program: Program, evolution: Evolution) -> Data:
        """What a reader of then sees, as a program."""
        kind = compile_root(root_of(program), guard=False)
        found = read(SimulatedDirectory(self.world), kind, None, evolution, lsn).engine
        with View[Any](found, None, durable=True) as root:
            data: Data = codec.decode(kind.encode(root))
            assert data == normal(program.schema, ROOT, data)
            return data

    def look_back(self) -> None:
        """What is kept of the past is seen as the program of then, and as that of now."""
        assert list(verify(SimulatedDirectory(self.world))) == []
        for lsn in self.random.sample(list(self.past), min(6, len(self.past))):
            moment = self.past[lsn]
            program = moment.programs[-1]
            try:
                found = self.seen(lsn, program, Evolution(program.version))
            except UsageError:
                continue
            assert found == normal(program.schema, ROOT, moment.data)
            if self.program.comes_from(program):  # else it left that future by a rewind
                self.look_as_of_now(lsn, moment)

    def look_as_of_now(self, lsn: int, moment: Moment) -> None:
        """The program of now sees what would have become of it."""
        expected = deepcopy(moment.data)
        for each in self.program.since(moment.programs[-1]):
            expected = each.follow(expected)
        try:
            found = self.seen(lsn, self.program, settled(self.program, moment.programs[-1]))
        except SchemaError:
            found = self.seen(lsn, self.program, settled(self.program, moment.programs[0]))
        assert found == normal(self.program.schema, ROOT, expected)

    def go_back(self) -> None:
        """To a moment that is kept, with its program."""
        self.kill()
        lsn = self.random.choice(list(self.past))
        moment = self.past[lsn]
        try:
            gone_to, at = rewind(SimulatedDirectory(self.world), lsn, lambda _: None)
        except UsageError:
            self.open(self.program)
            return
        assert gone_to == lsn
        self.program, self.stored = moment.programs[-1], moment.programs[0]
        self.data = deepcopy(moment.data)
        self.past[at] = Moment(list(moment.programs), deepcopy(moment.data))
        self.open(self.program)
        assert self.lsn() == at
        self.check()


@pytest.mark.slow
@settings(max_examples=examples(70))
@given(st.integers(0, 2**32))
def test_whatever_changes_the_data_follows(seed: int) -> None:
    """Random lives of random schemas, each step compared with the model."""
    live(Random(seed))  # noqa: S311  reproducible, not secret


def live(random: Random) -> None:
    """One life."""
    life = Life(random)
    for _ in range(5):
        for _ in range(random.randint(0, 3)):
            random.choice([life.update, life.update, life.checkpoint, life.lose_power])()
        for _ in range(random.choice([1, 1, 1, 2, 3])):
            life.change()
            life.refuse()
        life.take_up()
        if random.random() < 0.2:
            life.go_back()
    life.look_back()
