"""A lock on a file: between objects, threads, tasks and processes, and how it ends."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from cairndb.errors import Cancelled, FileLocked, LockTimeout, UsageError
from cairndb.locking import FileLock
from forking import Child, in_child
from lock_files import everybodys, is_free, path
from tasks import BACKENDS
from threads import Aside, interrupt_main_thread_when, wait_until

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["everybodys", "path"]


def test_one_object_at_a_time_has_it(path: Path) -> None:
    """Two objects of one process exclude each other; closing gives it up, and the file stays."""
    with FileLock(path) as lock:
        assert lock.held
        assert not is_free(path)
    assert not lock.held
    assert is_free(path)
    assert path.exists()


def test_many_may_share_it(path: Path) -> None:
    """Shared locks don't exclude each other, and an exclusive one is excluded by each of them."""
    one, other = FileLock(path, shared=True), FileLock(path, shared=True)
    with one:
        with other:
            assert not is_free(path)
        assert not is_free(path)
    assert is_free(path)


def test_a_shared_one_is_taken_twice_by_one_thread(path: Path) -> None:
    """An object whose lock is shared has it as often as it was taken."""
    lock = FileLock(path, shared=True)
    with lock:
        with lock:
            pass
        assert lock.held
        assert not is_free(path)
    assert is_free(path)


def test_without_blocking_a_taken_lock_is_an_error(path: Path) -> None:
    """It names the file, and nothing is left locked or open."""
    with FileLock(path), pytest.raises(FileLocked, match=r"a\.lock"):
        FileLock(path, blocking=False).acquire()
    assert is_free(path)


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_a_timeout_is_an_error(path: Path, timeout: float) -> None:
    """A lock that isn't to be had in time is a TimeoutError that names the file."""
    with FileLock(path), pytest.raises(LockTimeout, match=r"a\.lock"):
        FileLock(path, timeout=timeout).acquire()


def test_who_waits_with_a_timeout_gets_it(path: Path) -> None:
    """A lock that is given up in time is had."""
    lock = FileLock(path)
    lock.acquire()
    waiting = Aside(lambda: FileLock(path, timeout=30).__enter__().release())
    lock.release()
    waiting.result()


def test_a_wait_can_be_cancelled(path: Path) -> None:
    """An event that another thread sets ends the wait."""
    cancel = threading.Event()
    waits = FileLock(path, cancel=cancel)
    with FileLock(path):
        waiting = Aside(waits.acquire)
        cancel.set()
        with pytest.raises(Cancelled, match=r"a\.lock"):
            waiting.result()
    assert is_free(path)


@pytest.mark.skipif(sys.platform != "linux", reason="who waits in the system is seen in /proc")
def test_ctrl_c_ends_a_wait(path: Path) -> None:
    """A wait without an end is in the system, and is interrupted there; nothing is left behind."""

    def waits() -> bool:
        with open("/proc/locks", encoding="ascii") as locks:  # noqa: PTH123  a file of the system
            return any(f" -> FLOCK  ADVISORY  WRITE {os.getpid()} " in line for line in locks)

    with FileLock(path):
        interrupt_main_thread_when(waits)
        with pytest.raises(KeyboardInterrupt):
            FileLock(path).acquire()
    assert is_free(path)


def test_a_thread_doesnt_wait_for_itself(path: Path) -> None:
    """Taking what this thread has by the same object is an error, and trying is in vain."""
    with FileLock(path) as lock:
        with pytest.raises(UsageError, match="held here already"):
            lock.acquire()
        assert not lock.try_acquire()
        assert lock.held


def test_what_isnt_held_cant_be_released(path: Path) -> None:
    """Releasing once too often is an error."""
    lock = FileLock(path)
    with pytest.raises(UsageError, match="isn't held"):
        lock.release()


def test_threads_take_turns_with_one_object(path: Path) -> None:
    """Of threads that use the same object one at a time is in the block."""
    lock, inside, met = FileLock(path), threading.Lock(), []

    def work() -> None:
        for _ in range(50):
            with lock:
                met.append(inside.acquire(blocking=False))
                inside.release()

    for thread in [Aside(work) for _ in range(4)]:
        thread.result()
    assert met == [True] * 200
    assert not lock.held


@pytest.mark.parametrize("backend", BACKENDS)
def test_tasks_take_turns(path: Path, backend: str) -> None:
    """Tasks that share an object have it one after the other; the others go on meanwhile."""
    lock, inside, most = FileLock(path), 0, 0

    async def work() -> None:
        nonlocal inside, most
        async with lock:
            inside += 1
            most = max(most, inside)
            await anyio.lowlevel.checkpoint()
            inside -= 1

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(work)

    anyio.run(main, backend=backend)
    assert most == 1
    assert not lock.held


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_task_that_waits_can_be_cancelled(path: Path, backend: str) -> None:
    """The library's own cancellation ends the wait, and nothing is left locked."""

    async def main() -> bool:
        with anyio.move_on_after(0.01) as scope:
            await FileLock(path).acquire_async()
        return scope.cancelled_caught

    with FileLock(path):
        assert anyio.run(main, backend=backend)
    assert is_free(path)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thread_doesnt_wait_for_its_own_task(path: Path, backend: str) -> None:
    """A blocking call beside a task that has the lock would stop the task: it is an error."""

    async def main() -> None:
        lock = FileLock(path)
        async with lock, anyio.create_task_group() as group:
            group.start_soon(other, lock)

    async def other(lock: FileLock) -> None:
        with pytest.raises(UsageError, match="held here already"):
            lock.acquire()

    anyio.run(main, backend=backend)


