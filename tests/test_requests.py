"""The table of answered requests: what it knows, what it drops, and how it is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairndb import codec, requests
from cairndb.codec import EXPIRED, REQUEST, SESSION, SET, Operation
from cairndb.errors import UsageError
from cairndb.fold import Fold
from cairndb.patch import Tree, decode_operations, operation
from cairndb.requests import Fate, Once, RequestId, Requests
from cairndb.requests_stored import StoredRequests, answered, request_operation
from cairndb.schema import compile_root

if TYPE_CHECKING:
    from collections.abc import Iterable

NEW, ANSWERED, FORGOTTEN, EXPIRED_SESSION = Fate


def request(sequence: int, first: int = 0, *, born: int = 1, nonce: int = 1) -> RequestId:
    """A request of a session."""
    return RequestId(born, nonce, sequence, first)


def table(*added: RequestId, result: bytes = b"\x01") -> StoredRequests:
    """A table to which requests have been added, one after the other."""
    made = StoredRequests()
    for each in added:
        made.add(each, result)
    return made


def fates(made: Requests[Any], several: Iterable[RequestId]) -> list[Fate]:
    """What is known of some requests."""
    return [made.fate(each) for each in several]


def again(made: StoredRequests) -> StoredRequests:
    """The table that comes of what one is written down as."""
    written = list(made.operations())
    loaded = StoredRequests()
    for each in decode_operations(b"".join(written), len(written)):
        function, arguments = loaded.change(each)
        function(*arguments)
    return loaded


def test_an_answer_is_kept_until_the_client_has_it() -> None:
    """Requests are new, then answered, then forgotten since nobody asks for them any more."""
    made = table(request(0), request(2))
    assert fates(made, map(request, range(4))) == [ANSWERED, NEW, ANSWERED, NEW]
    assert made.result(request(2)) == b"\x01"

    made.add(request(3, first=2), b"\x02")
    assert fates(made, map(request, range(5))) == [FORGOTTEN, FORGOTTEN, ANSWERED, ANSWERED, NEW]


def test_sessions_do_not_meet() -> None:
    """The same sequence is another request in a session of another nonce, or another birth."""
    made = table(request(0))
    others = [request(0, born=2), request(0, nonce=2)]
    assert fates(made, others) == [NEW, NEW]


def test_too_many_answers_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest sequences are forgotten, also what wasn't answered between them."""
    monkeypatch.setattr(requests, "RESULTS_MAX", 2)
    made = table(request(1), request(3), request(5))
    assert fates(made, map(request, range(6))) == [
        FORGOTTEN,
        FORGOTTEN,
        NEW,
        ANSWERED,
        NEW,
        ANSWERED,
    ]

    # A late one is executed, and forgotten at once.
    made.add(request(2), b"\x01")
    assert fates(made, map(request, range(4))) == [FORGOTTEN, FORGOTTEN, FORGOTTEN, ANSWERED]


def test_too_many_bytes_of_a_session() -> None:
    """A session keeps no more than its share; of the rest, that there was an answer."""
    long = bytes(requests.RESULT_BYTES_MAX)
    made = table(*map(request, range(1, 20)), result=long)
    assert made.size <= requests.SESSION_BYTES_MAX
    assert set(fates(made, map(request, range(1, 20)))) == {ANSWERED}
    kept = [each for each in range(1, 20) if made.result(request(each)) is not None]
    assert kept == [17, 18, 19]
    # What hasn't come yet isn't taken for forgotten.
    assert made.fate(request(0)) is NEW


def test_the_lowest_answer_stays_longest() -> None:
    """The answer that a client waits for, while it has those after it, isn't pushed out by them."""
    long = bytes(requests.RESULT_BYTES_MAX)
    made = StoredRequests()
    for sequence in range(5, 20):
        made.add(request(sequence, 5), long)
    kept = [each for each in range(5, 20) if made.result(request(each)) is not None]
    assert kept == [5, 18, 19]


def test_an_answer_that_is_too_long() -> None:
    """It isn't kept, and that there was one is; by the writer, and by who folds."""
    made = table(request(0), result=bytes(requests.RESULT_BYTES_MAX + 1))
    assert made.fate(request(0)) is ANSWERED
    assert made.result(request(0)) is None

    for size, kept in ((0, True), (1, False)):
        once = Once(request(0), bytes(requests.RESULT_BYTES_MAX + size))
        assert (answered(request_operation(once))[1] is not None) == kept


def test_too_many_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one used longest ago goes, and none that may have been before it is taken for new."""
    monkeypatch.setattr(requests, "SESSIONS_MAX", 2)
    made = table(request(0, born=5), request(0, born=3), request(1, born=5), request(0, born=7))
    assert made.floor_born == 3
    found = fates(made, [request(0, born=born) for born in (3, 2, 4, 5, 7, 8)])
    assert found == [EXPIRED_SESSION, EXPIRED_SESSION, NEW, ANSWERED, ANSWERED, NEW]


def test_too_many_bytes_of_all_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has a size, of which every answer and every session is a part."""
    monkeypatch.setattr(requests, "TABLE_BYTES_MAX", 1000)
    made = StoredRequests()
    for born in range(1, 20):
        made.add(request(0, born=born), bytes(100))
        assert made.size <= 1000
        assert made.fate(request(0, born=born)) is ANSWERED
    assert made.size == sum(session.size for session in made.sessions.values())
    assert made.floor_born == 19 - len(made.sessions)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[RequestId, bytes]]:
    """Requests of a few sessions, some of which are repeated, or late."""
    numbers = st.integers(0, 12)
    made = []
    for _ in range(draw(st.integers(0, 40))):
        sequence = draw(numbers)
        first = draw(st.integers(0, sequence))
        born, nonce = draw(st.integers(1, 4)), draw(st.integers(0, 2))
        result = bytes(draw(st.sampled_from([0, 1, 30, 300])))
        made.append((request(sequence, first, born=born, nonce=nonce), result))
    return made


