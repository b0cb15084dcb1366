"""What is judged an anomaly, and what only looks like one, call by call."""

from __future__ import annotations

import msgspec
import pytest

from cairndb.tracing_anomalies import EARLY_RENAME, LATE_UNLINK, NAMELESS, TWO_HOLDERS
from trace_script import Script

X, Y = "/d/x", "/d/y"


def stale() -> Script:
    """Process 1 has opened a file and got its lock after 2 had removed it."""
    script = Script()
    script(1, "open", X, 3)(2, "unlink", X)
    return script(1, "lock", "", 3, "flock")


@pytest.mark.parametrize("how", ["close", "exit", "unlock"])
def test_to_look_and_let_go_is_right(how: str) -> None:
    """A stale lock that is looked at and given up, by whatever means, is no mistake."""
    script = stale()(1, "look", "", 3)(1, "look", X, error="ENOENT")
    assert script(1, how, "", 3, "flock").anomalies() == []


@pytest.mark.parametrize("name", ["read", "write", "sync"])
def test_to_look_and_use_the_file_is_wrong(name: str) -> None:
    """Having looked is no excuse for going on."""
    script = stale()(1, "look", "", 3)(1, name, "", 3)(1, "close", "", 3)
    assert script.anomalies() == [(NAMELESS, 1)]


@pytest.mark.parametrize("how", ["close", "exit", "unlock"])
def test_to_let_go_without_having_looked_is_wrong(how: str) -> None:
    """Whatever was done under the lock was done as if it guarded something."""
    assert stale()(1, how, "", 3, "flock").anomalies() == [(NAMELESS, 1)]


def test_a_look_before_the_lock_does_not_count() -> None:
    """Python's open has an fstat of its own."""
    script = Script()(1, "open", X, 3)(1, "look", "", 3)(2, "unlink", X)(1, "lock", "", 3, "flock")
    assert script(1, "close", "", 3).anomalies() == [(NAMELESS, 1)]


def test_a_look_that_began_before_the_lock_does_not_count() -> None:
    """Another thread's stat may have been over when the file lost its name."""
    script = Script()(1, "open", X, 3)(2, "unlink", X)
    place = len(script.calls) * 2
    script(1, "lock", "", 3, "flock")(1, "look", "", 3, thread=11)
    look = script.calls[-1]
    script.calls[-1] = msgspec.structs.replace(look, begun=place)
    assert script(1, "close", "", 3).anomalies() == [(NAMELESS, 1)]


def test_who_is_killed_has_not_gone_on() -> None:
    """Nothing says what it would have done."""
    assert stale()(1, "exit", "", -1, "killed").anomalies() == []


def test_who_still_sleeps_has_not_gone_on() -> None:
    """A trace that ends first judges nothing."""
    assert stale().anomalies() == []


@pytest.mark.parametrize(
    "more",
    [{"inode": 7, "links": 0}, {"named": False}],
    ids=["link count", "name"],
)
def test_what_the_kernel_says_is_enough(more: dict[str, object]) -> None:
    """A removal that the trace doesn't show, by a process that isn't traced, is seen too."""
    script = Script()(1, "open", X, 3)(1, "lock", "", 3, "flock", **more)(1, "write", "", 3)
    assert script.anomalies() == [(NAMELESS, 1)]


@pytest.mark.parametrize("name", ["rename", "link"])
def test_a_name_that_is_another_file_is_lost_too(name: str) -> None:
    """A file that was replaced by a rename isn't the one of its name; a link replaces nothing."""
    script = Script()(1, "open", X, 3)(2, name, Y, other=X)(1, "lock", "", 3, "flock")
    script(1, "write", "", 3)
    assert script.anomalies() == [(NAMELESS, 1)][: name == "rename"]


def test_what_a_process_does_to_the_name_itself_it_knows() -> None:
    """To remove one's own file and lock it then is strange, but nobody is surprised."""
    script = Script()(1, "open", X, 3)(1, "unlink", X)(1, "lock", "", 3, "flock")
    assert script(1, "write", "", 3).anomalies() == []


def test_a_file_that_never_had_a_name_has_not_lost_it() -> None:
    """O_TMPFILE makes such ones."""
    script = Script()(1, "open", "/d", 3, "unnamed")(1, "lock", "", 3, "flock", inode=7, links=0)
    assert script(1, "write", "", 3).anomalies() == []


