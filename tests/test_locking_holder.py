"""The record of who has a lock: what it tells, and what it is worth."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from msgspec.structs import replace

from cairndb import locking_holder
from cairndb.locking_holder import (
    BYTES_MAX,
    Holder,
    decode,
    describe,
    encode,
    started_of_stat,
    this_process,
)
from cairndb.ownership import Owner, announce, read_owner
from effort import examples
from forking import Child
from simulated import SimulatedDirectory, World
from threads import wait_until

EARLY = datetime(2024, 2, 29, 12, tzinfo=UTC)
RECORD = Holder("host", 17, "python x.py", EARLY, "4711", "boot pid:[1]")
STAT = b"10813 (%s) %s 1 1 1 0 -1 4194304 97 0 0 0 0 0 0 0 20 0 %d 0 107782 3133440 358"


def test_a_record_is_a_line_that_says_the_same_again() -> None:
    """What is written is one line of JSON, and is read back equal."""
    line = encode(RECORD)

    assert line.count(b"\n") == 1
    assert line.endswith(b"}\n")
    assert decode(line) == RECORD
    assert decode(line.replace(b'"pid"', b'"new":[1],"pid"')) == RECORD


def test_a_record_of_an_earlier_version_is_read() -> None:
    """What LOCK used to say is a record, of which it isn't known whether it is stale."""
    old = b'{"host":"h","pid":1,"command":"c","since":"2024-01-01T00:00:00Z","retain":null}\n'
    holder = decode(old)

    assert holder is not None
    assert (holder.host, holder.pid, holder.stale) == ("h", 1, None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        encode(RECORD) * 2,
        encode(RECORD) + b"x",
        encode(RECORD)[:-2],
        bytes(100),
        encode(RECORD).replace(b"17", b"0"),
        encode(RECORD).replace(b"17", b"-1"),
        encode(RECORD).replace(b"17", b"2147483648"),
        encode(RECORD).replace(b"17", b"1e999"),
        encode(RECORD).replace(b":00Z", b":00"),
        encode(RECORD).replace(b"host", b"\xc0", 1),
    ],
    ids=range(16),
)
def test_what_is_no_record_is_none(content: bytes) -> None:
    """Whatever isn't a record, whole and alone, is none; nothing is raised."""
    assert decode(content) is None


@settings(max_examples=examples(100))
@given(
    at=some.integers(0, len(encode(RECORD)) - 1),
    by=some.binary(max_size=6),
    length=some.integers(0, 6),
)
def test_damage_raises_nothing(at: int, by: bytes, length: int) -> None:
    """A record with bytes exchanged is none, or one whose staleness can be asked for."""
    line = encode(RECORD)
    found = decode(line[:at] + by + line[at + length :])
    assert found is None or found.stale in {None, True, False}
    assert found is None or describe(found).isprintable()


@settings(max_examples=examples(50))
@given(command=some.lists(some.text(some.characters(), max_size=5000), max_size=3))
def test_every_command_can_be_written(command: list[str]) -> None:
    """Also one that isn't text, or is long: the record has a bound, and comes back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "orig_argv", command)
        holder = this_process()

    assert len(encode(holder)) <= BYTES_MAX
    assert decode(encode(holder)) == holder


def test_an_argument_of_bytes_is_shown_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument that isn't UTF-8 doesn't keep anybody from being named."""
    monkeypatch.setattr(sys, "orig_argv", ["python", "caf\udce9"])
    assert this_process().command == "python caf\\udce9"


def test_a_record_for_people_acts_on_no_terminal() -> None:
    """Who holds it is said on one line, whatever a stranger has written into the file."""
    holder = replace(RECORD, host="a\x1b[2Jb", command="python -c 'a\nb\u202e'")
    text = describe(holder)

    assert text.startswith("process 17 on a\\x1b[2Jb (python -c 'a\\nb\\u202e'), since 2024-0")
    assert text.isprintable()


def test_this_process_is_no_stale_holder() -> None:
    """The record of the process that asks: it runs, and it is itself, since just now."""
    holder = this_process()

    assert holder.is_this_process
    assert holder.stale is False
    assert holder.pid == os.getpid()
    assert abs(datetime.now(UTC) - holder.since) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("different", "stale"),
    [
        ({"host": "elsewhere"}, None),
        ({"namespace": "boot pid:[1]"}, None),
        ({"namespace": None}, None),
        ({"started": None}, None),
        ({"started": "1"}, True),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_not_known(
    different: dict[str, str | None],
    stale: bool | None,  # noqa: FBT001  a parameter of the test
) -> None:
    """With this process's number: another host, boot or namespace says nothing of it here."""
    holder = replace(this_process(), **different)

    assert holder.stale is stale
    assert not holder.is_this_process


def test_a_child_is_told_from_its_parent_and_from_the_dead() -> None:
    """A fork has a record of its own; it is live until it ends, stale as a zombie and after."""
    assert this_process().is_this_process  # what is known of the parent isn't the child's
    with Child(lambda: encode(this_process())[:-1]) as child:
        holder = decode(child.said)
        assert holder is not None
        assert holder.pid == child.pid
        assert not holder.is_this_process
        assert holder.stale is False
        child.kill()
        wait_until(lambda: holder.stale)
        child.end()
        assert holder.stale is True


@pytest.mark.parametrize("name", [b"cat", b"a) R 1", b"(x", b") Z 1 1 (", b""])
def test_the_start_is_found_behind_any_name(name: bytes) -> None:
    """The name of a process may look like the fields that follow it."""
    assert started_of_stat(STAT % (name, b"S", 1)) == "107782"


@pytest.mark.parametrize(
    ("state", "threads", "started"), [(b"Z", 1, ""), (b"X", 0, ""), (b"Z", 2, "107782")]
)
def test_a_zombie_has_no_start(state: bytes, threads: int, started: str) -> None:
    """Who is done holds nothing; but other threads may go on when the first one has ended."""
    assert started_of_stat(STAT % (b"cat", state, threads)) == started


@pytest.mark.process
def test_ps_tells_a_start_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc, ps is asked; in the same words whatever the language and zone are."""
    with Child(lambda: b"") as child:
        started = locking_holder.started_of_ps(child.pid)
        if started is None and not Path("/bin/ps").exists():
            pytest.skip("there is no ps")
        assert started
        monkeypatch.setenv("TZ", "<+14>-14")
        assert locking_holder.started_of_ps(child.pid) == started
        child.kill()
        wait_until(lambda: locking_holder.started_of_ps(child.pid) == "")
        child.end()
        assert locking_holder.started_of_ps(child.pid) is None


def test_lock_has_the_record_and_what_is_kept() -> None:
    """The owner of a database is a holder, of which LOCK also says what it keeps."""
    directory = SimulatedDirectory(World(()))
    announce(directory, "7d")
    owner = read_owner(directory)

    assert isinstance(owner, Owner)
    assert owner.retain == "7d"
    assert owner.is_this_process
