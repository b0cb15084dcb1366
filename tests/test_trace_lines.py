"""The lines of the tracers: what each becomes, and that nothing in them is a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairndb.tracing import TraceError, judge, read
from cairndb.tracing_lines import LineReader
from cairndb.tracing_strace import StraceReader
from effort import examples

if TYPE_CHECKING:
    from cairndb.tracing_events import Call

GOLDEN = Path(__file__).parent / "golden" / "traces"


def strace(*lines: str) -> list[Call]:
    """What strace's lines become, without their time."""
    reader = StraceReader()
    for line in lines:
        number, text = line.split(" ", 1)
        reader.read(f"{number} 100.5 {text}")
    reader.finish()
    assert reader.not_understood == 0
    return reader.calls


def one(line: str) -> Call:
    """What one line of strace becomes."""
    (call,) = strace(f"7 {line}")
    return call


def test_an_open_of_strace() -> None:
    """The path is that of the file which was opened, the directory where the process was."""
    call = one('openat(AT_FDCWD</d>, "x", O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0666) = 3</e/x> <0.25>')
    assert (call.name, call.path, call.base, call.descriptor) == ("open", "/e/x", "/d", 3)
    assert call.words == {"create", "exclusive", "close on exec"}
    assert (call.process, call.started, call.finished, call.named) == (7, 100.5, 100.75, True)


def test_an_open_that_failed() -> None:
    """Its error is the result, its path as it was given."""
    call = one('open("x", O_RDONLY) = -1 ENOENT (No such file or directory) <0.1>')
    assert (call.name, call.path, call.error) == ("open", "x", "ENOENT")


@pytest.mark.parametrize(
    ("line", "name", "words"),
    [
        ("flock(3</d/x>, LOCK_EX|LOCK_NB) = 0 <0.1>", "lock", {"flock"}),
        ("flock(3</d/x>, LOCK_SH) = 0 <0.1>", "lock", {"flock", "shared", "waiting"}),
        ("flock(3</d/x>, LOCK_UN) = 0 <0.1>", "unlock", {"flock", "waiting"}),
        ("fsync(3</d/x>) = 0 <0.1>", "sync", set()),
        ("fdatasync(3</d/x>) = 0 <0.1>", "sync", set()),
        ("sync() = 0 <0.1>", "syncall", set()),
        ('write(3</d/x>, ""..., 5) = 5 <0.1>', "write", set()),
        ('rename("x", "y") = 0 <0.1>', "rename", set()),
        (
            'renameat2(AT_FDCWD</d>, "x", AT_FDCWD</d>, "y", RENAME_EXCHANGE) = 0 <0.1>',
            *("rename", {"exchange"}),
        ),
        ('unlinkat(AT_FDCWD</d>, "x", AT_REMOVEDIR) = 0 <0.1>', "unlink", {"directory"}),
        ("close(3</d/x>(deleted)) = 0 <0.1>", "close", set()),
        ("fcntl(3</d/x>, F_SETFD, FD_CLOEXEC) = 0 <0.1>", "keep", {"close on exec"}),
        ("fcntl(3</d/x>, F_DUPFD_CLOEXEC, 9) = 9</d/x> <0.1>", "dup", {"close on exec"}),
        ('execve("/bin/x", ["x"], 0x7ffe /* 5 vars */) = 0 <0.1>', "exec", set()),
        ("clone3({flags=CLONE_VM|CLONE_FILES|CLONE_THREAD}, 88) = 8 <0.1>", "fork", {"files"}),
        ('openat2(AT_FDCWD</>, "x", {flags=O_CREAT, resolve=0}, 24) = 3</x>', "open", {"create"}),
    ],
)
def test_what_calls_mean(line: str, name: str, words: set[str]) -> None:
    """By their names and options."""
    call = one(line)
    assert (call.name, set(call.words) - {"thread"}) == (name, words)


def test_a_record_lock() -> None:
    """With the bytes that it is on."""
    text = "{l_type=F_WRLCK, l_whence=SEEK_SET, l_start=5, l_len=10}"
    call = one(f"fcntl(3</d/x>, F_SETLKW, {text}) = 0 <0.1>")
    assert (call.name, set(call.words), call.span) == ("lock", {"record", "waiting"}, (5, 15))


STAT = "st_dev=makedev(0xfe, 0), st_ino=77, st_nlink=0, st_atime=5 /* 2026-11-29T08:16:14+0000 */"
STATX = "stx_mask=STATX_ALL, stx_nlink=0, stx_ino=77, stx_dev_major=254, stx_dev_minor=0"


