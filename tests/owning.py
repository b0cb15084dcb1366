"""Owners of real directories, with segments so small that they rotate all the time.

`cairndb.open` doesn't offer that, nor a directory of the caller's; so this is what it does, with
other numbers. By default the helper's work is done in a thread of the owner: a Python process for
each checkpoint would take most of the time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from typing import TYPE_CHECKING

import cairndb
from cairndb import opening
from cairndb.checkpointer import make_checkpoint
from cairndb.errors import CairnError, UsageError
from cairndb.files import RealDirectory, random_nonce
from cairndb.housekeeper import Housekeeper, Report
from cairndb.publishing import create_directory
from cairndb.recovery import verify
from cairndb.schema import compile_root
from cairndb.store import StoreOptions
from writer import Counters, check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cairndb.files import Directory

KIND = compile_root(Counters, guard=True)
SEGMENT_BYTES = (4096, 8192)


class HelperInside(Housekeeper):
    """Makes checkpoints itself, with what the helper process runs."""

    def _run_helper(self, lsn: int) -> Report:
        self._proceed()
        return make_checkpoint(self._engine.store.directory, lsn, self._proceed)

    def _proceed(self) -> None:
        if self._stopping:
            raise CairnError("the database is being closed")


def own(
    directory: Directory,
    level: str = "commit",
    *,
    helper: type[Housekeeper] = HelperInside,
    lock_timeout: float | None = 30,
    nonce: Callable[[], bytes] | None = None,
) -> cairndb.Database[Counters]:
    """Open a database for writing, with tiny segments.

    Args:
        directory: of it; closed with it.
        level: of durability.
        helper: who makes checkpoints.
        lock_timeout: what was killed just now may take a moment to end.
        nonce: None for a random one each time.
    """
    options = StoreOptions(*SEGMENT_BYTES, nonce=nonce or random_nonce)
    recovered = opening.own(
        directory,
        KIND,
        create=True,
        lock_timeout=lock_timeout,
        sync_at_commit=level == "commit",
        options=options,
    )
    housekeeper = helper(
        recovered.engine,
        directory.path,
        sync_interval=0.002,
        sync_soon=level != "process",
        restart_target=None,
        load_rate=None,
    )
    recovered.engine.wake = housekeeper.wake
    return cairndb.Database(recovered.engine, housekeeper, directory.path, audit=False)


def own_path(
    path: Path,
    level: str = "commit",
    *,
    helper: type[Housekeeper] = HelperInside,
    lock_timeout: float | None = 30,
) -> cairndb.Database[Counters]:
    """The same by path; the directory is made if it isn't there."""
    create_directory(str(path))
    directory = RealDirectory(str(path))
    try:
        return own(directory, level, helper=helper, lock_timeout=lock_timeout)
    except BaseException:
        directory.close()
        raise


def check_beside(path: Path, reached: Mapping[str, int]) -> int:
    """Read what a killed owner left, changing nothing, and hold it against what it had reported.

    Returns:
        The LSN found; 0 if no database had been made.
    """
    try:
        db = cairndb.open(path, Counters, read_only=True)
    except UsageError:
        assert not reached, f"no database where {reached} was acknowledged"
        return 0
    except CairnError as error:
        if reached or "there is no database" not in str(error):
            raise
        return 0
    with db:
        if db.lsn == 0:  # killed before LSN 1: the database is there, and has no content
            assert not reached
            return 0
        with db.view() as root:
            check(root, db.lsn, reached)
        lsn = db.lsn
    directory = RealDirectory(str(path))
    try:
        findings = list(verify(directory))
    finally:
        directory.close()
    assert findings == [], findings
    return lsn


def forked(life: Callable[[], None], pipe: int) -> int:
    """Run `life` in a child with a process group of its own; it never returns to the caller's code.

    Args:
        life: what the child does.
        pipe: an error is reported there, after a "!", and by the exit code.

    Returns:
        The child's process id.
    """
    child = os.fork()
    if child:
        # Here and there: whoever comes first.
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        return child
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        life()
    except BaseException:  # noqa: BLE001  the caller is told
        report_error(pipe)
    os._exit(0)


def report_error(pipe: int) -> None:
    """Tell the parent what is being handled, and end this process."""
    with contextlib.suppress(OSError):
        os.write(pipe, b"!" + traceback.format_exc().encode()[-3000:])
    os._exit(1)


def kill(process: int, *, group: bool = False) -> None:
    """SIGKILL, to a process or its whole group, which may be gone already."""
    try:
        (os.killpg if group else os.kill)(process, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # macOS says "not permitted" of a group that has only a dead leader.
        return
