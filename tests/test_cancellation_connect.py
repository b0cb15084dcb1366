"""Connecting and looking up names: which address, in which order, and what is left behind."""

from __future__ import annotations

import os
import socket
import threading
import time
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairndb.cancellation import (
    Address,
    CancellableSocket,
    Cancelled,
    CancelToken,
    Timeout,
    connect,
    connect_unix,
    resolve,
)
from cairndb.cancellation_connect import HEAD_START_SECONDS, interleaved
from cairndb.errors import UsageError
from cancellable import HOST, Surroundings, full_listener, is_asleep, open_descriptors
from forking import in_child
from threads import LIMIT_SECONDS, Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

families = st.sampled_from([socket.AF_INET, socket.AF_INET6])


def has_ipv6() -> bool:
    """Whether this machine has a loopback address of IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def closed_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the name "a" be of some ports of this machine, each an address of its own."""
    real = socket.getaddrinfo

    def name(*ports: int) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, port)) for port in ports]

        def look_up(host: str, *rest: Any, **more: Any) -> Any:
            return found if host == "a" else real(host, *rest, **more)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return name


@given(st.lists(st.tuples(families, st.integers(0, 9))))
def test_families_take_turns(pairs: list[tuple[int, int]]) -> None:
    """All addresses are tried, in their order within a family, and families alternate."""
    addresses = [Address(family, ("", port, at)) for at, (family, port) in enumerate(pairs)]
    order = interleaved(addresses)

    assert sorted(order) == sorted(addresses)
    for family in {family for family, _ in pairs}:
        of_family = [each for each in addresses if each.family == family]
        assert [each for each in order if each.family == family] == of_family
    fewer = min(sum(each.family == family for each in addresses) for family in (2, 10))
    alternating = [each.family for each in order[: 2 * fewer]]
    assert all(one != other for one, other in pairwise(alternating))
    assert order[:1] == addresses[:1]


def test_the_next_address_gets_its_turn(named: Callable[..., None]) -> None:
    """An address that doesn't answer is waited for 250 ms; then the next one is taken."""
    with full_listener() as blackhole, socket.create_server((HOST, 0)) as good:
        port = good.getsockname()[1]
        named(blackhole, port)
        started = time.monotonic()
        with connect("a", 80, timeout=LIMIT_SECONDS) as connection:
            assert connection.getpeername()[1] == port
        assert time.monotonic() >= started + HEAD_START_SECONDS


def test_a_refused_address_is_passed_at_once(named: Callable[..., None]) -> None:
    """After an address that fails the next is tried without delay."""
    with socket.create_server((HOST, 0)) as good:
        port = good.getsockname()[1]
        named(closed_port(), closed_port(), port)
        with connect("a", 80, timeout=HEAD_START_SECONDS) as connection:
            assert connection.getpeername()[1] == port


def test_an_address_that_fails_later_is_passed_at_once(named: Callable[..., None]) -> None:
    """When an attempt that was under way fails, the next is begun without delay."""
    own = closed_port()
    named(own, closed_port())
    # From that very port TCP would join it to itself: that fails after it was begun.
    with pytest.raises(ConnectionRefusedError, match=f"{HOST} port {own}") as error:
        connect("a", 80, bind=(HOST, own), timeout=HEAD_START_SECONDS / 2)

    assert len(error.value.__notes__) == 1


def test_losers_are_closed(named: Callable[..., None]) -> None:
    """Of the addresses that were tried only the winner's socket is left."""
    with (
        full_listener() as one,
        full_listener() as other,
        socket.create_server((HOST, 0)) as good,
    ):
        named(one, closed_port(), other, good.getsockname()[1])
        before = open_descriptors()
        with connect("a", 80, timeout=LIMIT_SECONDS):
            assert open_descriptors() <= before + 1
        with pytest.raises(Timeout):
            connect("a", 80, timeout=0.01)
        assert open_descriptors() <= before


def test_what_became_of_each(named: Callable[..., None]) -> None:
    """When no address can be connected to, the error is the first's, with notes of the others."""
    ports = closed_port(), closed_port()
    named(*ports)
    with pytest.raises(ConnectionRefusedError, match=f"{HOST} port {ports[0]}") as error:
        connect("a", 80, timeout=LIMIT_SECONDS)

    (note,) = error.value.__notes__
    assert f"{HOST} port {ports[1]}" in note


