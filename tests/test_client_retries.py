"""Calls over a network that fails: at any byte, for any time, with anything."""

from __future__ import annotations

import itertools
import time
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairndb.cancellation import CancelToken
from cairndb.client import connect
from cairndb.client_waiting import Pauses
from cairndb.errors import CairnError, Cancelled, OutcomeUnknown, Unavailable
from cairndb.requests import RESULTS_MAX
from remote import Cut, Served, Wire
from remote_root import Refusal, Tally, client_of, count_of, served
from threads import Aside, interrupt_main_thread_when, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT_SECONDS = 0.1
"""The timeout of calls that can't succeed."""
PATIENCE_SECONDS = 5.0
"""How much later than its timeout a call may return on a busy machine."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for all tests of this file."""
    with served(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.mark.parametrize("way", ["requests", "replies"])
@pytest.mark.parametrize("resets", [False, True])
def test_an_update_is_applied_once_wherever_the_connection_is_cut(
    server: Served, way: str, *, resets: bool
) -> None:
    """Cut at each byte of what goes out and comes back, in turn, an update is applied once."""
    place = 0
    with Wire(server.port) as wire:
        while True:
            name = f"{way} {resets} {place}"
            wire.cuts = [*[Cut()] * wire.made, Cut(**{way: place}, resets=resets)]  # type: ignore[arg-type]
            before = wire.reached
            with client_of(wire.url) as client:
                assert client.run(Tally.count, name) == 1
            assert count_of(server, name) == 1
            if wire.reached == before:
                break
            place += 1
    assert place > 100


def test_an_update_is_applied_once_however_often_the_connection_is_cut(server: Served) -> None:
    """Cut again and again, at other bytes, an update is applied once."""
    cuts = [Cut(requests=n) for n in range(0, 120, 5)] + [Cut(replies=n) for n in range(0, 200, 5)]
    with Wire(server.port, *cuts) as wire, client_of(wire.url) as client:
        assert client.run(Tally.count, "often") == 1
        assert wire.made > len(cuts) / 2
    assert count_of(server, "often") == 1


CUTS = st.builds(
    Cut,
    requests=st.none() | st.integers(0, 700),
    replies=st.none() | st.integers(0, 900),
    resets=st.booleans(),
)
EXAMPLES = itertools.count()


@settings(max_examples=40)
@given(cuts=st.lists(CUTS, max_size=20))
def test_threads_are_answered_whatever_is_cut(server: Served, cuts: list[Cut]) -> None:
    """Several threads, with connections that end anywhere: each update is applied once."""
    example = next(EXAMPLES)

    def work(thread: int) -> list[int]:
        return [client.run(Tally.count, f"{example} {thread} {turn}") for turn in range(5)]

    with Wire(server.port, *cuts) as wire, client_of(wire.url, connections=2) as client:
        workers = [Aside(partial(work, thread)) for thread in range(3)]
        assert [worker.result() for worker in workers] == [[1] * 5] * 3
    for thread in range(3):
        assert [count_of(server, f"{example} {thread} {turn}") for turn in range(5)] == [1] * 5


def test_ctrl_c_ends_a_call(server: Served) -> None:
    """Interrupted, a call raises KeyboardInterrupt, and its connection isn't used any more."""
    stuck = Cut(withholds=b"CAIRN.RUN", stalls=True)
    with Wire(server.port, stuck) as wire, client_of(wire.url, connections=1) as client:
        interrupt_main_thread_when(lambda: wire.reached == 1)
        with pytest.raises(KeyboardInterrupt):
            client.run(Tally.count, "interrupted", timeout=None)
        assert client.run(Tally.count, "after") == 1
        assert wire.made == 2


def test_a_waiting_connection_that_is_cut_is_replaced(server: Served) -> None:
    """Calls go on over another connection when the one before was cut between or in them."""
    with Wire(server.port) as wire, client_of(wire.url) as client:
        client.run(Tally.counted, "x")
        wire.cuts = [Cut(), Cut(replies=400), Cut(requests=500)]
        for number in range(30):
            assert client.run(Tally.count, f"waiting {number}") == 1


def test_an_error_of_a_method_is_final(server: Served) -> None:
    """What a method raised isn't tried again, and has changed nothing."""
    with client_of(server.url) as client:
        with pytest.raises(Refusal):
            client.run(Tally.refuse, "refused")
        assert client.run(Tally.counted, "refused") == 0


@pytest.mark.parametrize("replies", [0, 1, 50])
def test_a_silent_server_costs_no_more_than_the_timeout(server: Served, replies: int) -> None:
    """A server that accepts, and says nothing or half a greeting, is unavailable: nothing sent."""
    cuts = [Cut(replies=replies, stalls=True)] * 5
    with (
        Wire(server.port, *cuts) as wire,
        client_of(wire.url, timeout=SHORT_SECONDS) as client,
    ):
        began = time.monotonic()
        with pytest.raises(Unavailable, match="nothing has happened"):
            client.run(Tally.count, "silent")
        assert SHORT_SECONDS <= time.monotonic() - began < SHORT_SECONDS + PATIENCE_SECONDS
    assert count_of(server, "silent") == 0


def test_a_withheld_answer_is_an_unknown_outcome(server: Served) -> None:
    """When the time is over after an update was sent, nobody knows; a query has done nothing."""
    withheld = Cut(withholds=b"CAIRN.RUN", stalls=True)
    with Wire(server.port, rest=withheld) as wire, client_of(wire.url) as client:
        with pytest.raises(Unavailable, match="nothing has happened"):
            client.run(Tally.counted, "withheld", timeout=SHORT_SECONDS)
        timeout = SHORT_SECONDS
        while True:  # on a busy machine the time may be over before it is sent
            before = count_of(server, "withheld")
            with pytest.raises((OutcomeUnknown, Unavailable)) as caught:
                client.run(Tally.count, "withheld", timeout=timeout)
            if isinstance(caught.value, OutcomeUnknown):
                break
            assert count_of(server, "withheld") == before
            timeout *= 2
        wait_until(lambda: count_of(server, "withheld") == before + 1)


def test_a_cancelled_call_says_whether_it_was_sent(server: Served) -> None:
    """Cancelled before an update has left it hasn't happened, after that nobody knows."""
    cuts = [Cut(requests=0, stalls=True), Cut(withholds=b"CAIRN.RUN", stalls=True)]
    with Wire(server.port, *cuts) as wire, client_of(wire.url, timeout=None) as client:
        token = CancelToken()
        calls = client.within(cancel=token)
        early = Aside(lambda: calls.run(Tally.count, "early"))
        wait_until(lambda: wire.reached == 1)
        token.cancel("enough")
        with pytest.raises(Cancelled, match="enough"):
            early.result()

        later = CancelToken()
        late = Aside(lambda: client.run(Tally.count, "late", cancel=later))
        wait_until(lambda: count_of(server, "late") == 1 and wire.reached == 2)
        later.cancel("enough")
        with pytest.raises(OutcomeUnknown, match="cancelled") as caught:
            late.result()
        assert isinstance(caught.value.__cause__, Cancelled)
    assert count_of(server, "early") == 0


def test_an_update_that_has_left_in_part_has_not_happened(server: Served) -> None:
    """Cancelled while an update is being sent, one knows that it isn't executed."""
    cut, token = Cut(requests=200, stalls=True), CancelToken()
    with Wire(server.port, cut) as wire, client_of(wire.url, timeout=None) as client:
        call = Aside(lambda: client.run(Tally.count, "x" * (1 << 25), cancel=token))
        wait_until(lambda: wire.reached == 1)
        token.cancel()
        with pytest.raises(Cancelled):
            call.result()


STUCK = [Cut(withholds=b"CAIRN.RUN", stalls=True), Cut(requests=150, stalls=True)]


@pytest.mark.parametrize("stuck", STUCK, ids=["executed", "not yet"])
@pytest.mark.parametrize(("others", "length"), [(RESULTS_MAX + 100, 1), (60, 20_000)])
def test_a_straggler_is_not_forgotten(server: Served, stuck: Cut, others: int, length: int) -> None:
    """While one update waits for its answer others, many or long, don't push it out."""
    name = f"straggler {next(EXAMPLES)}"
    with Wire(server.port, copy(stuck)) as wire, client_of(wire.url) as client:
        straggler = Aside(lambda: client.run(Tally.count_long, name, 1000))
        wait_until(lambda: wire.reached == 1)
        for _ in range(others):
            client.run(Tally.count_long, "others", length)
        assert not straggler.done()
        wire.go_on.set()
        assert straggler.result() == "x" * 1000
    assert count_of(server, name) == 1


class Long(Pauses):
    """Pauses that nobody waits for."""

    def __init__(self) -> None:
        super().__init__(lambda _least, _most: 1000.0)


def test_calls_that_pause_go_on_when_one_is_answered(server: Served) -> None:
    """The calls of a client learn from each other that the server is there again."""
    with Wire(server.port, Cut(requests=0), Cut(requests=0)) as wire, client_of(wire.url) as client:
        client._target.link.pauses = Long
        pausing = [Aside(partial(client.run, Tally.count, f"pausing {n}")) for n in range(2)]
        wait_until(lambda: wire.reached == 2)
        wait_until(lambda: client._target.link._waking)
        while not all(call.done() for call in pausing):
            client.run(Tally.counted, "x", timeout=None)
        assert [call.result() for call in pausing] == [1, 1]


def test_nobody_listens(server: Served) -> None:
    """Without a server calls end in time, and say what was in the way."""
    with Wire(server.port) as wire:
        url = wire.url
    with connect(url, Tally, timeout=0.5) as client:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="refused"):
            client.run(Tally.count, "nobody")
        assert time.monotonic() - began < 0.5 + PATIENCE_SECONDS


@settings(max_examples=50)
@given(garbage=st.binary(min_size=1), place=st.integers(0, 250))
def test_garbage_does_no_harm(server: Served, garbage: bytes, place: int) -> None:
    """Whatever comes instead of replies: an update is applied once, or refused and not known."""
    name = f"garbage {garbage.hex()} {place}"
    with (
        Wire(server.port, Cut(replies=place, garbage=garbage)) as wire,
        client_of(wire.url, timeout=10.0) as client,
    ):
        try:
            assert client.run(Tally.count, name) == 1
        except CairnError:
            assert b"-" in garbage  # it says something: that the server refuses
        else:
            assert count_of(server, name) == 1
    assert count_of(server, name) <= 1
