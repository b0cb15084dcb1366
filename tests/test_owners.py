"""One owner at any moment, whatever becomes of names, processes and LOCK."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

import cairndb
from cairndb.errors import DatabaseFailed, DatabaseLocked
from cairndb.files import RealDirectory
from cairndb.locking_holder import encode, this_process
from effort import examples
from forking import Child
from owning import own, own_path
from test_kill import folder, run
from writer import Counters, check, count_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["folder"]


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_processes_that_race(folder: Path, seed: int, evidence: Callable[..., None]) -> None:
    """Owners that close, die, fork or become another program, with LOCK gone: one at a time."""
    rounds = examples(110)
    counts = run("racing.py", folder, rounds, seed)
    for what in ("close", "stay", "fork", "spawn", "posix_spawn", "exec"):
        assert counts[what] > 0
    assert counts["forked child refused"] > 0
    assert counts["refused"] > 0
    assert counts["owner"] > rounds // 2
    evidence("races", counts["rounds"])


@pytest.mark.slow
def test_threads_that_race(folder: Path, evidence: Callable[..., None]) -> None:
    """Of threads that open the same directory at the same moment, one at a time has it."""
    rounds, racers = examples(60), 4
    barrier, owned = threading.Barrier(racers), threading.Lock()
    wins: list[bool] = []

    def race(number: int) -> None:
        for turn in range(rounds):
            barrier.wait(60)
            try:
                db = own_path(folder / "raced.cairn", lock_timeout=(turn % 2) * 60)
            except DatabaseLocked:
                continue
            wins.append(owned.acquire(blocking=False))
            count_once(db, f"racer{number}")
            owned.release()
            db.close()

    threads = [threading.Thread(target=race, args=(number,)) for number in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Every other round all wait until it is their turn; in the rest somebody is first.
    assert len(wins) >= rounds // 2 * racers + (rounds + 1) // 2
    assert all(wins)
    with cairndb.open(folder / "raced.cairn", Counters) as db, db.view() as root:
        check(root, db.lsn, {})
        assert root.total == len(wins)
    evidence("races", rounds)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A database that is open in this process."""
    path = tmp_path / "owned.cairn"
    with cairndb.open(path):
        yield path


def refused(path: Path | str) -> str:
    """What is said to whoever opens it now."""
    with pytest.raises(DatabaseLocked) as caught:
        cairndb.open(path)
    return str(caught.value)


def test_the_same_process_twice(path: Path) -> None:
    """A second object of one process is refused, and told that it is its own process."""
    assert "this very process" in refused(path)


def test_by_a_symbolic_link(path: Path) -> None:
    """Another name leads to the same owner."""
    link = path.with_name("link")
    link.symlink_to(path.name)
    assert "this very process" in refused(link)


def test_by_a_relative_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path from where the process stands leads to the same owner."""
    monkeypatch.chdir(path)
    assert "this very process" in refused("../owned.cairn")
    assert "this very process" in refused(".")


@pytest.mark.process
@pytest.mark.skipif(
    os.geteuid() != 0 or os.uname().sysname != "Linux",
    reason="bind mounts need root on Linux",
)
def test_by_a_bind_mount(path: Path) -> None:
    """A directory that is mounted elsewhere has the same owner there."""
    other = path.with_name("mounted.cairn")
    other.mkdir()
    mount: list[str | Path] = ["/bin/mount", "--bind", path, other]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting isn't possible here: {done.stderr.decode()}")
    try:
        assert "this very process" in refused(other)
    finally:
        subprocess.run(["/bin/umount", "--lazy", other], check=True)


@pytest.mark.parametrize("instead", ["nothing", "file", "directory", "link", "pipe"])
def test_whatever_becomes_of_lock(path: Path, instead: str) -> None:
    """LOCK only says who: without it, or with another, the second is refused all the same."""
    lock = path / "LOCK"
    lock.unlink()
    if instead == "file":
        lock.write_text("somebody else")
    elif instead == "directory":
        lock.mkdir()
    elif instead == "link":
        lock.symlink_to("/dev/null")
    elif instead == "pipe":
        os.mkfifo(lock)  # to read it would wait for a writer
    assert "another process" in refused(path)


def test_a_record_of_the_dead_is_called_that(path: Path) -> None:
    """Where LOCK names a process that is gone, the second is told so, instead of to wait for it."""
    with Child(lambda: encode(this_process())[:-1]) as child:
        (path / "LOCK").write_bytes(child.said)
        assert f"in process {child.pid} on" in refused(path)
        child.end()
        said = refused(path)

    assert "the record is of a process that is gone" in said
    assert f"(process {child.pid} on" in said


def test_a_directory_that_is_exchanged(path: Path) -> None:
    """The owner keeps the directory it opened, under any name; what is put there is another."""
    moved = path.with_name("moved.cairn")
    path.rename(moved)
    with cairndb.open(path) as other, other.update() as root:
        root["new"] = True
    assert "this very process" in refused(moved)


def test_a_dead_object_gives_up_when_its_last_sync_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a write or a sync of a failed object still runs, nobody else becomes the owner."""
    (tmp_path / "dead.cairn").mkdir()
    directory = RealDirectory(str(tmp_path / "dead.cairn"))
    db = own(directory)
    entered, leave = threading.Event(), threading.Event()

    def stuck() -> int:
        entered.set()
        assert leave.wait(60)
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr(db._engine.store, "sync", stuck)
    outcomes: list[BaseException] = []

    def update() -> None:
        try:
            with db.update() as root:
                root.total += 1
        except DatabaseFailed as error:
            outcomes.append(error)

    writer = threading.Thread(target=update)
    writer.start()
    assert entered.wait(60)
    db._engine.flusher.fail(MemoryError("between log and memory"))
    closer = threading.Thread(target=db.close)
    closer.start()
    other = RealDirectory(directory.path)
    try:
        # The close is waiting for the role by the time it is in the queue.
        while not db._engine.flusher._queue:
            assert closer.is_alive()
        assert not other.lock()
        leave.set()
        writer.join()
        closer.join()
        assert other.lock()
    finally:
        leave.set()
        other.close()
    assert len(outcomes) == 1