def two(second: int = 2) -> Script:
    """Process 1 holds a file that 3 removes; another makes a new one and locks that."""
    script = Script()(1, "open", X, 3)(1, "lock", "", 3, "flock")(3, "unlink", X)
    script(second, "open", X, 4, "create", "exclusive")
    return script(second, "lock", "", 4, "flock")


def test_two_holders_of_one_name() -> None:
    """The mark is at the second one's lock."""
    assert two()(1, "close", "", 3)(2, "close", "", 4).anomalies() == [(TWO_HOLDERS, 2)]


def test_threads_race_as_processes_do() -> None:
    """One opens, another removes, the first locks: it is no excuse that they are one process."""
    script = Script()(1, "open", X, 3, thread=11)(1, "unlink", X, thread=12)
    script(1, "lock", "", 3, "flock", thread=11)(1, "unlink", X, error="ENOENT", thread=11)
    assert script.anomalies() == [(NAMELESS, 1), (LATE_UNLINK, 1)]


def test_what_another_thread_does_to_the_name_is_its_own() -> None:
    """The one with the stale lock looks and lets go; meanwhile another removes the next file."""
    script = Script()(1, "open", X, 3, thread=11)(1, "unlink", X, thread=12)
    script(1, "lock", "", 3, "flock", thread=11)(1, "open", X, 4, "create", thread=12)
    script(1, "unlink", X, thread=12)(1, "look", "", 3, thread=11)
    assert script(1, "close", "", 3, thread=11).anomalies() == []


def test_two_threads_are_two_holders() -> None:
    """Locks are between open files, not between processes."""
    script = Script()(1, "open", X, 3)(1, "lock", "", 3, "flock")(3, "unlink", X)
    script(1, "open", X, 4, "create")(1, "lock", "", 4, "flock", thread=11)
    assert script(1, "close", "", 3).anomalies() == [(TWO_HOLDERS, 1)]


@pytest.mark.parametrize("how", ["close", "unlock", "exit", "exec"])
def test_what_is_let_go_is_gone_when_that_begins(how: str) -> None:
    """The second got the lock before the first one's call had returned: they needn't have met."""
    script = Script()(1, "open", X, 3, "close on exec")(1, "lock", "", 3, "flock")(3, "unlink", X)
    script(1, how, "", 3, "flock", ended=99)
    script(2, "open", X, 4, "create", "exclusive")(2, "lock", "", 4, "flock")
    assert script.anomalies() == []


def test_a_child_is_there_when_its_fork_begins() -> None:
    """Its first calls may end before the fork returns to the parent."""
    script = Script()(1, "open", X, 3)(1, "fork", target=5, ended=99)(2, "unlink", X)
    script(5, "lock", "", 3, "flock")(5, "write", "", 3)
    assert script.anomalies() == [(NAMELESS, 5)]


@pytest.mark.parametrize("uses", [False, True])
def test_a_lock_that_may_have_been_stale_and_was_let_go(uses: bool) -> None:  # noqa: FBT001
    """While it was being opened the name was removed: nobody can tell, and it looked."""
    script = Script()(9, "open", X, 9)(1, "open", X, 3, ended=5)(9, "unlink", X, begun=4, ended=6)
    script(1, "lock", "", 3, "flock")(1, "look", "", 3)(1, "look", X)
    script(2, "open", X, 4, "create", "exclusive")(2, "lock", "", 4, "flock")
    if uses:
        script(1, "write", "", 3)
    assert script(1, "close", "", 3).anomalies() == [(TWO_HOLDERS, 2)][: int(uses)]


def test_who_has_removed_the_name_has_given_it_up() -> None:
    """The right worker removes the file while it holds it; the next file of the name is free."""
    script = Script()(1, "open", X, 3)(1, "lock", "", 3, "flock")(1, "unlink", X)
    script(2, "open", X, 4, "create", "exclusive")(2, "lock", "", 4, "flock")
    assert script(1, "close", "", 3).anomalies() == []


def test_a_killed_holder_may_be_reported_late() -> None:
    """Its lock has gone to the next one, though its end is told afterwards."""
    assert two()(1, "exit", "", -1, "killed").anomalies() == []