@given(histories())
def test_nothing_is_executed_twice(history: list[tuple[RequestId, bytes]]) -> None:
    """With tiny bounds: each request is new once at most; what is kept is what was answered."""
    done: dict[tuple[tuple[int, int], int], bytes] = {}
    made = StoredRequests()
    bounds = {"SESSIONS_MAX": 4, "RESULTS_MAX": 3, "RESULT_BYTES_MAX": 200}
    bounds |= {"SESSION_BYTES_MAX": 500, "TABLE_BYTES_MAX": 1500}
    with pytest.MonkeyPatch.context() as patched:
        for name, bound in bounds.items():
            patched.setattr(requests, name, bound)
        for each, result in history:
            key = each.session, each.sequence
            fate = made.fate(each)
            if fate is Fate.NEW:
                assert key not in done
                done[key] = result
                made.add(each, result)
            elif fate is Fate.ANSWERED:
                assert made.result(each) in {None, done[key]}
            assert len(made.sessions) <= 4
            assert made.size == sum(session.size for session in made.sessions.values()) <= 1500
            for session in made.sessions.values():
                assert len(session.results) <= 3
                assert session.size <= 500
        assert list(again(made).operations()) == list(made.operations())
        assert again(made).size == made.size


def test_the_table_is_written_down_in_order() -> None:
    """What a checkpoint has is the floor, then sessions from the oldest use to the newest."""
    made = table(request(0, born=2), request(4, 4, born=3), request(1, born=2))
    made.floor_born = 1
    assert [codec.decode(each) for each in made.operations()] == [
        [EXPIRED, [], 1],
        [SESSION, [], [3, 1, 4, [[4, b"\x01"]]]],
        [SESSION, [], [2, 1, 0, [[0, b"\x01"], [1, b"\x01"]]]],
    ]
    assert list(StoredRequests().operations()) == []


@pytest.mark.parametrize(
    ("code", "path", "argument"),
    [
        (REQUEST, ["a"], [1, 1, 1, 0, None]),
        (REQUEST, [], [1, 1, 0, 0, None]),
        (REQUEST, [], [1, 1, 3, 4, None]),
        (REQUEST, [], [1, 1, 3, 0]),
        (REQUEST, [], [1, 1, 3, 0, "text"]),
        (REQUEST, [], [-1, 1, 3, 0, None]),
        (REQUEST, [], [1, 1 << 63, 3, 0, None]),
        (SESSION, [], [1, 1, 0, []]),
        (SESSION, [], [2, 1, 0, [[0]]]),
        (SESSION, [], [2, 1, 0, [[1, None], [1, None]]]),
        (SESSION, [], [2, 1, 0, [[2, None], [1, None]]]),
        (SESSION, [], [2, 1, 3, [[2, None]]]),
        (EXPIRED, [], -1),
        (EXPIRED, [], None),
        (10, [], None),
    ],
)
def test_what_no_correct_writer_makes_is_refused(code: int, path: list[str], argument: Any) -> None:
    """Above all a request that was answered already; and nothing has changed."""
    made = table(request(0))
    before = list(made.operations())
    with pytest.raises(ValueError):  # noqa: PT011  whatever it says
        made.change(operation(code, path, argument))
    assert list(made.operations()) == before


@pytest.mark.parametrize(
    "numbers", [(-1, 0, 0, 0), (0, 1 << 63, 0, 0), (0, 0, 1, 2), (0, 0, (1 << 62) + 1, 0)]
)
def test_numbers_that_no_request_has(numbers: tuple[int, int, int, int]) -> None:
    """They are refused where they arrive, with what to send instead."""
    with pytest.raises(UsageError, match="take born and nonce from the server"):
        RequestId(*numbers).check()
    RequestId(1 << 62, (1 << 63) - 1, 1 << 62, 1 << 62).check()


ASKED = operation(REQUEST, (), [1, 1, 0, 0, b"\x01"])
ASKED_NEXT = operation(REQUEST, (), [1, 1, 1, 0, b"\x01"])
CHANGED = operation(SET, ("a",), 2)


@pytest.mark.parametrize("entry", [[ASKED, CHANGED], [CHANGED, ASKED, ASKED_NEXT]])
def test_a_request_ends_its_entry(entry: list[Operation]) -> None:
    """There is one at most, and nothing behind it; both folds refuse anything else, whole."""
    tree, fold = Tree(compile_root(dict[str, int], guard=True)), Fold()
    first = [operation(SET, (), {"a": 1})]
    tree.apply(tree.resolve(first))
    fold.apply(first)
    with pytest.raises(ValueError):  # noqa: PT011  whatever it says
        tree.resolve(entry)
    with pytest.raises(ValueError):  # noqa: PT011  as above
        fold.apply(entry)
    assert tree.root == {"a": 1} == codec.decode(fold.encode())
    assert list(tree.requests.operations()) == list(fold.requests.operations()) == []

    for good in ([CHANGED, ASKED], [ASKED_NEXT]):
        tree.apply(tree.resolve(good))
        fold.apply(good)
    assert list(tree.requests.operations()) == list(fold.requests.operations()) != []
