"""The parts of a client, each by itself: addresses, exceptions, sessions, waits."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cairndb
from cairndb.cancellation import CancelToken
from cairndb.client import connect
from cairndb.client_address import Address, parse_address
from cairndb.client_exceptions import Exceptions
from cairndb.client_methods import RemoteMethods
from cairndb.client_sessions import WINDOW, Session, Sessions, Ticket
from cairndb.client_waiting import FIRST_SECONDS, MOST_SECONDS, OutOfTime, Pauses, Wait
from cairndb.errors import Cancelled, RemoteError, SchemaError, UsageError
from cairndb.wire import Failure
from serving import Bank, InsufficientFunds


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("cairn://example.org", Address("example.org", 7379, "", tls=False)),
        ("cairn://example.org:1/", Address("example.org", 1, "", tls=False)),
        ("cairns://[::1]:5", Address("::1", 5, "", tls=True)),
        ("cairn+unix:///run/a%20b", Address("", 0, "/run/a b", tls=False)),
    ],
)
def test_addresses(url: str, address: Address) -> None:
    """What URLs mean."""
    assert parse_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "http://example.org",
        "cairn://",
        "cairn://example.org:x",
        "cairn://example.org:99999",
        "cairn://example.org/path",
        "cairn://example.org?x=1",
        "cairn+unix://host/path",
        "cairn+unix:",
        "cairn://[::1",
    ],
)
def test_no_addresses(url: str) -> None:
    """What isn't a URL of a server is refused, with how one looks."""
    with pytest.raises(UsageError, match="cairn://host:port"):
        parse_address(url)


def test_secrets_in_addresses() -> None:
    """A token in a URL is refused, and not repeated."""
    with pytest.raises(UsageError, match="token=") as caught:
        parse_address("cairn://user:hunter2@example.org")
    assert "hunter2" not in str(caught.value)


def test_addresses_as_text() -> None:
    """For messages."""
    texts = [str(parse_address(u)) for u in ("cairn://[::1]", "cairn://h:1", "cairn+unix:///s")]
    assert texts == ["[::1]:7379", "h:1", "/s"]


def test_odd_options_are_refused() -> None:
    """Options that can't be meant."""
    for connections in (0, 513):
        with pytest.raises(UsageError, match="connections="):
            connect("cairn://h", Bank, connections=connections)
    with pytest.raises(UsageError, match="tls="):
        connect("cairn://h", Bank, tls=object())  # type: ignore[call-overload]


def test_without_the_library_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who hasn't installed what a client needs is told what to install."""
    monkeypatch.setitem(sys.modules, "hiredis", None)
    with pytest.raises(UsageError, match="pip install 'cairndb"):
        connect("cairn://h", Bank)


@pytest.mark.process
def test_who_does_not_connect_does_not_load_it() -> None:
    """`import cairndb` leaves the client, and TLS with it, for who asks for it."""
    program = "import sys, cairndb; before = 'ssl' in sys.modules; cairndb.connect; print(before)"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    shown = subprocess.check_output([sys.executable, "-c", program], env=environment)
    assert shown == b"False\n"


class Outer(cairndb.Record):
    """A root with an exception of its own."""

    class Inner(Exception):  # noqa: N818  as an application might call it
        """Declared in the root."""


class Picky(Exception):  # noqa: N818  as above
    """Its `__init__` takes what no plain data is."""

    def __init__(self, first: Any) -> None:
        super().__init__(first.upper())


class Chameleon(Exception):  # noqa: N818  as above
    """Its `__new__` makes something else."""

    def __new__(cls, *_args: Any) -> Any:
        """Make something else."""
        return "no exception"


def raised(root: Any, module: str, name: str, arguments: list[Any] | None) -> Exception:
    """The exception for a failure."""
    return Exceptions(root).of(Failure(module, name, arguments, "the message"))


def test_exceptions_that_are_known_here() -> None:
    """Python's, cairndb's, those of the root's module, nested ones, and imported ones."""
    here = __name__
    assert raised(Bank, "builtins", "KeyError", ["x"]).args == ("x",)
    assert type(raised(Bank, "builtins", "OSError", [2, "x"])) is FileNotFoundError
    assert type(raised(Outer, here, "Outer.Inner", [])) is Outer.Inner
    assert type(raised(Outer, "serving", "InsufficientFunds", ["a", 1])) is InsufficientFunds
    path = raised(Bank, "cairndb.errors", "ValidationError", ["bad", ["a", [1, 2]]])
    assert isinstance(path, cairndb.ValidationError)
    assert path.path == ("a", (1, 2))
    assert isinstance(path.__cause__, RemoteError)


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("builtins", "KeyError", None),
        ("builtins", "SystemExit", []),
        ("builtins", "KeyboardInterrupt", []),
        ("builtins", "print", ["x"]),
        ("builtins", "UnicodeDecodeError", ["x"]),
        ("os", "system", ["true"]),
        ("subprocess", "CalledProcessError", [1, "x"]),
        (__name__, "Outer", []),
        (__name__, "Outer.Missing", []),
        (__name__, "Picky", [5]),
        (__name__, "Chameleon", []),
        ("json", "JSONDecodeError", ["x", "x", 0]),
        ("no_such_module", "Error", []),
        ("", "", []),
    ],
)
def test_exceptions_that_are_not(module: str, name: str, arguments: list[Any] | None) -> None:
    """What is no exception, isn't known, or can't be made, is a RemoteError."""
    before = set(sys.modules)
    error = raised(Outer, module, name, arguments)
    assert type(error) is RemoteError
    assert (error.module, error.name, error.message) == (module, name, "the message")
    assert set(sys.modules) == before