def test_a_holder_that_was_seen_afterwards_was_there() -> None:
    """A killed process did hold the lock when it did something later than the second lock."""
    script = two()(1, "look", Y)(1, "exit", "", -1, "killed")
    assert script.anomalies() == [(TWO_HOLDERS, 2)]


def test_readers_may_be_many() -> None:
    """Shared locks don't exclude each other; a shared and an exclusive one do."""
    script = Script()(1, "open", X, 3)(1, "lock", "", 3, "flock", "shared")(3, "unlink", X)
    script(2, "open", X, 4, "create", "exclusive")(2, "lock", "", 4, "flock", "shared")
    assert script.anomalies() == []
    assert script(2, "lock", "", 4, "flock")(1, "close", "", 3).anomalies() == [(TWO_HOLDERS, 2)]


def test_kinds_of_locks_that_do_not_know_of_each_other() -> None:
    """One by flock, one by fcntl, on one file: both have it."""
    script = Script()(1, "open", X, 3)(1, "lock", "", 3, "flock")(2, "open", X, 4)
    assert script(2, "lock", "", 4, "record").anomalies() == [(TWO_HOLDERS, 2)]


def test_records_that_do_not_meet() -> None:
    """A lock of fcntl is on a part of a file; only those that meet are two holders."""
    script = Script()(1, "open", X, 3)(1, "lock", "", 3, "record", span=(0, 10))(3, "unlink", X)
    script(2, "open", X, 4, "create", "exclusive")
    script(2, "lock", "", 4, "record", span=(10, 20))
    assert script.anomalies() == []
    assert script(2, "lock", "", 4, "record", span=(5, 6)).anomalies() == [(TWO_HOLDERS, 2)]


@pytest.mark.parametrize("kind", ["flock", "description", "record"])
def test_what_ends_a_lock(kind: str) -> None:
    """A lock of the open file ends with its last descriptor, a record lock with any of the file."""
    script = Script()(1, "open", X, 3)(1, "lock", "", 3, kind)(1, "dup", "", 3, target=5)
    script(1, "close", "", 5)(3, "unlink", X)
    script(2, "open", X, 4, "create", "exclusive")(2, "lock", "", 4, kind)
    assert script.anomalies() == [(TWO_HOLDERS, 2)][: kind != "record"]


def test_a_child_holds_what_its_parent_locked() -> None:
    """After a fork both have the open file; the lock is there until both have closed it."""
    script = Script()(1, "open", X, 3)(1, "lock", "", 3, "flock")(1, "fork", target=5)
    script(1, "exit")(3, "unlink", X)(2, "open", X, 4, "create", "exclusive")
    script(2, "lock", "", 4, "flock")
    assert script(5, "write", "", 3).anomalies() == [(TWO_HOLDERS, 2)]


@pytest.mark.parametrize("ends", [False, True])
def test_a_program_that_is_run_keeps_what_is_not_closed_on_exec(ends: bool) -> None:  # noqa: FBT001
    """Like the `flock` command, which runs another program with the lock."""
    words = ("close on exec",) if ends else ()
    script = Script()(1, "open", X, 3, *words)(1, "lock", "", 3, "flock")(1, "exec")
    script(3, "unlink", X)(2, "open", X, 4, "create", "exclusive")(2, "lock", "", 4, "flock")
    assert script.anomalies() == [(TWO_HOLDERS, 2)][: not ends]


def test_a_lock_that_an_open_takes() -> None:
    """O_EXLOCK of BSD."""
    script = Script()(1, "open", X, 3, "lock")(3, "unlink", X)
    assert script(2, "open", X, 4, "create", "lock").anomalies() == [(TWO_HOLDERS, 2)]


def test_an_unlink_that_came_second() -> None:
    """Two had opened the file, and both removed it."""
    script = Script()(1, "open", X, 3)(2, "unlink", X)(1, "unlink", X, error="ENOENT")
    assert script.anomalies() == [(LATE_UNLINK, 1)]


def test_an_unlink_of_what_was_never_there() -> None:
    """`rm -f` and the like: nobody took that name for a file."""
    script = Script()(2, "unlink", X)(1, "unlink", X, error="ENOENT")
    assert script.anomalies() == []


