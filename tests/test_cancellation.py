"""Operations that block: what ends them, and that nothing is left behind."""

from __future__ import annotations

import resource
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from cairndb.cancellation import Cancelled, CancelToken, Timeout
from cancellable import (
    BLOCKED,
    ONCE,
    Surroundings,
    blocked,
    cancel_often,
    is_asleep,
    open_descriptors,
)
from threads import Aside, wait_until

if TYPE_CHECKING:
    from pathlib import Path

SHORT_SECONDS = 0.03

operations = pytest.mark.parametrize("name", BLOCKED)


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    """What operations need."""
    return Surroundings(tmp_path, monkeypatch)


@operations
def test_another_thread_ends_it(name: str, around: Surroundings) -> None:
    """What sleeps is woken by a token that another thread cancels, and is told its reason."""
    token = CancelToken()
    with blocked(name, around) as operation:
        call = Aside(partial(operation, cancel=token))
        wait_until(lambda: is_asleep(call.thread_id))
        token.cancel("enough")
        with pytest.raises(Cancelled, match="cancelled: enough") as error:
            call.result()

    assert error.value.reason == "enough"
    assert not isinstance(error.value, TimeoutError)


@operations
def test_a_signal_handler_ends_it(name: str, around: Surroundings) -> None:
    """What sleeps in the main thread is ended by a handler that cancels, not by the signal."""
    token = CancelToken()
    main = threading.main_thread().ident
    assert main is not None

    def send() -> None:
        wait_until(lambda: is_asleep(main))
        signal.pthread_kill(main, signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, lambda *_: token.cancel("SIGUSR1"))
    try:
        with blocked(name, around) as operation:
            sender = Aside(send)
            with pytest.raises(Cancelled) as error:
                operation(cancel=token)
            sender.result()
    finally:
        signal.signal(signal.SIGUSR1, previous)

    assert error.value.reason == "SIGUSR1"


@operations
def test_a_deadline_ends_it(name: str, around: Surroundings) -> None:
    """At its deadline a token is cancelled by itself, which isn't a timeout of the operation's."""
    with blocked(name, around) as operation:
        started = time.monotonic()
        token = CancelToken(timeout=SHORT_SECONDS)
        with pytest.raises(Cancelled, match="deadline") as error:
            operation(cancel=token)

    assert time.monotonic() >= started + SHORT_SECONDS
    assert not isinstance(error.value, TimeoutError)


@operations
def test_an_ancestor_ends_it(name: str, around: Surroundings) -> None:
    """A token is cancelled with its parents, and with theirs."""
    ancestor = CancelToken()
    token = CancelToken(parents=[CancelToken(), CancelToken(parents=[ancestor])])
    with blocked(name, around) as operation:
        call = Aside(partial(operation, cancel=token))
        wait_until(lambda: is_asleep(call.thread_id))
        ancestor.cancel("all of it")
        with pytest.raises(Cancelled) as error:
            call.result()

    assert error.value.reason == "all of it"


@operations
def test_a_timeout_ends_it(name: str, around: Surroundings) -> None:
    """The time that a call is given ends it by an error that is a TimeoutError too."""
    with blocked(name, around) as operation:
        started = time.monotonic()
        with pytest.raises(Timeout) as error:
            operation(cancel=CancelToken(), timeout=SHORT_SECONDS)

    assert time.monotonic() >= started + SHORT_SECONDS
    assert isinstance(error.value, TimeoutError)


@operations
def test_a_cancelled_token_begins_nothing(name: str, around: Surroundings) -> None:
    """With a token that is cancelled already no byte moves, and the socket stays usable."""
    token = CancelToken()
    token.cancel()
    with blocked(name, around) as operation, pytest.raises(Cancelled) as error:
        operation(cancel=token)

    assert (error.value.transferred, error.value.usable) == (0, True)


@pytest.mark.parametrize("times", [300, pytest.param(100_000, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", sorted({*BLOCKED} - {*ONCE}))
def test_no_descriptor_is_left(name: str, times: int, around: Surroundings) -> None:
    """However often an operation is cancelled, asleep or about to be, nothing is left open."""
    with blocked(name, around) as operation:
        cancel_often(operation, 2)  # what is made once
        before = open_descriptors()
        cancel_often(operation, times)

        assert open_descriptors() <= before


def test_one_token_ends_everything(around: Surroundings) -> None:
    """All operations at once, each in two threads, are ended by one token."""

    def wait_for_itself(*, cancel: CancelToken) -> object:
        return cancel.wait()

    token = CancelToken()
    with (
        blocked("accept", around) as accept,
        blocked("recv", around) as receive,
        blocked("sendall", around) as send,
        blocked("connect", around) as connect,
        blocked("resolve", around) as resolve,
    ):
        chosen = [accept, accept, receive, receive, send, connect, connect, resolve, resolve]
        calls = [Aside(partial(each, cancel=token)) for each in [*chosen, wait_for_itself]]
        wait_until(lambda: all(is_asleep(call.thread_id) for call in calls))
        token.cancel()
        for call in calls[:-1]:
            with pytest.raises(Cancelled):
                call.result()

        assert calls[-1].result() is True


def times_asleep() -> int:
    """How often this thread has gone to sleep; the process, where the system doesn't say."""
    who = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
    return resource.getrusage(who).ru_nvcsw


def test_nobody_is_awake_while_waiting(around: Surroundings) -> None:
    """Half a second of waiting takes next to no processor time, and is one sleep."""
    token = CancelToken(parents=[CancelToken()])
    with blocked("recv", around) as operation:
        used, woken = time.thread_time(), times_asleep()
        with pytest.raises(Timeout):
            operation(cancel=token, timeout=0.5)

        assert time.thread_time() - used < 0.02
        assert times_asleep() - woken < 50
