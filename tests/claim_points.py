"""A program that kills whoever puts, does, fails or buries a job before each of its system calls.

    python claim_points.py FOLDER

Each scene is run in a forked child once for each of its calls, and the child kills itself just
before that call. Then the job must be there whole, once, or not at all where that is allowed; and
the next loop over the directory must find it, and leave nothing that shouldn't be there. Printed,
as JSON: how many were killed in each scene.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cairndb.locking import claims, put
from owning import forked

if TYPE_CHECKING:
    from collections.abc import Callable

DATA: Final = b"whole" * 1000
CALLS: Final = {
    "access",
    "close",
    "fdatasync",
    "fstat",
    "ftruncate",
    "link",
    "listdir",
    "mkdir",
} | {
    "open",
    "pread",
    "pwrite",
    "rename",
    "scandir",
    "stat",
    "unlink",
    "write",
}
LONGEST: Final = 200


def die_before(number: int) -> None:
    """Have this process killed before its so many'th call, counting from 1."""
    left = number

    def counted(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)

    for module, names in ((os, CALLS), (fcntl, ("fcntl", "flock"))):
        for name in names:
            if hasattr(module, name):  # macOS syncs by fcntl
                setattr(module, name, functools.partial(counted, getattr(module, name)))


def refuse_links(*_args: object, **_kwargs: object) -> None:
    """What a file system without links says."""
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def add(inbox: Path) -> None:
    """Put a job."""
    put(inbox, "job", DATA)


def add_without_links(inbox: Path) -> None:
    """Put a job where there are no links."""
    os.link = refuse_links
    put(inbox, "job", DATA)


def do(inbox: Path) -> None:
    """Do a job."""
    for job in claims(inbox):
        with job:
            assert job.read() == DATA


def fail(inbox: Path, attempts: int = 5) -> None:
    """Begin a job, and fail."""
    for job in claims(inbox, attempts=attempts):
        with contextlib.suppress(ValueError), job:
            raise ValueError


def bury(inbox: Path) -> None:
    """Fail for the last time."""
    fail(inbox, attempts=1)


def sweep(inbox: Path) -> None:
    """Find nothing but what was left."""
    (inbox / ".put-1-0123456789abcdef").write_bytes(DATA)
    os.link(inbox / "job", inbox / ".put-1-0123456789abcdee")
    (inbox / ".attempts").mkdir(exist_ok=True)
    (inbox / ".attempts" / "gone").write_bytes(b"")
    fail(inbox)


SCENES: Final[dict[str, tuple[Callable[[Path], None], bool, set[int]]]] = {
    "put": (add, False, {0, 1}),
    "put without links": (add_without_links, False, {0, 1}),
    "do": (do, True, {0, 1}),
    "fail": (fail, True, {1}),
    "bury": (bury, True, {1}),
    "sweep": (sweep, True, {1}),
}
"""Each with whether there is a job before it, and how many there may be after a kill."""


def copies(inbox: Path) -> int:
    """How many times the job is there, as a job or a dead letter; each time it is whole."""
    found = [path for path in inbox.glob("**/job*") if not path.parent.name.startswith(".")]
    assert all(path.read_bytes() == DATA for path in found), found
    return len(found)


def check_recovery(inbox: Path, expected: int) -> None:
    """The next loop does what there is, and cleans up."""
    buried = (inbox / "dead-letters" / "job").exists()
    done = 0
    for job in claims(inbox):
        with job:
            assert job.read() == DATA
            done += 1
    assert done + buried == expected
    left = {path.relative_to(inbox).as_posix() for path in inbox.glob("**/*") if path.is_file()}
    allowed = {".lock", "dead-letters/.lock", "dead-letters/.errors/job"}
    assert left <= allowed | ({"dead-letters/job"} if buried else set()), left
    put(inbox, "job", DATA)


def kill_in(folder: Path, scene: str) -> int:
    """Kill a scene before each of its calls; how many that were."""
    act, before, allowed = SCENES[scene]
    for number in range(1, LONGEST):
        inbox = folder / "inbox"
        inbox.mkdir()
        if before:
            put(inbox, "job", DATA)

        def life(inbox: Path = inbox, number: int = number) -> None:
            die_before(number)
            act(inbox)

        _, status = os.waitpid(forked(life, 2), 0)
        count = copies(inbox)
        assert count in allowed, (scene, number, count)
        check_recovery(inbox, count)
        shutil.rmtree(inbox)
        if not os.WIFSIGNALED(status):
            assert status == 0
            return number - 1
    raise AssertionError(f"{scene} never ends")


if __name__ == "__main__":
    print(json.dumps({scene: kill_in(Path(sys.argv[1]), scene) for scene in SCENES}))  # noqa: T201
