"""Real processes: killed with SIGKILL while they write, and racing for ownership."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter as Tally
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import cairndb
from cairndb.files import RealDirectory
from cairndb.recovery import read_chain
from writer import Counters

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parent
SOURCES = TESTS.parent / "src"
pytestmark = pytest.mark.process


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program, killed at the end of the block."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (SOURCES, TESTS)))}
    with subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def acknowledged_until_killed(process: subprocess.Popen[bytes], lines: int) -> dict[str, int]:
    """What the writer had printed when it was killed, which is after that many lines or more."""
    assert process.stdout is not None
    output = b"".join(process.stdout.readline() for _ in range(lines))
    process.kill()
    output += process.stdout.read()
    reached: dict[str, int] = {}
    for line in output.decode().splitlines():
        key, _, count = line.partition(" ")
        # The last line may have been cut off: then it says less than was acknowledged.
        if count.isdigit():
            reached[key] = max(reached.get(key, 0), int(count))
    return reached


@pytest.mark.parametrize("extra", [(), ("checkpoint",)], ids=["updates", "with checkpoints"])
def test_nothing_acknowledged_is_lost_by_sigkill(tmp_path: Path, extra: tuple[str, ...]) -> None:
    """Four threads killed at random moments, again and again: every printed update is there."""
    path = tmp_path / "killed.cairn"
    chance = random.Random(20261123)  # noqa: S311  reproducible, not secret
    for _ in range(8):
        with running(str(TESTS / "writer.py"), str(path), "4", *extra) as process:
            reached = acknowledged_until_killed(process, chance.randrange(1, 400))
        assert reached
        with cairndb.open(path, Counters, lock_timeout=30) as db, db.view() as root:
            for key, count in reached.items():
                assert root.threads[key].count >= count
            # Each update counts twice: once in its thread's record, once in all.
            assert root.total == sum(counter.count for counter in root.threads.values())


def test_opening_can_be_killed_too(tmp_path: Path) -> None:
    """Recoveries that are killed on the way change nothing that was acknowledged."""
    path = tmp_path / "killed.cairn"
    with running(str(TESTS / "writer.py"), str(path), "2") as process:
        reached = acknowledged_until_killed(process, 50)
    opening = f"import cairndb, writer; cairndb.open({str(path)!r}, writer.Counters)"
    chance = random.Random(7)  # noqa: S311  reproducible, not secret
    for _ in range(6):
        with running("-c", opening) as process, suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.05, 0.3))
    with cairndb.open(path, Counters, lock_timeout=30) as db, db.view() as root:
        for key, count in reached.items():
            assert root.threads[key].count >= count


def test_one_owner_among_many_that_race(tmp_path: Path) -> None:
    """Of processes that open at the same moment, one gets it; the others are told which."""
    path = tmp_path / "raced.cairn"
    cairndb.open(path).close()
    program = (
        "import sys, cairndb\n"
        "try:\n"
        f"    db = cairndb.open({str(path)!r})\n"
        "    print('owner', flush=True)\n"
        "    sys.stdin.read()\n"
        "except cairndb.DatabaseLocked as error:\n"
        "    print('process' in str(error) and 'refused', flush=True)\n"
    )
    for _ in range(3):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(SOURCES)},
            )
            for _ in range(4)
        ]
        answers = Tally(process.stdout.readline() for process in processes if process.stdout)
        for process in processes:
            process.kill()
            process.communicate()
        assert answers == {b"owner\n": 1, b"refused\n": 3}


def test_a_reader_follows_a_writer_that_never_stops(tmp_path: Path) -> None:
    """Readings beside a busy owner that makes checkpoints are whole, and never go back."""
    path = tmp_path / "busy.cairn"
    last = 0
    with running(str(TESTS / "writer.py"), str(path), "2", "checkpoint") as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(15):
            with cairndb.open(path, Counters, read_only=True) as db, db.view() as root:
                assert root.total == sum(counter.count for counter in root.threads.values())
                assert db.lsn >= last
                last = db.lsn
    assert last > 0


def test_a_helper_without_its_owner_ends(tmp_path: Path) -> None:
    """The helper ends by itself when its standard input does, and leaves no file."""
    path = tmp_path / "orphan.cairn"
    with cairndb.open(path) as db:
        with db.update() as root:
            root["x"] = "y"
        lsn, database = db.lsn, db._engine.store.identity.database
    result = subprocess.run(
        [sys.executable, "-m", "cairndb.checkpointer", str(path), str(lsn), str(database)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        check=False,
    )
    assert result.returncode == 1
    assert b"owner" in result.stdout
    directory = RealDirectory(str(path))
    assert not [name for name in directory.names() if ".ckpt" in name]
    directory.close()


def test_reading_needs_no_lock_and_changes_nothing(tmp_path: Path) -> None:
    """The read side leaves every file as it was, byte for byte."""
    path = tmp_path / "read.cairn"
    with cairndb.open(path) as db, db.update() as root:
        root["x"] = [1, 2, 3]
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    directory = RealDirectory(str(path))
    reading = read_chain(directory)
    list(reading.log_frames())
    reading.close()
    directory.close()
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
