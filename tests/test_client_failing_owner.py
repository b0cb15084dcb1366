"""An owner whose disk fails while a client waits, and the next owner, which knows more."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

import cairndb
from cairndb.cancellation import CancelToken
from cairndb.errors import OutcomeUnknown
from cairndb.opening import own
from cairndb.schema import compile_root
from remote import Served
from remote_root import Tally, client_of, count_of
from simulated import SimulatedDirectory, World
from threads import Aside, wait_until

if TYPE_CHECKING:
    from pathlib import Path

KIND = compile_root(Tally, guard=True)


def opened(world: World) -> cairndb.Database[Tally]:
    """An owner of the world."""
    engine = own(SimulatedDirectory(world), KIND, create=True).engine
    return cairndb.Database[Tally](engine, None, "simulated.cairn", audit=False)


def fail(world: World) -> None:
    """From now on no sync succeeds."""

    def observe(what: str) -> None:
        if what == "sync":
            raise OSError(errno.EIO, "the disk is broken")

    world.observe = observe


def recover(world: World) -> None:
    """The disk works again."""

    def observe(_what: str) -> None:
        return None

    world.observe = observe


def test_the_next_owner_has_the_answer(tmp_path: Path) -> None:
    """An update whose sync failed isn't acknowledged; the next owner finds it, and says so."""
    world, path = World(), str(tmp_path / "socket")
    first = opened(world)
    with client_of(f"cairn+unix://{path}") as client:
        with Served(first, Tally, path):
            assert client.run(Tally.count, "before") == 1
            fail(world)
            call = Aside(lambda: client.run(Tally.count, "x"))
            wait_until(lambda: first._engine.flusher.failure is not None)
        first.close()
        recover(world)
        assert not call.done()
        with opened(world) as second, Served(second, Tally, path) as server:
            assert call.result() == 1
            assert count_of(server, "x") == 1


def test_no_next_owner(tmp_path: Path) -> None:
    """If nobody opens the database again before the call ends, its outcome is unknown."""
    world, path = World(), str(tmp_path / "socket")
    db = opened(world)
    with Served(db, Tally, path), client_of(f"cairn+unix://{path}") as client:
        client.run(Tally.count, "before")
        fail(world)
        token = CancelToken()
        call = Aside(lambda: client.run(Tally.count, "x", cancel=token))
        wait_until(lambda: db._engine.flusher.failure is not None)
        token.cancel()
        with pytest.raises(OutcomeUnknown):
            call.result()
    db.close()