@given(module=st.sampled_from(["builtins", "serving", "os"]), name=st.text(), argument=st.text())
def test_any_failure_is_an_exception(module: str, name: str, argument: str) -> None:
    """Whatever a server says has been raised, something is there to raise."""
    assert isinstance(raised(Bank, module, name, [argument]), Exception)


def test_every_exception_of_python_is_had() -> None:
    """All of Python's own whose arguments are plain arrive as what they were."""
    for cls in vars(builtins).values():
        if isinstance(cls, type) and issubclass(cls, Exception):
            try:
                cls("x")
            except TypeError:
                continue
            assert type(raised(Bank, "builtins", cls.__qualname__, ["x"])) is cls


def test_results_of_another_program() -> None:
    """A result that isn't what is declared is told from a call that hasn't been done."""
    total = RemoteMethods(Bank).of(Bank.total)
    assert total.result(b"\x05") == 5
    with pytest.raises(SchemaError, match="has been run"):
        total.result(b"\xa1x")


@given(st.lists(st.integers(0, 20)))
def test_the_first_that_is_incomplete(order: list[int]) -> None:
    """It is the lowest number that was begun and hasn't ended, or the next one."""
    session = Session(1, 2)
    tickets: list[Ticket] = []
    open_numbers: set[int] = set()
    for step in order:
        if step < len(tickets):
            tickets[step].end()
            open_numbers.discard(tickets[step].sequence)
        else:
            ticket = session.begin()
            assert ticket is not None
            tickets.append(ticket)
            open_numbers.add(tickets[-1].sequence)
        following = len(tickets) + 1
        assert session.first_incomplete() == min(open_numbers, default=following)
    assert [ticket.sequence for ticket in tickets] == list(range(1, len(tickets) + 1))
    assert all(ticket.words()[:2] == (1, 2) for ticket in tickets)


def test_a_straggler_ends_a_session() -> None:
    """Numbers go only so far beyond the lowest that is open; when that ends they go on."""
    session = Session(1, 2)
    first = session.begin()
    assert first is not None
    for _ in range(WINDOW - 1):
        ticket = session.begin()
        assert ticket is not None
        ticket.end()
    assert session.begin() is None
    first.end()
    following = session.begin()
    assert following is not None
    assert following.sequence == WINDOW + 1


def test_a_session_is_replaced_once() -> None:
    """Of two threads that have asked for a session one is used, and an old one can't end a new."""
    sessions = Sessions()
    first, second, third = Session(1, 1), Session(1, 2), Session(1, 3)
    assert sessions.begin() is None
    sessions.begun(first, None)
    sessions.begun(second, None)
    assert sessions.current is first
    sessions.expired(second)
    assert sessions.current is first
    sessions.begun(third, first)
    assert sessions.current is third
    sessions.expired(third)
    assert sessions.current is None


def test_pauses_double_up_to_a_bound() -> None:
    """Each pause is random, below a bound that doubles; the random numbers are the caller's."""
    asked: list[tuple[float, float]] = []

    def uniform(least: float, most: float) -> float:
        asked.append((least, most))
        return most / 2

    pauses = Pauses(uniform)
    assert [pauses.next() for _ in range(8)] == [most / 2 for _, most in asked]
    assert [least for least, _ in asked] == [0.0] * 8
    bounds = [most for _, most in asked]
    assert bounds[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert bounds[-1] == MOST_SECONDS


def test_the_time_of_a_call() -> None:
    """What is left grows less, and is over in the end; without a timeout it never is."""
    now = [100.0]
    wait = Wait(2.0, clock=lambda: now[0])
    assert wait.left() == 2.0
    now[0] += 1.5
    assert wait.left() == 0.5
    now[0] += 0.5
    with pytest.raises(OutOfTime):
        wait.check()
    assert Wait(None).left() is None


def test_a_pause_is_ended_by_a_token() -> None:
    """A pause ends as soon as the call is cancelled."""
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        Wait(None, token).sleep(1000.0)
