"""How a job gets into a directory, and what is said when something can't be done there."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from cairndb import descriptors
from cairndb.errors import UsageError
from cairndb.locking import claim, claims, put
from cairndb.locking_hold import take
from lock_files import everybodys
from test_claims import inbox as inbox_fixture
from test_claims import names, taken
from test_kill import MEMORY

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["everybodys"]

inbox = inbox_fixture


def test_names_in_order_of_time(inbox: Path) -> None:
    """Without a name a job gets one that sorts after those before it."""
    paths = [put(inbox, None, str(number).encode()) for number in range(20)]
    assert paths == sorted(paths)
    done = []
    for job in claims(inbox):
        with job:
            done.append(int(job.read()))
    assert done == list(range(20))


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "a\0b"])
def test_names_that_no_job_has(inbox: Path, name: str) -> None:
    """They are refused before anything is written."""
    with pytest.raises(UsageError, match="can't be the name of a job"):
        put(inbox, name, b"")
    assert list(inbox.iterdir()) == []


def test_a_name_in_use_is_refused(inbox: Path) -> None:
    """A job is never replaced, held or not, and nothing is left of the attempt."""
    put(inbox, "a", b"first")
    with taken(inbox / "a") as job:
        with pytest.raises(FileExistsError, match="a job of that name"):
            put(inbox, "a", b"second")
        assert job.read() == b"first"
        assert sorted(entry.name for entry in inbox.iterdir()) == [".attempts", "a"]
    put(inbox, "a", b"second")
    with taken(inbox / "a") as job:
        assert job.read() == b"second"


def test_remnants_of_put_are_removed(inbox: Path) -> None:
    """By the next loop; not what is being written, nor what only looks like it."""
    remnant, live = (f".put-1-{number:016x}" for number in (1, 2))
    (inbox / remnant).write_bytes(b"half")
    (inbox / ".put-aside").write_bytes(b"")
    hold = take(str(inbox / live), create=True)
    assert hold is not None
    assert list(claims(inbox)) == []
    assert names(inbox) == [live, ".put-aside"]
    hold.close()


def test_put_syncs_the_file_then_the_name(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is durable before the job can be seen, and its name before `put` returns."""
    synced, sync = [], descriptors._sync

    def observed(number: int) -> None:
        status = os.fstat(number)
        what = "directory" if status.st_ino == inbox.stat().st_ino else status.st_size
        synced.append((what, names(inbox) == ["a"]))
        sync(number)

    monkeypatch.setattr(descriptors, "_sync", observed)
    put(inbox, "a", b"data")
    assert synced == [(4, False), ("directory", True)]


def test_without_links_a_job_is_renamed(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that has none; a name in use is refused all the same."""

    def link(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    put(inbox, "a", b"data")
    with pytest.raises(FileExistsError, match="a job of that name"):
        put(inbox, "a", b"other")
    assert names(inbox) == [".lock", "a"]
    with taken(inbox / "a") as job:
        assert job.read() == b"data"


def test_errors_say_what_to_do(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They name the path."""
    missing = inbox / "nowhere"
    for call in (lambda: put(missing, "a", b""), lambda: claims(missing)):
        with pytest.raises(FileNotFoundError, match="make it first") as raised:
            call()
        assert raised.value.filename == str(missing)
    with pytest.raises(OSError, match="name too long") as raised_by_name:
        put(inbox, "x" * 256, b"")
    assert raised_by_name.value.filename == str(inbox / ("x" * 256))
    with pytest.raises(NotADirectoryError):
        claims(put(inbox, "a", b""))
    job = claim(inbox / "a", attempts=1, dead_letters=missing / "deeper")
    assert job is not None
    with pytest.raises(ValueError, match="no") as failed, job:
        raise ValueError("no")
    assert "no directory to make one for dead letters in" in failed.value.__notes__[0]
    assert str(missing / "deeper") in failed.value.__notes__[0]
    monkeypatch.setattr(os, "access", lambda *_args, **_kwargs: False)
    with pytest.raises(PermissionError, match="make the directory writable"):
        claims(inbox)


@pytest.mark.skipif(
    not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK), reason="needs a second file system"
)
def test_dead_letters_are_in_the_same_file_system(inbox: Path) -> None:
    """The error says so; the job stays."""
    put(inbox, "a", b"")
    if inbox.stat().st_dev == MEMORY.stat().st_dev:
        pytest.skip("needs a second file system")
    job = claim(inbox / "a", attempts=1, dead_letters=MEMORY / f"cairndb-{os.getpid()}")
    assert job is not None
    with pytest.raises(ValueError, match="no") as failed, job:
        raise ValueError("no")
    assert "must be in the file system of the jobs" in failed.value.__notes__[0]
    assert names(inbox) == ["a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_job_that_may_not_be_read(everybodys: Path) -> None:
    """Whoever may not open it is told so, and what to do."""
    inbox = everybodys / "inbox"
    inbox.mkdir()
    put(inbox, "a", b"")
    (inbox / "a").chmod(0o600)
    inbox.chmod(0o777)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match="make it readable") as raised:
            claim(inbox / "a")
    finally:
        os.seteuid(0)
    assert raised.value.filename == str(inbox / "a")