def test_connecting_from_an_address() -> None:
    """`bind` is where it connects from; only addresses of that family are tried."""
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        with connect(HOST, port, bind=("127.0.0.2", 0), timeout=LIMIT_SECONDS) as connection:
            assert connection.getsockname()[0] == "127.0.0.2"
        with pytest.raises(socket.gaierror):
            connect(HOST, port, bind=("::1", 0))
        with pytest.raises(UsageError, match="numeric"):
            connect(HOST, port, bind=("localhost", 0))


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6_is_connected_to() -> None:
    """An address of IPv6 is one like others."""
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as listener,
        connect("::1", listener.getsockname()[1], timeout=LIMIT_SECONDS) as connection,
    ):
        assert connection.getpeername()[0] == "::1"


def test_a_port_does_not_meet_itself() -> None:
    """A connection to a free port of one's own is refused, though TCP could join it to itself."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        connect(HOST, port, bind=(HOST, port), timeout=LIMIT_SECONDS)


def test_small_pieces_leave_at_once() -> None:
    """TCP doesn't wait for more to send, on both sides."""
    with CancellableSocket(socket.create_server((HOST, 0))) as listener:
        accepting = Aside(listener.accept)
        with connect(HOST, listener.getsockname()[1]) as one, accepting.result()[0] as other:
            for each in (one, other):
                with socket.socket(fileno=os.dup(each.fileno())) as same:
                    assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_unix_sockets(tmp_path: Path) -> None:
    """A path that somebody listens at is connected to; others are errors that name it."""
    path = tmp_path / "here"
    with pytest.raises(FileNotFoundError, match="here"):
        connect_unix(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(ConnectionRefusedError, match="here"):
            connect_unix(path)
        listener.listen()
        with connect_unix(path, timeout=LIMIT_SECONDS) as connection:
            listener.accept()[0].close()
            assert connection.recv(1, timeout=LIMIT_SECONDS) == b""


def test_a_full_unix_socket_is_looked_at_again(tmp_path: Path) -> None:
    """When there is room in its queue, who waits for a Unix socket is connected."""
    path = str(tmp_path / "here")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        first = connect_unix(path)
        connecting = Aside(partial(connect_unix, path))
        wait_until(lambda: is_asleep(connecting.thread_id))
        listener.accept()[0].close()
        with first, connecting.result() as second:
            assert second.fileno() >= 0


def test_names_and_numbers() -> None:
    """A name is looked up in a thread, an address in none; services may have names too."""
    before = threading.active_count()
    assert resolve(HOST, 80) == [Address(socket.AF_INET, (HOST, 80))]
    assert threading.active_count() == before
    found = resolve("localhost", 80, family=socket.AF_INET)
    assert found == [Address(socket.AF_INET, (HOST, 80))]


def test_a_name_that_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All who ask for a name meanwhile share one look-up, and each gets its error."""
    with Surroundings(tmp_path, monkeypatch).slow_name() as name:
        asking = [Aside(partial(resolve, name, 80)) for _ in range(5)]
        wait_until(lambda: all(is_asleep(each.thread_id) for each in asking))
        looking = [each for each in threading.enumerate() if each.name == f"looks up {name}"]
        assert len(looking) == 1
    errors = []
    for each in asking:
        with pytest.raises(socket.gaierror, match="no such name") as error:
            each.result()
        errors.append(error.value)
    assert len({id(error) for error in errors}) == 5


def test_a_look_up_is_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks again for a name that doesn't come waits for the same thread."""
    with Surroundings(tmp_path, monkeypatch).slow_name() as name:
        for _ in range(20):
            with pytest.raises(Cancelled):
                resolve(name, 80, cancel=CancelToken(timeout=0.001))
        looking = [each for each in threading.enumerate() if each.name == f"looks up {name}"]
        assert len(looking) == 1


@pytest.mark.process
def test_a_child_looks_up_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that was under way in the parent isn't waited for by a forked child."""
    around = Surroundings(tmp_path, monkeypatch)
    with around.slow_name() as name:
        with pytest.raises(Timeout):
            resolve(name, 80, timeout=0)

        def ask_again() -> bool:
            around._answers[name].set()
            with pytest.raises(socket.gaierror):
                resolve(name, 80, timeout=LIMIT_SECONDS)
            return True

        assert in_child(ask_again)