@pytest.mark.parametrize(
    "line",
    [
        f"fstat(3</d/x>(deleted), {{{STAT}}}) = 0 <0.1>",
        f'newfstatat(3</d/x>(deleted), "", {{{STAT}}}, AT_EMPTY_PATH) = 0 <0.1>',
        f'statx(3</d/x>(deleted), "", AT_EMPTY_PATH, STATX_ALL, {{{STATX}}}) = 0 <0.1>',
    ],
)
def test_stat_tells_which_file_it_is(line: str) -> None:
    """Device, inode and link count are exact, and that the file has lost its name."""
    call = one(line)
    assert (call.name, call.device, call.inode, call.links) == ("look", 254 << 20, 77, 0)
    assert (call.descriptor, call.base, call.named) == (3, "/d/x", False)


def test_names_as_c_writes_them() -> None:
    """Quotes, brackets, line breaks, bytes that aren't UTF-8."""
    call = one(r'unlink("/d/a\"b<c>\n\303\251\377") = 0 <0.1>')
    assert call.path == '/d/a"b<c>\né\udcff'
    assert one(r'open("x", O_RDONLY) = 3</d/we\74ird\76> <0.1>').path == "/d/we<ird>"


def test_a_call_in_two_parts() -> None:
    """It begins where it was begun and ends where it was resumed, with what is in between."""
    first, second = strace(
        "7 flock(3</d/x>, LOCK_EX <unfinished ...>",
        "8 close(3</d/x>(deleted)) = 0 <0.1>",
        "7 <... flock resumed>) = 0 <0.2>",
    )
    assert (first.name, first.begun, first.ended) == ("close", 2, 2)
    assert (second.name, second.process, second.begun, second.ended) == ("lock", 7, 1, 3)


def test_a_stat_in_two_parts() -> None:
    """Its arguments are from both."""
    _, look = strace(
        '7 newfstatat(AT_FDCWD</d>, "x",  <unfinished ...>',
        "8 close(3</d/x>) = 0 <0.1>",
        "7 <... newfstatat resumed>{st_dev=makedev(0, 0x1), st_ino=7, st_nlink=1}, 0) = 0 <0.2>",
    )
    assert (look.path, look.base, look.inode, look.links) == ("x", "/d", 7, 1)


def test_threads_belong_to_their_process() -> None:
    """Also those whose first call is reported before the clone that made them has returned."""
    calls = strace(
        "7 clone3({flags=CLONE_VM|CLONE_THREAD}, 88 <unfinished ...>",
        "8 close(3</d/x>) = 0 <0.1>",
        "7 <... clone3 resumed>) = 8 <0.2>",
    )
    assert [(call.name, call.process, call.thread) for call in calls] == [
        ("close", 7, 8),
        ("fork", 7, 7),
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["7 exit_group(0) = ?", "7 +++ exited with 0 +++"], set()),
        (["7 +++ killed by SIGKILL +++"], {"killed"}),
        (["7 exit_group(0 <unfinished ...>", "7 <... exit_group resumed>) = ?"], set()),
    ],
)
def test_ends_of_processes(lines: list[str], words: set[str]) -> None:
    """An exit is where it begins; a killed process is known to be reported late."""
    (call,) = strace(*lines)
    assert (call.name, call.place, set(call.words)) == ("exit", 1, words)


def test_a_call_that_was_interrupted_has_not_happened() -> None:
    """A signal came while it waited for the lock."""
    call = one("flock(3</d/x>, LOCK_EX) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)")
    assert call.error


def lines(system: str, *texts: str) -> list[Call]:
    """What the lines of our own scripts become."""
    reader = LineReader(system)
    for text in texts:
        reader.read("\t".join(text.split(" ")))
    assert reader.not_understood == 0
    return reader.calls


def test_an_open_of_bpftrace() -> None:
    """Its path is in a line before it, by its thread."""
    (call,) = lines("linux", "path 8 -100 x", "1 5 9 7 8 3 3 524482 0 1 77 1 1")
    assert (call.name, call.path, call.process, call.thread) == ("open", "x", 7, 8)
    assert (call.begun, call.ended, call.inode, call.links, call.named) == (5, 9, 77, 1, True)
    assert call.words == {"create", "exclusive", "close on exec"}


def test_an_open_of_dtrace() -> None:
    """Of macOS, with a lock; that nothing is known of the inode is no inode."""
    (call,) = lines("darwin", "path 8 -100 x", "1 5 9 7 8 3 3 544 0 0 0 0 -1")
    assert call.words == {"create", "lock"}
    assert (call.inode, call.links, call.named) == (0, -1, None)


