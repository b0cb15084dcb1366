"""What is traced: two fixed workloads that run on any directory, and as a program on a real one.

    python traced_workload.py DIRECTORY [SEED]

Without a seed it is the store's workload of the crash tests, else a whole database's: a fixed one
for seed 0, random ones for others.

The program says on standard error, which is in the trace as well, what it has submitted and what
was acknowledged: `@submitted 5`, `@acknowledged 5`.
"""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import crashing
from cairndb import opening
from cairndb.appender_parts import StoreOptions
from cairndb.checkpointer import make_checkpoint
from cairndb.files import RealDirectory
from cairndb.housekeeper import Housekeeper, Report
from cairndb.schema import compile_root
from cairndb.transaction import Update, View
from crashing import Ledger, Nonces
from simulated import World
from tracing import NOTE
from workloads import workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.engine import Engine
    from cairndb.files import Directory

KIND = compile_root(dict[str, str], guard=True)


class Owner(NamedTuple):
    """What one owner of a whole database does."""

    groups: tuple[tuple[int, ...], ...]
    """The sizes of its updates, with a checkpoint after each group but the last."""
    sync_at_commit: bool
    killed: bool
    """Whether it ends without closing."""


FIXED = (
    Owner(((5, 10, 700, 600), (20, 300), (40,)), sync_at_commit=True, killed=False),
    Owner(((50,), (60, 1)), sync_at_commit=True, killed=True),
    Owner(((70, 200, 9),), sync_at_commit=False, killed=True),
    Owner(((30,), (80, 90)), sync_at_commit=False, killed=False),
)


def owners(seed: int) -> tuple[Owner, ...]:
    """Who works on the database, one after the other."""
    if seed == 0:
        return FIXED
    chance = random.Random(seed)  # noqa: S311  reproducible, not secret
    sizes = [1, 20, 90, 300, 512, 600, 700, 1500]
    return tuple(
        Owner(
            tuple(
                tuple(chance.choices(sizes, k=chance.randint(0, 4)))
                for _ in range(chance.randint(1, 3))
            ),
            sync_at_commit=chance.random() < 0.5,
            killed=chance.random() < 0.5,
        )
        for _ in range(chance.randint(2, 4))
    )


class NotingLedger(Ledger):
    """Says aloud what is submitted and acknowledged."""

    def __init__(self) -> None:
        super().__init__(NotingList())

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "acknowledged":
            note(f"acknowledged {value}")


class NotingList(list[bytes]):
    """Says aloud how many there are."""

    def append(self, item: bytes, /) -> None:
        note(f"submitted {len(self) + 1}")
        super().append(item)


def note(text: str) -> None:
    """Say something in the trace."""
    os.write(2, NOTE + text.encode() + b"\n")


class InlineHousekeeper(Housekeeper):
    """Does the helper's work itself, for directories that no other process can see."""

    def _run_helper(self, lsn: int) -> Report:
        return make_checkpoint(self._engine.directory, lsn, lambda: None)


def open_directory(path: str) -> RealDirectory:
    """The directory of a database, made if it isn't there, as `cairndb.open` does."""
    return opening._open_directory(path, create=True)


def open_engine(
    directory: Directory, seed: str, *, create: bool = True, sync_at_commit: bool = True
) -> Engine:
    """An engine with segments that hold a few updates, and nonces that are always the same."""
    options = StoreOptions(4096 + 400, 4096 + 800, Nonces(seed))
    recovered = opening.own(
        directory, KIND, create=create, options=options, sync_at_commit=sync_at_commit
    )
    assert recovered.warnings == []
    return recovered.engine


def put(engine: Engine, key: str, value: str) -> None:
    """One update."""
    with Update[dict[str, str]](engine, None, durable=True) as root:
        root[key] = value


def state(engine: Engine) -> dict[str, str]:
    """What a view shows."""
    with View[dict[str, str]](engine, None, durable=True) as root:
        return dict(root)


def states(seed: int) -> list[dict[str, str]]:
    """The state of the database at each LSN, from 0 on."""
    found: list[dict[str, str]] = [{}, {}]
    for owner in owners(seed):
        for size in (size for group in owner.groups for size in group):
            lsn = len(found)
            found.append(found[-1] | {str(lsn): "abcdefghij"[lsn % 10] * size})
    return found


def whole(
    seed: int,
    open_directory: Callable[[], Directory],
    keep: Callable[[Engine], Housekeeper],
    say: Callable[[str], None],
) -> None:
    """Several owners of a database: updates over several segments, checkpoints, closing or not."""
    expected = states(seed)
    lsn = 1
    for number, owner in enumerate(owners(seed)):
        say(f"submitted {lsn}")
        directory = open_directory()
        nonces = f"{seed} {number}"
        engine = open_engine(directory, nonces, sync_at_commit=owner.sync_at_commit)
        keeper = keep(engine)
        say(f"acknowledged {lsn}")
        for index, group in enumerate(owner.groups):
            if index:
                keeper.checkpoint()
                say(f"acknowledged {lsn}")
            for _ in group:
                lsn += 1
                say(f"submitted {lsn}")
                put(engine, str(lsn), expected[lsn][str(lsn)])
                if owner.sync_at_commit:
                    say(f"acknowledged {lsn}")
        assert state(engine) == expected[lsn]
        keeper.stop()
        if owner.killed:
            directory.close()
        else:
            engine.close()
            say(f"acknowledged {lsn}")


def idle(kind: type[Housekeeper], engine: Engine, path: str = "") -> Housekeeper:
    """A housekeeper that does nothing by itself, so that every run is the same."""
    return kind(
        engine,
        path,
        sync_interval=3600.0,
        sync_soon=True,
        restart_target=None,
        load_rate=None,
    )


def main() -> None:
    """Run one of the workloads on a real directory."""
    path = sys.argv[1]
    open_directory(path).close()
    if len(sys.argv) > 2:
        whole(
            int(sys.argv[2]),
            lambda: RealDirectory(path),
            lambda engine: idle(Housekeeper, engine, path),
            note,
        )
    else:
        # What the workload of the crash tests opens is now the real thing.
        setattr(crashing, "SimulatedDirectory", lambda _: RealDirectory(path))  # noqa: B010
        workload(World(), NotingLedger())


if __name__ == "__main__":
    main()
