"""What a client makes of what it is told: what is final, what is tried again, and what is unknown.

The server here reads from a script what it answers to the tries of one call.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import hiredis
import msgspec
import pytest
from msgspec import Raw

from cairndb.errors import (
    CairnError,
    LockTimeout,
    MemoryWatermark,
    OutcomeUnknown,
    RemoteError,
    ResultLost,
    UsageError,
)
from cairndb.service_access import Forbidden, Unauthenticated
from cairndb.service_methods import ArgumentError
from cairndb.wire import Failure, Reply
from remote_root import Refusal, Tally, client_of
from threads import LIMIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

encode: Final = msgspec.msgpack.encode


def text(data: bytes) -> bytes:
    """As the protocol has it."""
    return b"$%d\r\n%s\r\n" % (len(data), data)


def failed(module: str, name: str) -> bytes:
    """The answer that this was raised."""
    failure = Failure(module, name, ["why"], "why")
    return text(encode(Reply(7, 0, Raw(encode(None)), failure)))


def own(name: str) -> bytes:
    """The answer that one of cairndb's own was raised."""
    return failed("cairndb.errors", name)


DONE: Final = text(encode(Reply(7, 0, Raw(encode(5)))))
LOST: Final = b""  # the connection is closed
FORBIDDEN: Final = failed("cairndb.service_access", "Forbidden")
ARGUMENTS: Final = failed("cairndb.service_methods", "ArgumentError")
REFUSED: Final = failed("remote_root", "Refusal")


class Scripted:
    """A server that answers as it is told.

    Args:
        greetings: what it answers to HELLO, one after the other; then it is friendly.
        sessions: what it answers to CAIRN.SESSION, one after the other; then it names one.
        answers: to each CAIRN.RUN; after the last one it closes each connection.
    """

    def __init__(
        self,
        answers: Sequence[bytes],
        greetings: Sequence[bytes] = (),
        sessions: Sequence[bytes] = (),
    ) -> None:
        self._answers = list(answers)
        self._greetings = list(greetings)
        self._refusals = list(sessions)
        self.calls: list[list[bytes]] = []
        self._sessions = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"cairn://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            with client, contextlib.suppress(OSError):
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        reader = hiredis.Reader()
        while data := client.recv(65536):
            reader.feed(data)
            while command := reader.gets():
                answer = self._answer(command)
                if not answer:
                    return
                client.sendall(answer)

    def _answer(self, command: list[bytes]) -> bytes:
        if command[0] == b"HELLO":
            return self._greetings.pop(0) if self._greetings else b"%0\r\n"
        if command[0] == b"CAIRN.SESSION":
            if self._refusals:
                return self._refusals.pop(0)
            self._sessions += 1
            return b"*2\r\n:%d\r\n:9\r\n" % self._sessions
        self.calls.append(command)
        return self._answers.pop(0) if self._answers else LOST

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive()


FIRST_TRIES: Final[list[tuple[list[bytes], Any]]] = [
    ([DONE], 5),
    ([LOST, DONE], 5),
    ([b"-BUSY not now\r\n", DONE], 5),
    ([b"-LOADING not now\r\n", DONE], 5),
    ([b"-TRYAGAIN not now\r\n", DONE], 5),
    ([b"-OUTCOMEUNKNOWN the owner fails\r\n", DONE], 5),
    ([own("DatabaseFailed"), DONE], 5),
    ([own("SessionExpired"), DONE], 5),
    ([b"+what?\r\n", DONE], 5),
    ([text(b"what?"), DONE], 5),
    ([b"what?\r\n", DONE], 5),
    ([b">1\r\n$5\r\nhello\r\n" + DONE], 5),
    ([b"-ERR no\r\n"], UsageError),
    ([b"-NOPERM no\r\n"], Forbidden),
    ([b"-NOAUTH no\r\n"], Unauthenticated),
    ([b"-TOOLONG no\r\n"], ResultLost),
    ([own("LockTimeout")], LockTimeout),
    ([own("MemoryWatermark")], MemoryWatermark),
    ([own("OutcomeUnknown")], OutcomeUnknown),
    ([own("ResultLost")], ResultLost),
    ([FORBIDDEN], Forbidden),
    ([ARGUMENTS], ArgumentError),
    ([REFUSED], Refusal),
    ([failed("elsewhere", "Unheard")], RemoteError),
]
# After a try that may have been executed.
LATER_TRIES: Final[list[tuple[list[bytes], Any]]] = [
    ([own("LockTimeout"), DONE], 5),
    ([own("MemoryWatermark"), DONE], 5),
    ([b"-BUSY not now\r\n", DONE], 5),
    ([own("SessionExpired")], OutcomeUnknown),
    ([own("OutcomeUnknown")], OutcomeUnknown),
    ([own("ResultLost")], ResultLost),
    ([b"-TOOLONG no\r\n"], ResultLost),
    ([b"-ERR no\r\n"], OutcomeUnknown),
    ([b"-NOPERM no\r\n"], OutcomeUnknown),
    ([FORBIDDEN], OutcomeUnknown),
    ([ARGUMENTS], OutcomeUnknown),
    ([own("UsageError")], OutcomeUnknown),
    ([REFUSED], Refusal),
    ([own("ConstraintError")], CairnError),
]