def test_an_unlink_after_ones_own() -> None:
    """To remove a file twice is careless, but nobody else was first."""
    script = Script()(1, "open", X, 3)(1, "unlink", X)(1, "unlink", X, error="ENOENT")
    assert script.anomalies() == []


def written() -> Script:
    """Process 1 has written to a new file."""
    return Script()(1, "open", X, 3, "create", "exclusive")(1, "write", "", 3)


@pytest.mark.parametrize("name", ["rename", "link"])
def test_a_name_before_the_sync(name: str) -> None:
    """What was written may be lost while the name is kept, also if another gives the name."""
    assert written()(2, name, X, other=Y).anomalies() == [(EARLY_RENAME, 2)]


def test_a_name_after_the_sync() -> None:
    """By whatever descriptor it was synced."""
    script = written()(2, "open", X, 9)(2, "sync", "", 9)(1, "rename", X, other=Y)
    assert script.anomalies() == []


def test_a_write_after_the_sync() -> None:
    """Only what was written before is covered."""
    script = written()(1, "sync", "", 3)(1, "write", "", 3)(1, "rename", X, other=Y)
    assert script.anomalies() == [(EARLY_RENAME, 1)]


def test_a_sync_of_everything() -> None:
    """sync() covers all files."""
    assert written()(2, "syncall")(1, "rename", X, other=Y).anomalies() == []


def test_a_file_of_which_every_write_is_a_sync() -> None:
    """O_DSYNC needs no fsync."""
    script = Script()(1, "open", X, 3, "create", "synchronous")(1, "write", "", 3)
    assert script(1, "rename", X, other=Y).anomalies() == []


def test_calls_that_failed_change_nothing() -> None:
    """A lock that somebody else has, a rename to another file system."""
    script = Script()(1, "open", X, 3)(2, "unlink", X, error="EACCES")
    script(1, "lock", "", 3, "flock", error="EAGAIN")(1, "write", "", 3)
    assert script(1, "rename", X, other=Y, error="EXDEV").anomalies() == []


def test_inodes_are_followed_and_marked_as_inferred() -> None:
    """What stat said once is known of the file afterwards; its link count is kept."""
    script = Script()(1, "look", X, device=1, inode=7, links=1)(1, "open", X, 3)
    script(2, "link", X, other=Y)(1, "unlink", X)(1, "close", "", 3)
    lines = script.judged().lines
    assert [(line.call, line.inode, line.links, line.inferred) for line in lines] == [
        ("open", 7, 1, True),
        ("link", 7, 2, True),
        ("unlink", 7, 1, True),
        ("close", 7, 1, True),
    ]


def test_an_inode_that_is_not_certain_is_not_shown() -> None:
    """While another call on the name runs, it isn't known which file was opened."""
    script = Script()(1, "look", X, device=1, inode=7, links=1)
    script(1, "open", X, 3)
    opened = script.calls.pop()
    script(2, "unlink", X)
    script.calls.append(msgspec.structs.replace(opened, ended=script.calls[-1].begun))
    script.calls.sort(key=lambda call: call.place)
    assert [line.inode for line in script.judged().lines if line.call == "open"] == [0]


def test_only_what_was_asked_for_is_shown() -> None:
    """Patterns choose the lines; with `everything` there are others than the usual calls."""
    script = Script()(1, "open", X, 3)(1, "open", "/elsewhere", 4)(1, "read", "", 3)
    assert [line.path for line in script.judged().lines] == [X]
    assert [line.path for line in script.judged(patterns=["/else*"]).lines] == ["/elsewhere"]
    assert [line.call for line in script.judged(everything=True).lines] == ["open", "read"]


def test_relative_paths_are_followed() -> None:
    """By the current directory of each process, and by descriptors of directories."""
    script = Script()(1, "open", "x", 3)(1, "chdir", "sub")(1, "open", "x", 4)(1, "fork", target=2)
    script(2, "open", "../y", 5)(1, "open", "/d/other", 7)(1, "open", "z", 8, directory=7)
    assert [line.path for line in script.judged().lines] == [
        *("/d/x", "/d/sub/x", "/d/y", "/d/other", "/d/other/z")
    ]
