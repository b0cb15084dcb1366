"""Jobs that are files: who gets one, what becomes of it, and what is counted."""

from __future__ import annotations

import json
import os
import re
import socket
from typing import TYPE_CHECKING

import pytest

from cairndb.errors import UsageError
from cairndb.locking import claim, claims, put

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


def test_names_in_order_of_time(inbox: Path) -> None:
    """Without a name a job gets one that sorts after those before it."""
    paths = [put(inbox, None, str(number).encode()) for number in range(20)]
    assert paths == sorted(paths)
    done = []
    for job in claims(inbox):
        with job:
            done.append(int(job.read()))
    assert done == list(range(20))


def test_only_files_are_jobs(inbox: Path) -> None:
    """No directory, link, pipe, socket or hidden file is taken, or opened."""
    (inbox / "directory").mkdir()
    (inbox / "link").symlink_to("file")
    (inbox / ".hidden").write_text("")
    os.mkfifo(inbox / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(inbox / "socket"))
        assert list(claims(inbox)) == []
        for name in ("directory", "link", "pipe", "socket"):
            assert claim(inbox / name) is None
    put(inbox, "file", b"")
    assert [job.name for job in claims(inbox)] == ["file"]
    with pytest.raises(UsageError, match="a name in one directory"):
        claim(inbox / ".hidden")


@pytest.mark.parametrize("name", ["ä ö", " ", "a\nb", "-rf", "*", "\udcff", "x" * 255, "a.b.c"])
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
