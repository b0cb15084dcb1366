"""Signals while the main thread sleeps: none is slept through, and nobody else's is swallowed."""

from __future__ import annotations

import contextlib
import linecache
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cairndb import cancellation_signals
from cairndb.cancellation import Cancelled, CancelToken, Timeout
from cancellable import is_asleep, pair
from forking import in_child
from threads import Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

TESTS = Path(__file__).parent
COMPILER = shutil.which("cc")

LATE = """
import signal, socket, time
from cairndb.cancellation import CancellableSocket, Cancelled, CancelToken

token = CancelToken()
signal.signal(signal.SIGUSR1, lambda *_: token.cancel("the signal"))
one, other = socket.socketpair()
with other, CancellableSocket(one) as receiver:
    started = time.monotonic()
    try:
        receiver.recv(1, cancel=token, timeout=20)
    except Cancelled as error:
        print(error.reason, time.monotonic() - started < 10)
"""


@pytest.fixture
def handle() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Have something called when SIGUSR1 comes."""
    previous = signal.getsignal(signal.SIGUSR1)

    def install(handler: Callable[[], object]) -> None:
        signal.signal(signal.SIGUSR1, lambda *_: handler() and None)

    yield install
    signal.signal(signal.SIGUSR1, previous)


def send_when_asleep(times: int = 1) -> Aside[None]:
    """Send SIGUSR1 to the main thread when it sleeps."""
    main = threading.main_thread().ident

    def send() -> None:
        assert main is not None
        for _ in range(times):
            wait_until(lambda: is_asleep(main))
            signal.pthread_kill(main, signal.SIGUSR1)

    return Aside(send)


@contextlib.contextmanager
def about_to_sleep(call: Callable[[], object]) -> Iterator[None]:
    """Have something called in the main thread, once, when all is prepared for its sleep."""
    sleeping = cancellation_signals.poll_noticing_signals.__code__
    calls = [call]

    def trace(frame: FrameType, _event: str, _argument: object) -> Any:
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if calls and frame.f_code is sleeping and "poller.poll(" in line:
            calls.pop()()
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(previous)
    assert not calls


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is Linux'")
@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_a_signal_in_the_last_moment(tmp_path: Path) -> None:
    """A signal after Python's last look at them, and before the system sleeps, ends the sleep."""
    library = tmp_path / "late_signal.so"
    source = TESTS / "late_signal.c"
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    ran = subprocess.run(
        [sys.executable, "-c", LATE],
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(TESTS.parent / "src")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )

    assert ran.stdout == "the signal True\n"


def test_what_others_asked_for_is_put_back(
    handle: Callable[[Callable[[], object]], None],
) -> None:
    """Whoever had a byte written for each signal still gets it, during a wait and after it."""
    token = CancelToken()
    handle(token.cancel)
    reader, writer = socket.socketpair()
    one, other = pair()
    with reader, writer, one, other:
        reader.setblocking(False)
        writer.setblocking(False)
        previous = signal.set_wakeup_fd(writer.fileno())
        try:
            send = partial(signal.raise_signal, signal.SIGUSR1)
            with about_to_sleep(send), pytest.raises(Cancelled):
                one.recv(1, cancel=token)
            assert reader.recv(10) == bytes([signal.SIGUSR1])
            signal.raise_signal(signal.SIGUSR1)
            assert reader.recv(10) == bytes([signal.SIGUSR1])
        finally:
            assert signal.set_wakeup_fd(previous) == writer.fileno()


def test_a_handler_that_sleeps_itself(handle: Callable[[Callable[[], object]], None]) -> None:
    """A wait within a handler, which interrupts another wait, ends both in their turn."""
    token = CancelToken()
    inner: list[Any] = []

    def wait_and_cancel() -> None:
        inner.append(CancelToken().wait(0.01))
        token.cancel()

    handle(wait_and_cancel)
    one, other = pair()
    with one, other:
        sender = send_when_asleep()
        with pytest.raises(Cancelled):
            one.recv(1, cancel=token)
        sender.result()

    assert inner[0] is False


def test_signals_that_cancel_nothing(handle: Callable[[Callable[[], object]], None]) -> None:
    """A wait goes on after signals, is as long as it would be, and sleeps in between."""
    came: list[int] = []
    handle(lambda: came.append(1))
    one, other = pair()
    with one, other:
        started, used = time.monotonic(), time.thread_time()
        sender = send_when_asleep(3)
        with pytest.raises(Timeout):
            one.recv(1, timeout=0.3)
        assert time.monotonic() >= started + 0.3
        assert time.thread_time() - used < 0.1
        sender.result()

    assert came


def test_an_exception_from_a_handler(handle: Callable[[Callable[[], object]], None]) -> None:
    """What a handler raises, as that of Ctrl-C does, ends the wait, and the socket is usable."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    handle(interrupt)
    one, other = pair()
    with one, other:
        sender = send_when_asleep()
        with pytest.raises(KeyboardInterrupt):
            one.recv(1)
        sender.result()
        other.sendall(b"x")
        assert one.recv(1, timeout=0) == b"x"


@pytest.mark.parametrize("is_set", [False, True], ids=["before", "after"])
def test_an_exception_as_the_wait_begins(monkeypatch: pytest.MonkeyPatch, *, is_set: bool) -> None:
    """Raised right before or after signals are asked for, it leaves nothing to write bytes to."""
    ask = signal.set_wakeup_fd

    def be_interrupted(number: int, **options: bool) -> int:
        monkeypatch.setattr(signal, "set_wakeup_fd", ask)
        if is_set:
            ask(number, **options)
        raise KeyboardInterrupt

    reader, writer = socket.socketpair()
    one, other = pair()
    with reader, writer, one, other:
        writer.setblocking(False)
        before = -1 if is_set else writer.fileno()
        ask(before)
        monkeypatch.setattr(signal, "set_wakeup_fd", be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            one.recv(1)
        assert ask(-1) == before


@pytest.mark.process
def test_signals_of_a_child_are_its_own(handle: Callable[[Callable[[], object]], None]) -> None:
    """After a fork parent and child are each woken by their own signals."""
    one, other = pair()
    with one, other:
        with pytest.raises(Timeout):
            one.recv(1, timeout=0.001)
        inode = os.fstat(cancellation_signals._pair[0]).st_ino

        def be_interrupted() -> bool:
            token = CancelToken()
            handle(token.cancel)
            send_when_asleep()
            with pytest.raises(Cancelled):
                one.recv(1, cancel=token)
            return os.fstat(cancellation_signals._pair[0]).st_ino != inode

        assert in_child(be_interrupted)