def check(answers: list[bytes], expected: Any) -> list[list[bytes]]:
    """Have an update answered so, and compare; returns its tries."""
    with Scripted(answers) as server, client_of(server.url, timeout=LIMIT_SECONDS) as client:
        if isinstance(expected, type):
            with pytest.raises(expected) as caught:
                client.run(Tally.count, "x")
            assert (type(caught.value) is OutcomeUnknown) == (expected is OutcomeUnknown)
        else:
            assert client.run(Tally.count, "x") == expected
            assert client.lsn == 7
    assert len(server.calls) == len(answers)
    return server.calls


@pytest.mark.parametrize(("answers", "expected"), FIRST_TRIES)
def test_what_a_first_try_is_told(answers: list[bytes], expected: Any) -> None:
    """An error is final where nothing has happened; what may be different soon is tried again."""
    check(answers, expected)


@pytest.mark.parametrize("first", [LOST, b"-OUTCOMEUNKNOWN x\r\n", own("DatabaseFailed")])
@pytest.mark.parametrize(("answers", "expected"), LATER_TRIES)
def test_what_a_later_try_is_told(first: bytes, answers: list[bytes], expected: Any) -> None:
    """Once a try may have been executed, what refuses the next one tells nothing of the first."""
    calls = check([first, *answers], expected)
    assert all(call == calls[0] for call in calls)


def test_tries_have_the_number_of_the_first() -> None:
    """All tries of an update are the same request; the next update is another."""
    with Scripted([LOST, LOST, DONE, DONE]) as server, client_of(server.url) as client:
        client.run(Tally.count, "x")
        client.run(Tally.count, "x")
    first, *others, following = [call[3:] for call in server.calls]
    assert first == [b"ONCE", b"1", b"9", b"1", b"1"]
    assert others == [first, first]
    assert following == [b"ONCE", b"1", b"9", b"2", b"2"]


def test_an_expired_session_is_replaced() -> None:
    """What was never sent in an expired session is sent in a new one, under a number of that."""
    with Scripted([DONE, own("SessionExpired"), DONE]) as server, client_of(server.url) as client:
        client.run(Tally.count, "x")
        client.run(Tally.count, "x")
    assert [call[4] for call in server.calls] == [b"1", b"1", b"2"]
    assert server.calls[-1][3:] == [b"ONCE", b"2", b"9", b"1", b"1"]


@pytest.mark.parametrize("answer", [b"-ERR no\r\n", FORBIDDEN, own("UsageError")])
def test_queries_are_never_unknown(answer: bytes) -> None:
    """A query has no number, and whatever became of an earlier try, what is raised is why."""
    with Scripted([LOST, answer]) as server, client_of(server.url) as client:
        with pytest.raises(CairnError) as caught:
            client.run(Tally.counted, "x")
        assert not isinstance(caught.value, OutcomeUnknown)
    assert [len(call) for call in server.calls] == [3, 3]


def test_a_server_that_is_full_is_asked_again() -> None:
    """Too many clients, as Redis says it: another one may have gone by the next try."""
    greetings = [b"-ERR max number of clients reached\r\n"] * 3
    with Scripted([DONE], greetings) as server, client_of(server.url) as client:
        assert client.run(Tally.count, "x") == 5


@pytest.mark.parametrize(
    ("greeting", "expected"),
    [
        (b"-WRONGPASS no\r\n", Unauthenticated),
        (b"-NOAUTH no\r\n", Unauthenticated),
        (b"-NOPROTO no\r\n", UsageError),
        (b"-ERR unknown command 'HELLO'\r\n", UsageError),
    ],
)
def test_who_is_not_let_in_is_told_at_once(greeting: bytes, expected: type[Exception]) -> None:
    """A token that isn't known, or a server of something else, won't be by trying again."""
    with Scripted([], [greeting]) as server, client_of(server.url) as client:
        with pytest.raises(expected):
            client.run(Tally.count, "x")
        assert server.calls == []
    with Scripted([LOST], [b"%0\r\n", greeting]) as server, client_of(server.url) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            client.run(Tally.count, "x")
        assert isinstance(caught.value.__cause__, expected)


@pytest.mark.parametrize(
    "session", [b"-OUTCOMEUNKNOWN no\r\n", b"-FAILED no\r\n", b"+what?\r\n", LOST]
)
def test_an_update_without_a_session_was_not_sent(session: bytes) -> None:
    """Until a server has named a session nothing has left of which the outcome were unknown."""
    with (
        Scripted([FORBIDDEN], sessions=[session]) as server,
        client_of(server.url) as client,
        pytest.raises(Forbidden),
    ):
        client.run(Tally.count, "x")


def test_a_client_that_is_closed_meanwhile() -> None:
    """A call that would have to try again after `close` says what is known."""
    with Scripted([]) as server, client_of(server.url) as client:
        pauses = client._target.link.pauses

        def closing() -> Any:
            client.close()
            return pauses()

        client._target.link.pauses = closing
        with pytest.raises(UsageError, match="closed"):
            client.run(Tally.count, "x")
    assert server.calls == []
