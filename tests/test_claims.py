"""Jobs that are files: who gets one, what becomes of it, and what is counted."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from cairndb.errors import UsageError
from cairndb.locking import claim, claims, put
from forking import in_child

if TYPE_CHECKING:
    from pathlib import Path

    from cairndb.locking import Claim


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """An empty directory of jobs."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    return inbox


def fail(job: Claim, reason: str = "not today") -> None:
    """Begin a job, and fail."""
    with pytest.raises(ValueError, match=re.escape(reason)), job:
        raise ValueError(reason)


def taken(path: Path) -> Claim:
    """A claim that is to be had."""
    job = claim(path)
    assert job is not None
    return job


def record(path: Path) -> dict[str, object]:
    """What is recorded of a job, or of a dead letter."""
    (folder,) = (path.parent / name for name in (".attempts", ".errors") if is_in(path, name))
    text = (folder / path.name).read_text("utf-8")
    assert text.count("\n") == 1
    return dict(json.loads(text))


def is_in(path: Path, folder: str) -> bool:
    """Whether there is a record of it in that folder."""
    return (path.parent / folder / path.name).exists()


def names(folder: Path) -> list[str]:
    """The jobs that are there."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_file())


def test_a_job_is_done_once(inbox: Path) -> None:
    """While it is held nobody else gets it; the end of the block removes it."""
    path = put(inbox, "a", b"data")
    assert path == str(inbox / "a")
    job = claim(path)
    assert job is not None
    assert claim(path) is None
    with job:
        assert (job.path, job.name, job.attempt, job.read()) == (path, "a", 1, b"data")
        assert os.read(job.fileno(), 2) == b"da"
        assert claim(path) is None
        assert list(claims(inbox)) == []
    assert claim(path) is None
    assert names(inbox) == []
    assert list((inbox / ".attempts").iterdir()) == []


def test_a_job_that_fails_stays(inbox: Path) -> None:
    """The exception goes on, it and the attempt are recorded, and the job can be claimed again."""
    path = inbox / "a"
    put(inbox, "a", b"")
    fail(taken(path), "first")
    assert record(path)["error"] == "ValueError: first"
    fail(taken(path), "second")
    assert record(path)["attempts"] == 2
    with taken(path) as job:
        assert job.attempt == 3
        assert "killed" in str(record(path)["error"])
    assert not is_in(path, ".attempts")


def test_jobs_come_in_the_order_of_their_names(inbox: Path) -> None:
    """Those that match; also what comes while the loop runs; each failed one once."""
    for name in ("b", "a.json", "c.json"):
        put(inbox, name, b"")
    seen = []
    for job in claims(inbox, "*.json"):
        seen.append(job.name)
        if job.name == "c.json":
            fail(job)
            put(inbox, "0.json", b"")
        else:
            with job:
                pass
    assert seen == ["a.json", "c.json", "0.json"]
    assert names(inbox) == ["b", "c.json"]


def test_only_files_are_jobs(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No directory, link, pipe, socket or hidden file is taken, or opened."""
    (inbox / "directory").mkdir()
    (inbox / "link").symlink_to("file")
    (inbox / ".hidden").write_text("")
    os.mkfifo(inbox / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(inbox)  # its path may be too long
        listening.bind("socket")
        assert list(claims(inbox)) == []
        for name in ("directory", "link", "pipe", "socket"):
            assert claim(inbox / name) is None
    put(inbox, "file", b"")
    assert [job.name for job in claims(inbox)] == ["file"]
    with pytest.raises(UsageError, match="a name in one directory"):
        claim(inbox / ".hidden")


@pytest.mark.parametrize(
    "name",
    ["ä ö", " ", "a\nb", "-rf", "*", "x" * 255, "a.b.c"]
    # Which macOS doesn't let files be called.
    + (["\udcff"] if sys.platform == "linux" else []),
)
def test_names_that_need_care(inbox: Path, name: str) -> None:
    """Whatever a file can be called, a job can: counted, failed, done, buried."""
    put(inbox, name, b"")
    fail(taken(inbox / name), name)
    assert is_in(inbox / name, ".attempts")
    for _ in range(2):
        job = claim(inbox / name, attempts=2)
        if job is not None:
            fail(job, name)
            assert job.dead_letter == str(inbox / "dead-letters" / name)
            put(inbox, name, b"")
            with taken(inbox / name) as again:
                assert again.attempt == 1
    assert names(inbox) == []
    assert [job.name for job in claims(inbox / "dead-letters")] == [name]


def killed(job: Claim) -> None:
    """What a kill of the worker leaves."""
    job.__enter__()
    job._hold.close()


def test_a_job_that_kills_its_worker_is_given_up(inbox: Path) -> None:
    """Each begin counts, whatever comes of it; whoever would be the next moves it."""
    put(inbox, "a", b"poison")
    for attempt in (1, 2):
        job = claim(inbox / "a", attempts=2)
        assert job is not None
        assert job.attempt == attempt
        killed(job)
    assert list(claims(inbox, attempts=2)) == []
    dead = inbox / "dead-letters" / "a"
    assert dead.read_bytes() == b"poison"
    assert record(dead)["attempts"] == 2
    assert "killed" in str(record(dead)["error"])


def test_dead_letters_are_never_replaced(inbox: Path, tmp_path: Path) -> None:
    """The second of a name gets a number, with a record of its own; where, can be said."""
    moved = []
    for data in (b"1", b"2", b"3"):
        put(inbox, "a", data)
        job = claim(inbox / "a", attempts=1, dead_letters=tmp_path / "dead")
        assert job is not None
        fail(job, data.decode())
        moved.append(job.dead_letter)
    dead = tmp_path / "dead"
    assert [(dead / name).read_bytes() for name in ("a", "a.2", "a.3")] == [b"1", b"2", b"3"]
    assert record(dead / "a.3")["error"] == "ValueError: 3"
    assert moved == [str(dead / name) for name in ("a", "a.2", "a.3")]


def test_attempts_may_be_left_uncounted(inbox: Path) -> None:
    """Then nothing is written, and nothing is given up."""
    put(inbox, "a", b"")
    for _ in range(10):
        job = claim(inbox / "a", attempts=None)
        assert job is not None
        assert job.attempt == 1
        fail(job)
    assert [entry.name for entry in inbox.iterdir()] == ["a"]
    with pytest.raises(UsageError, match="at least 1"):
        claim(inbox / "a", attempts=0)


def test_an_interrupt_is_no_attempt(inbox: Path) -> None:
    """What ends the worker from outside is no fault of the job."""
    put(inbox, "a", b"")
    fail(taken(inbox / "a"))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), taken(inbox / "a") as job:
            raise KeyboardInterrupt
        assert job.attempt == 2


