"""A program that cuts the power of a real file system under load, again and again.

    python power_cut.py FOLDER FILE_SYSTEM LEVEL CUTS SEED

Owners (see `killing`) work on a file system whose disk is `recording_disk`, one after the other,
each until it is killed. Afterwards, for each cut, the disk is made again as it can have been at a
moment of the record: every write up to the last flush, and of those after it all, or none, or some,
or some of their sectors. It is mounted, which replays the file system's own journal; the database
is opened, held against what had been acknowledged by then, and gone on with. Printed, as JSON: what
was tried.

Ends with status 77 where mounting is refused. It is to be run in a mount and a process namespace of
its own, so that nothing stays mounted however it ends.
"""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter as Tally
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from killing import Life
from owning import HelperInside, check_beside, forked, kill, own_path
from recording_disk import NAME, Event, Kind, events
from writer import check, count_once

if TYPE_CHECKING:
    from collections.abc import Iterator

SKIPPED: Final = 77
# What a disk writes whole. The file systems ask for this much: ext4's superblock, of 1 KiB, has its
# checksum in another 512 bytes than its counts, and can't be mounted when it is torn between them.
SECTOR_BYTES: Final = 4096
_COPY_BYTES: Final = 1 << 22
# Recorded by one run of owners; a cut takes place somewhere in it.
_RECORD_BYTES: Final = 4 << 20
_RECORD_SECONDS: Final = 20.0
CUTS_PER_RECORD: Final = 40


class FileSystem(NamedTuple):
    """How to make one."""

    mebibytes: int
    make: str
    options: str


_EXT4: Final = "mkfs.ext4 -q -F -J size=4 -E lazy_itable_init=0,lazy_journal_init=0"
FILE_SYSTEMS: Final = {
    "ext4": FileSystem(32, _EXT4, "loop,data=ordered"),
    "ext4-writeback": FileSystem(32, _EXT4, "loop,data=writeback"),
    "xfs": FileSystem(320, "mkfs.xfs -q -f", "loop"),
    "btrfs": FileSystem(160, "mkfs.btrfs -q -f", "loop"),
}