def test_outside_of_tasks_there_is_nothing_to_await(path: Path) -> None:
    """`async with` is for tasks of asyncio and trio."""
    with pytest.raises(UsageError, match="none is running here"):
        FileLock(path).acquire_async().send(None)


def test_a_directory_can_be_locked(tmp_path: Path) -> None:
    """A directory's descriptor is locked, and nothing is put into it."""
    with FileLock(tmp_path):
        assert not is_free(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_in_a_directory_by_its_descriptor(tmp_path: Path) -> None:
    """A path may be relative to an open directory, whatever that is called by now."""
    (tmp_path / "one").mkdir()
    descriptor = os.open(tmp_path / "one", os.O_RDONLY)
    (tmp_path / "one").rename(tmp_path / "other")
    with FileLock("a.lock", dir_fd=descriptor):
        assert not is_free(tmp_path / "other" / "a.lock")
    os.close(descriptor)


def test_a_file_need_not_be_made(path: Path) -> None:
    """Without leave to make it, a file that isn't there is an error and stays away."""
    with pytest.raises(FileNotFoundError, match=r"a\.lock"):
        FileLock(path, create=False).acquire()
    assert not path.exists()


def test_a_removed_directory_is_an_error(tmp_path: Path) -> None:
    """A directory that is gone can't be locked, though its descriptor is still open."""
    (tmp_path / "one").mkdir()
    descriptor = os.open(tmp_path / "one", os.O_RDONLY)
    (tmp_path / "one").rmdir()
    with pytest.raises(FileNotFoundError, match="removed"):
        FileLock(".", dir_fd=descriptor).acquire()
    os.close(descriptor)


def test_what_is_there_stays_as_it_is(path: Path) -> None:
    """Locking a file of somebody's doesn't change its content."""
    path.write_text("precious")
    with FileLock(path):
        assert path.read_text() == "precious"
    assert path.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.process
def test_what_may_only_be_read_can_be_locked(everybodys: Path) -> None:
    """A lock needs no right to write; without one to read it is an error that names it."""
    path = everybodys / "a.lock"
    path.touch()

    def somebody() -> bool:
        os.seteuid(65534)
        with FileLock(path):
            return not is_free(path)

    path.chmod(0o644)
    assert in_child(somebody)
    path.chmod(0o600)

    def refused() -> bool:
        os.seteuid(65534)
        with pytest.raises(PermissionError, match=r"a\.lock"):
            FileLock(path).acquire()
        return True

    assert in_child(refused)


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    """It names the path."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        FileLock(tmp_path / "nowhere" / "a.lock").acquire()


@pytest.mark.process
def test_a_forked_child_doesnt_have_it(path: Path) -> None:
    """Its descriptor is closed; it can neither release the parent's lock nor have it."""
    with FileLock(path) as lock:

        def child() -> bool:
            assert not lock.held
            assert not lock.try_acquire()
            lock.release()
            return not is_free(path)

        assert in_child(child)
        assert lock.held
        assert not is_free(path)


@pytest.mark.process
def test_a_program_doesnt_have_it(path: Path) -> None:
    """A process that was started meanwhile doesn't keep the lock."""
    with FileLock(path):
        program = subprocess.Popen(["/bin/sleep", "60"], close_fds=False)
    try:
        wait_until(lambda: is_free(path))  # the parent goes on while the child is being replaced
        assert program.poll() is None
    finally:
        program.kill()
        program.wait()


@pytest.mark.process
def test_it_ends_with_its_process(path: Path) -> None:
    """Whoever is killed has it no more."""

    def acquire() -> bytes:
        FileLock(path).acquire()
        return b""

    with Child(acquire):
        assert not is_free(path)
    assert is_free(path)


def test_a_forgotten_lock_ends_with_a_warning(path: Path) -> None:
    """An object that is thrown away while it has the lock gives it up, and Python is told."""
    lock = FileLock(path)
    lock.acquire()
    with pytest.warns(ResourceWarning, match=r"a\.lock was never closed"):
        del lock
    assert is_free(path)


@pytest.mark.skipif(not hasattr(fcntl, "F_OFD_SETLK"), reason="only Linux has these")
@pytest.mark.process
def test_locks_of_open_file_descriptions(path: Path) -> None:
    """They exclude each other, and the record locks of a process, but no flock."""
    with FileLock(path, kind="ofd"):
        assert not FileLock(path, kind="ofd").try_acquire()
        assert is_free(path)

        def child() -> bool:
            with path.open("r+b") as file, pytest.raises(BlockingIOError):
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True

        assert in_child(child)
    shared = FileLock(path, kind="ofd", shared=True)
    with shared, FileLock(path, kind="ofd", shared=True):
        assert not FileLock(path, kind="ofd").try_acquire()


@pytest.mark.skipif(hasattr(fcntl, "F_OFD_SETLK"), reason="Linux has these")
def test_locks_of_open_file_descriptions_elsewhere(path: Path) -> None:
    """The error says what to use instead."""
    with pytest.raises(OSError, match="use flock"):
        FileLock(path, kind="ofd").acquire()


def test_it_waits_in_the_system(path: Path) -> None:
    """Whoever waits without an end is woken when the lock is given up."""
    lock, other = FileLock(path), FileLock(path)
    lock.acquire()
    waiting = Aside(other.acquire)
    lock.release()
    waiting.result()
    wait_until(lambda: other.held)
    other.release()