def test_a_record_is_of_one_file(inbox: Path) -> None:
    """One that was removed by somebody else, or can't be read, counts against no other."""
    path = inbox / "a"
    put(inbox, "a", b"")
    fail(taken(path))
    path.unlink()
    put(inbox, "a", b"")
    os.utime(path, ns=(5, 5))
    with taken(path) as job:
        assert job.attempt == 1
        path.unlink()
    assert is_in(path, ".attempts")
    assert list(claims(inbox)) == []
    assert not is_in(path, ".attempts")
    put(inbox, "a", b"")
    fail(taken(path))
    (inbox / ".attempts" / "a").write_text('{"attempts": 9, "inode"')
    with taken(path) as job:
        assert job.attempt == 1


def test_the_work_may_take_the_file_away(inbox: Path) -> None:
    """A file that was moved, or replaced, while it was held isn't removed under its old name."""
    put(inbox, "a", b"old")
    with taken(inbox / "a"):
        (inbox / "a").rename(inbox / "elsewhere")
        (inbox / "a").write_bytes(b"new")
    assert (inbox / "a").read_bytes() == b"new"
    assert (inbox / "elsewhere").read_bytes() == b"old"


def test_a_claim_that_is_not_entered_is_given_back(inbox: Path) -> None:
    """When the loop goes on or is left; it can't be entered then, and wasn't counted."""
    put(inbox, "a", b"")
    put(inbox, "b", b"")
    loop = claims(inbox)
    first = next(loop)
    assert claim(inbox / "a") is None
    second = next(loop)
    with pytest.raises(UsageError, match="claim it again"):
        first.__enter__()
    with taken(inbox / "a") as job:
        assert job.attempt == 1
    del loop
    with pytest.raises(UsageError, match="claim it again"):
        second.__enter__()
    with taken(inbox / "b") as job, pytest.raises(UsageError, match="claim it again"):
        job.__enter__()


def test_a_claim_outlives_its_loop(inbox: Path) -> None:
    """Work that goes on elsewhere ends as it does within the loop; what fails isn't given again."""
    for name in ("a", "b", "c"):
        put(inbox, name, b"")
    jobs = []
    loop = claims(inbox)
    for job in loop:
        jobs.append(job.__enter__())
        if job.name == "b":
            jobs[0].__exit__(ValueError, ValueError("no"), None)
    assert [job.name for job in jobs] == ["a", "b", "c"]
    del loop
    ending = threading.Thread(target=jobs[1].__exit__, args=(None, None, None))
    ending.start()
    ending.join()
    jobs[2].__exit__(None, None, None)
    assert names(inbox) == ["a"]


def test_threads_share_a_directory(inbox: Path) -> None:
    """Each with a loop of its own: each job is done once."""
    for number in range(200):
        (inbox / f"{number}").touch()
    done: list[str] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait(60)
        for job in claims(inbox):
            with job:
                done.append(job.name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done, key=int) == [f"{number}" for number in range(200)]


@pytest.mark.process
def test_a_forked_child_ends_no_claim(inbox: Path) -> None:
    """Its descriptor is closed: it can neither remove the job nor record a failure."""
    put(inbox, "a", b"")
    job = taken(inbox / "a").__enter__()

    def child() -> bool:
        for error in (None, ValueError("no")):
            with pytest.raises(OSError, match="Bad file descriptor"):
                job.__exit__(None, error, None)
        return True

    assert in_child(child)
    assert claim(inbox / "a") is None
    assert "killed" in str(record(inbox / "a")["error"])
    job.__exit__(None, None, None)
    assert names(inbox) == []


def test_what_inherits_the_descriptor_holds_the_job(inbox: Path) -> None:
    """A program that was given it has the lock until it ends, though its parent has closed it."""
    put(inbox, "a", b"")
    job = taken(inbox / "a").__enter__()
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, pass_fds=[job.fileno()]) as child:
        job._hold.close()
        assert claim(inbox / "a") is None
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait() == 0
    with taken(inbox / "a") as again:
        assert again.attempt == 2