def run(*command: str | Path) -> None:
    """Run a program; what it says against it is raised."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(done.returncode, f"{' '.join(map(str, command))}: {done.stderr.strip()}")


def skip(reason: object) -> NoReturn:
    """End, because it isn't possible here."""
    sys.stdout.write(str(reason))
    sys.exit(SKIPPED)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file without its holes."""
    with source.open("rb") as read, target.open("wb") as write:
        size = os.fstat(read.fileno()).st_size
        write.truncate(size)
        end = 0
        while end < size:
            try:
                begin = os.lseek(read.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            end = os.lseek(read.fileno(), begin, os.SEEK_HOLE)
            for offset in range(begin, end, _COPY_BYTES):
                data = os.pread(read.fileno(), min(_COPY_BYTES, end - offset), offset)
                os.pwrite(write.fileno(), data, offset)


@contextmanager
def mounted(disk: Path, folder: Path, options: str) -> Iterator[None]:
    """A file system, mounted by a loop device that goes with it."""
    run("mount", "-o", options, disk, folder)
    try:
        yield
    finally:
        run("umount", folder)


@contextmanager
def recorded(image: Path, folder: Path, record: Path) -> Iterator[int]:
    """A disk in a folder, and a pipe for what is acknowledged."""
    said, say = os.pipe()
    program: list[str | Path] = [
        sys.executable,
        Path(__file__).with_name("recording_disk.py"),
        image,
        folder,
        record,
    ]
    with subprocess.Popen(program, stdin=said, stdout=subprocess.PIPE) as disk:
        os.close(said)
        assert disk.stdout is not None
        try:
            if not disk.stdout.readline():
                skip("no FUSE file system can be mounted")
            yield say
        finally:
            os.close(say)
            with suppress(OSError):
                run("umount", folder)
            try:
                disk.wait(10)
            finally:
                disk.kill()


class Promises:
    """What has to survive a power cut, by what owners say.

    Args:
        level: of durability; where it doesn't promise that, what was synced.
    """

    def __init__(self, level: str) -> None:
        self._at_once = level == "commit"
        self.kept: dict[str, int] = {}

    def take(self, said: bytes) -> None:
        """Go on by some lines."""
        for line in said.decode().splitlines():
            if line[0] == "=" or (self._at_once and line[0] not in "+-~"):
                key, count = line.removeprefix("=").split()
                self.kept[key] = max(self.kept.get(key, 0), int(count))


class Trial:
    """One kind of file system, and the files that are needed for it.

    Args:
        folder: for everything.
        system: which kind.
        level: of durability.
        chance: for all choices.
    """

    def __init__(self, folder: Path, system: FileSystem, level: str, chance: random.Random) -> None:
        self._system = system
        self._level = level
        self._chance = chance
        self._base, self._image, self._record = (
            folder / name for name in ("base", "image", "record")
        )
        self._disk_folder, self._folder = folder / "disk", folder / "mounted"
        for path in (self._disk_folder, self._folder):
            path.mkdir()
        self.done: Tally[str] = Tally()

    def record(self) -> None:
        """Make a file system, and have owners work on it."""
        with self._base.open("wb") as file:
            file.truncate(self._system.mebibytes << 20)
        run(*self._system.make.split(), self._base)
        copy_sparse(self._base, self._image)
        with recorded(self._image, self._disk_folder, self._record) as say:
            try:
                work = mounted(self._disk_folder / NAME, self._folder, self._system.options)
                work.__enter__()
            except OSError as error:
                skip(error)
            try:
                self._work(say)
            finally:
                work.__exit__(None, None, None)

    def _work(self, say: int) -> None:
        """Owners one after the other, each killed after a while."""
        until = time.monotonic() + _RECORD_SECONDS
        while time.monotonic() < until and self._record.stat().st_size < _RECORD_BYTES:
            seed = self._chance.randrange(1 << 30)
            path = self._folder / "cut.cairn"
            owner = forked(Life(path, self._level, HelperInside, seed, say), say)
            try:
                time.sleep(10 ** self._chance.uniform(-2, 0))
            finally:
                kill(owner)
                os.waitpid(owner, 0)

    def cut(self, cuts: int) -> None:
        """Cut the power at so many moments of the record."""
        record = list(events(self._record))
        assert not [event for event in record if event.data[:1] == b"!" and event.kind == Kind.SAID]
        # Mostly where something is on its way.
        weights = [1, *(3 if event.kind == Kind.WRITE else 1 for event in record)]
        moments = sorted(self._chance.choices(range(len(record) + 1), weights, k=cuts))
        promises = Promises(self._level)
        pending: list[Event] = []
        place = 0
        with self._base.open("r+b", buffering=0) as settled:
            for moment in moments:
                for event in record[place:moment]:
                    if event.kind == Kind.WRITE:
                        pending.append(event)
                    elif event.kind == Kind.FLUSH:
                        for write in pending:
                            os.pwrite(settled.fileno(), write.data, write.offset)
                        pending.clear()
                    else:
                        promises.take(event.data)
                place = moment
                self._cut_once(pending, promises.kept)

    def _cut_once(self, pending: list[Event], reached: dict[str, int]) -> None:
        copy_sparse(self._base, self._image)
        how = self._chance.choice(("all", "none", "some", "some sectors")) if pending else "flushed"
        with self._image.open("r+b", buffering=0) as file:
            for event in pending:
                if how == "all" or (how == "some" and self._chance.random() < 0.5):
                    os.pwrite(file.fileno(), event.data, event.offset)
                elif how == "some sectors":
                    self._write_sectors(file.fileno(), event)
        with mounted(self._image, self._folder, self._system.options):
            self._open_and_go_on(reached)
        self.done["cuts"] += 1
        self.done[f"cuts with writes after the last flush: {how}"] += 1
        self.done["cuts after something was acknowledged"] += bool(reached)

    def _write_sectors(self, descriptor: int, event: Event) -> None:
        start, end = event.offset, event.offset + len(event.data)
        while start < end:
            stop = min(end, start - start % SECTOR_BYTES + SECTOR_BYTES)
            if self._chance.random() < 0.5:
                sector = event.data[start - event.offset : stop - event.offset]
                os.pwrite(descriptor, sector, start)
            start = stop

    def _open_and_go_on(self, reached: dict[str, int]) -> None:
        path = self._folder / "cut.cairn"
        check_beside(path, reached)
        with own_path(path) as db:
            with db.view() as root:
                check(root, db.lsn, reached)
            last = count_once(db, "last")
        check_beside(path, reached | {"last": last})


def main() -> None:
    """Record, and cut, as often as asked for."""
    folder, system, level, cuts, seed = sys.argv[1:]
    chance = random.Random(f"{system} {level} {seed}")  # noqa: S311  reproducible, not secret
    trial = Trial(Path(folder), FILE_SYSTEMS[system], level, chance)
    while (left := int(cuts) - trial.done["cuts"]) > 0:
        trial.record()
        trial.cut(min(left, CUTS_PER_RECORD))
    sys.stdout.write(json.dumps(trial.done))


if __name__ == "__main__":
    main()