@pytest.mark.parametrize(
    ("system", "kind", "command"), [("linux", 1, 6), ("darwin", 3, 8), ("freebsd", 3, 12)]
)
def test_record_locks_of_systems(system: str, kind: int, command: int) -> None:
    """Their numbers differ."""
    call, other = lines(
        system,
        f"span 7 {kind} 0 5 10",
        f"5 1 2 7 7 0 3 {command} 0 0 0 0 0",
        "span 7 2 0 0 0",
        f"5 3 4 7 7 0 3 {command} 0 0 0 0 0",
    )
    assert (call.name, set(call.words), call.span) == ("lock", {"record"}, (5, 15))
    assert other.name == "unlock"


def test_the_full_sync_of_macos() -> None:
    """F_FULLFSYNC is a sync."""
    assert [call.name for call in lines("darwin", "5 1 2 7 7 0 3 51 0 0 0 0 -1")] == ["sync"]


def test_errors_of_systems() -> None:
    """By their numbers there."""
    texts = "4 1 2 7 7 -35 3 6 0 0 0 0 0", "4 1 2 7 7 -11 3 6 0 0 0 0 0"
    assert lines("freebsd", texts[0])[0].error == "EAGAIN"
    assert lines("linux", texts[1])[0].error == "EAGAIN"


def test_a_name_with_a_line_break_is_not_known() -> None:
    """It is in two lines, of which the first is a name that isn't there."""
    reader = LineReader("linux")
    for line in ("path\t7\t-100\t/d/a", "b", "11\t1\t2\t7\t7\t0\t-1\t0\t0\t0\t0\t0\t0"):
        reader.read(line)
    assert reader.calls == []
    assert reader.not_understood == 2


def test_a_name_that_was_cut_off_is_not_known() -> None:
    """The tracer cuts after 199 bytes."""
    reader = LineReader("linux")
    for line in (f"path\t7\t-100\t/{'x' * 198}", "11\t1\t2\t7\t7\t0\t-1\t0\t0\t0\t0\t0\t0"):
        reader.read(line)
    assert reader.calls == []
    assert reader.not_understood == 1


def test_a_stat_in_a_directory_is_not_one_of_the_directory() -> None:
    """What bpftrace knows of the descriptor is of no use there, without a path it is."""
    by_path, by_descriptor = lines(
        *("linux", "path 7 3 a", "10 1 2 7 7 0 3 0 0 1 77 2 1"),
        *("path 7 3 ", "10 3 4 7 7 0 3 0 0 1 77 2 1"),
    )
    assert (by_path.path, by_path.directory, by_path.inode) == ("a", 3, 0)
    assert (by_descriptor.path, by_descriptor.descriptor, by_descriptor.inode) == ("", 3, 77)


def test_lost_calls_are_counted() -> None:
    """As bpftrace says it."""
    reader = LineReader("linux")
    reader.read("Lost 17 events")
    assert reader.lost == 17


@pytest.mark.parametrize("name", ["naive.strace", "naive.bpftrace", "removed-lock.strace"])
@settings(max_examples=examples(30))
@given(data=st.data())
def test_a_damaged_recording_is_no_traceback(name: str, data: st.DataObject) -> None:
    """Lines that are cut, changed, swapped or left out are counted, or mean something else."""
    text = (GOLDEN / name).read_text(encoding="utf-8")
    heading, *rest = text.splitlines()
    for _ in range(data.draw(st.integers(1, 6))):
        number = data.draw(st.integers(0, len(rest) - 1))
        line = rest[number]
        cut = data.draw(st.integers(0, len(line)))
        new = line[:cut] + data.draw(st.text(max_size=40))
        rest[number] = data.draw(
            st.sampled_from([line[:cut], line[cut:], rest[cut % len(rest)], "", new])
        )
    judge(read([heading, *rest], "/"))


@settings(max_examples=examples(20))
@given(st.lists(st.text(max_size=60)))
def test_garbage_is_refused(garbage: list[str]) -> None:
    """What doesn't begin as a recording says so, and what to do."""
    with pytest.raises(TraceError, match="--record"):
        read(["not a heading", *garbage], "/")


def test_a_recording_of_another_version_is_refused() -> None:
    """What it means isn't known."""
    with pytest.raises(TraceError, match="version 9"):
        read(["cairn-trace\t9\tbpftrace\tlinux"], "/")
    with pytest.raises(TraceError, match="version 9"):
        read(['{"cairn_trace":9,"tracer":"strace","system":"linux"}'], "/")
