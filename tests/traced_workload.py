"""What is traced: two fixed workloads that run on any directory, and as a program on a real one.

    python traced_workload.py store|whole DIRECTORY

The program says on standard error, which is in the trace as well, what it has submitted and what
was acknowledged: `@submitted 5`, `@acknowledged 5`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import crashing
from cairndb.appender import StoreOptions
from cairndb.checkpointer import make_checkpoint
from cairndb.files import RealDirectory, create_directory
from cairndb.housekeeper import Housekeeper, Report
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.transaction import Update, View
from crashing import Ledger, Nonces
from simulated import World
from test_crash_points import workload
from tracing import NOTE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.engine import Engine
    from cairndb.files import Directory

KIND = compile_root(dict[str, str], guard=True)
SIZES = (5, 10, 700, 600), (20, 300), (40,), (50, 60)
"""Of the values of the first owner's updates between its checkpoints, and of the second's."""


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
        return make_checkpoint(self._engine._directory, lsn, lambda: None)


def open_engine(directory: Directory, seed: str, *, create: bool = True) -> Engine:
    """An engine with segments that hold a few updates, and nonces that are always the same."""
    options = StoreOptions(4096 + 400, 4096 + 800, Nonces(seed))
    recovered = own(directory, KIND, create=create, options=options)
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


def value_of(lsn: int) -> str:
    """What the update with that LSN puts under its own number."""
    sizes = [size for group in SIZES for size in group]
    return "abcdefghij"[lsn % 10] * sizes[lsn - 2]


def state_at(lsn: int) -> dict[str, str]:
    """The state of the whole workload after an update."""
    return {str(number): value_of(number) for number in range(2, lsn + 1)}


def whole(
    open_directory: Callable[[], Directory],
    keep: Callable[[Engine], Housekeeper],
    say: Callable[[str], None],
) -> None:
    """Two owners of a database: updates over several segments, checkpoints, closing."""
    lsn = 1
    for seed, groups in (("a", SIZES[:3]), ("b", SIZES[3:])):
        say("submitted 1")
        engine = open_engine(open_directory(), seed)
        keeper = keep(engine)
        say(f"acknowledged {lsn}")
        for group in groups:
            for _ in group:
                lsn += 1
                say(f"submitted {lsn}")
                put(engine, str(lsn), value_of(lsn))
                say(f"acknowledged {lsn}")
            keeper.checkpoint()
        engine.sync()
        keeper.stop()
        engine.close()


def idle(kind: type[Housekeeper], engine: Engine, path: str = "") -> Housekeeper:
    """A housekeeper that does nothing by itself, so that every run is the same."""
    return kind(
        engine,
        path,
        sync_interval=3600.0,
        sync_soon=True,
        restart_target=None,
        load_rate=None,
        replay_rate=None,
    )


def main() -> None:
    """Run one of the workloads on a real directory."""
    which, path = sys.argv[1:]
    create_directory(path)
    if which == "store":
        # What the workload of the crash tests opens is now the real thing.
        setattr(crashing, "SimulatedDirectory", lambda _: RealDirectory(path))  # noqa: B010
        workload(World(), NotingLedger())
    else:
        whole(
            lambda: RealDirectory(path),
            lambda engine: idle(Housekeeper, engine, path),
            note,
        )


if __name__ == "__main__":
    main()
