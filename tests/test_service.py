"""What a database does for others, by name, whatever the protocol."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest

import cairndb
from cairndb.errors import UsageError, ValidationError
from cairndb.requests import RequestId
from cairndb.service import Conflict, Request, Service, wrapped
from cairndb.service_access import EVERYTHING, Forbidden, Grant, Unauthenticated
from cairndb.service_methods import ArgumentError, methods_of
from cairndb.service_paths import NoSuchPath
from cairndb.watch_items import Start, position_text
from serving import Account, Bank, Colour, InsufficientFunds, asked, asked_json, opened, value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cairndb.service import Answer, Handler

KEY = "12345678-1234-5678-1234-567812345678"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A bank's service."""
    with opened(tmp_path) as db:
        yield Service(db, Bank)


def got(service: Service, path: str, **options: Any) -> Any:
    """What stands at a path, by way of JSON."""
    options.setdefault("grant", EVERYTHING)
    return msgspec.json.decode(value(service.handle(Request("get", path, **options))))


def put(service: Service, path: str, text: str, **options: Any) -> Any:
    """Set a path to what a JSON says."""
    options.setdefault("grant", EVERYTHING)
    return value(service.handle(Request("set", path, data=text.encode(), **options)))


def test_methods_are_those_that_are_marked() -> None:
    """A root offers its updates and queries, with their parameters; a dict offers nothing."""
    methods = methods_of(Bank)
    assert {name: method.mode for name, method in methods.items()} == {
        **dict.fromkeys(("add_note", "open_account", "put_account", "transfer"), "update"),
        **dict.fromkeys(("echo", "holders", "total", "wait"), "query"),
    }
    assert [each.name for each in methods["transfer"].parameters] == ["source", "target", "amount"]
    assert methods_of(dict[str, int]) == {}


def test_arguments_come_as_texts_or_documents(service: Service) -> None:
    """By position or by name, as texts, JSON or MessagePack, a method gets the same."""
    assert value(asked(service, "transfer", "alice", "bob", "5")) == 95
    assert value(asked_json(service, "transfer", '["alice", "bob", 5]')) == 90
    by_name = {"target": "bob", "source": "alice", "amount": 5}
    assert value(asked_json(service, "transfer", msgspec.json.encode(by_name).decode())) == 85
    for data in (by_name, ["alice", "bob", 5]):
        packed = msgspec.msgpack.encode(data)
        request = Request("run", "transfer", "msgpack", packed, grant=EVERYTHING)
        assert value(service.handle(request)) in {80, 75}
    assert got(service, "/accounts/bob/balance") == 25


def test_texts_become_what_is_declared(service: Service) -> None:
    """A text is a number, a date, an Enum's value or a record where that is declared."""
    texts = ("red", "2026-02-28", "1.10", KEY, "2")
    expected = [Colour.RED, date(2026, 2, 28), Decimal("1.10"), UUID(KEY), 2.0]
    found = value(asked(service, "echo", *texts))
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))
    value(asked(service, "put_account", "carol", '{"owner": "Carol", "tags": ["a"]}'))
    assert got(service, "/accounts/carol/tags") == ["a"]
    value(asked(service, "add_note", "17"))
    assert got(service, "/notes") == ["17"]


def test_what_is_not_given_is_the_methods_own_default(service: Service) -> None:
    """A default is left to the method, and an argument without a position has to be named."""
    assert value(asked(service, "open_account", "dave", "Dave")) == Account("Dave")
    assert value(asked_json(service, "add_note", '{"text": "x", "twice": true}')) == 2
    assert set(value(asked(service, "holders"))) == {"alice", "bob", "dave"}
    assert set(value(asked(service, "holders", "Bob"))) == {"bob"}


@pytest.mark.parametrize(
    ("target", "data", "message"),
    [
        ("transfer", '["alice", "bob"]', "length 3"),
        ("transfer", '{"source": "alice", "target": "bob"}', "amount"),
        ("transfer", '["alice", "bob", "5"]', r"\$\[2\]"),
        ("transfer", '{"source": "alice", "target": "bob", "amount": 0}', r"\$\.amount"),
        ("transfer", '{"sauce": "alice"}', "sauce"),
        ("transfer", "[", "truncated"),
        ("total", "7", "Expected `object`"),
        ("total", "[" * 10_000, "arguments of total"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_called(
    service: Service, target: str, data: str, message: str
) -> None:
    """What isn't declared is refused with the place where it stands."""
    with pytest.raises(ArgumentError, match=message):
        asked_json(service, target, data)
    assert service.database.lsn == 2


@pytest.mark.parametrize(
    ("target", "texts", "message"),
    [
        ("transfer", ["alice"], r"3 arguments \(source, target, amount\), not 1"),
        ("open_account", ["a", "b", "1", "x"], "2 to 3 arguments"),
        ("transfer", ["alice", "bob", "five"], "amount: Expected `int`, got `str`"),
        ("transfer", ["alice", "bob", "-5"], "amount: Expected `int` >= 1"),
        ("echo", ["green", "2026-02-28", "1", KEY, "2"], "colour: Invalid enum value 'green'"),
        ("echo", ["red", "2026-02-30", "1", KEY, "2"], "day: Invalid"),
        ("put_account", ["carol", "{"], "account: "),
    ],
)
def test_wrong_texts_are_named(
    service: Service, target: str, texts: list[str], message: str
) -> None:
    """A text that isn't what is declared is refused with the parameter's name."""
    with pytest.raises(ArgumentError, match=message):
        asked(service, target, *texts)


def test_a_text_that_is_no_utf8_is_refused(service: Service) -> None:
    """Bytes that aren't text can't be a str."""
    request = Request("run", "add_note", "text", [b"\xff"], grant=EVERYTHING)
    with pytest.raises(ArgumentError, match="text"):
        service.handle(request)


def test_a_method_whose_parameters_have_no_names_is_refused() -> None:
    """What couldn't be called is told when the service is made, with the parameter."""

    class Root(cairndb.Record):
        @cairndb.query
        def all(self, *keys: str) -> int:
            return len(keys)

    with pytest.raises(UsageError, match=r"all can't be called from outside: its parameter keys"):
        methods_of(Root)


def test_an_unknown_method_is_named_with_those_there_are(service: Service) -> None:
    """A misspelt name gets the list."""
    with pytest.raises(UsageError, match=r"no method 'transfers' here; there are: add_note, echo"):
        asked(service, "transfers")


def test_what_a_method_raises_is_the_answer(service: Service) -> None:
    """An exception drops the update, and comes with the position that it is about."""
    answer = asked(service, "transfer", "bob", "alice", "5")
    assert isinstance(answer.error, InsufficientFunds)
    assert answer.error.args == ("bob", 5)
    assert answer.position is not None
    assert answer.position.lsn == 2 == service.database.lsn
    answer = asked(service, "open_account", "eve", "Eve", "-1")
    assert isinstance(answer.error, ValidationError)
    assert answer.error.path == ("accounts", "eve", "balance")


def test_an_update_says_where_it_is_in_the_log(service: Service) -> None:
    """The answer's position is that of the update, and nobody has waited for the disk."""
    answer = asked(service, "transfer", "alice", "bob", "5")
    assert answer.position == service.engine.position
    assert answer.position is not None
    assert answer.position.lsn == 3


def test_an_updates_position_is_its_own(service: Service) -> None:
    """Whoever goes on from it has seen all up to there: another's update isn't counted in."""
    engine, others, wake = service.engine, [], service.engine.wake

    def interlope() -> None:  # what is called when an update has let go of its lock
        engine.wake = wake
        others.append(asked(service, "add_note", "another's"))

    engine.wake = interlope
    own = asked(service, "transfer", "alice", "bob", "5")
    (other,) = others
    assert own.position is not None
    assert (own.position.lsn, other.position) == (3, engine.position)
    seen = Start(own.position.lsn, own.position.running)
    service.database.sync()
    watch = service.database.watch(since=position_text(own.position), timeout=0)
    assert [item.lsn for item in watch] == [4]
    refused = asked(service, "transfer", "alice", "bob", "5", expected=seen)
    assert isinstance(refused.error, Conflict)


def test_results_are_out_of_the_tree(service: Service) -> None:
    """What a query returns doesn't change with what it was taken from."""
    before = value(asked(service, "holders"))
    asked(service, "transfer", "alice", "bob", "5")
    assert before["alice"].balance == 100
    assert type(before) is dict


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/accounts/alice/balance", 100),
        ("accounts/bob", {"owner": "Bob", "balance": 0, "tags": []}),
        ("/by_number/17", "seventeen"),
        ("/notes/1", "b"),
        ("/holidays", ["2026-12-24"]),
        ("/accounts/a~1b/owner", "Slash"),
        ("/accounts/*/owner", "Star"),
        ("/accounts//owner", "Nobody"),
        ("/distances", {'["a","b"]': 2.5}),
        ('/distances/["a","b"]', 2.5),
    ],
)
def test_paths_are_read(service: Service, path: str, expected: object) -> None:
    """A step is a field, a key, a key that is a number, or a position."""
    with service.database.update() as bank:
        bank.by_number[17] = "seventeen"
        bank.notes.extend(["a", "b"])
        bank.holidays.add(date(2026, 12, 24))
        bank.distances["a", "b"] = 2.5
        for key, owner in (("a/b", "Slash"), ("*", "Star"), ("", "Nobody")):
            bank.accounts[key] = Account(owner)
    assert got(service, path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/carol",
        "/accounts/carol/balance",
        "/nothing",
        "/notes/0",
        "/accounts/alice/owner/x",
    ],
)
def test_a_path_that_leads_nowhere_is_told(service: Service, path: str) -> None:
    """Nothing there is an answer of its own."""
    with pytest.raises(NoSuchPath, match="there is nothing at /"):
        got(service, path)


def test_paths_are_set_as_declared(service: Service) -> None:
    """A path takes what its declaration takes; keys may be new."""
    put(service, "/accounts/alice/balance", "7")
    put(service, "/accounts/carol", '{"owner": "Carol"}')
    put(service, "/by_number/17", '"seventeen"')
    put(service, "/notes", '["a", "b"]')
    put(service, "/notes/0", '"c"')
    with service.database.view() as bank:
        assert bank.accounts["alice"].balance == 7
        assert bank.accounts["carol"] == Account("Carol")
        assert bank.by_number == {17: "seventeen"}
        assert bank.notes == ["c", "b"]


@pytest.mark.parametrize(
    ("path", "text", "error"),
    [
        ("/accounts/alice/balance", "-1", ValidationError),
        ("/accounts/alice/balance", '"1"', ValidationError),
        ("/accounts/alice", '{"balance": 1}', ValidationError),
        ("/by_number/seventeen", '"x"', NoSuchPath),
        ("/notes/0", '"x"', NoSuchPath),
        ("/accounts/carol/balance", "1", NoSuchPath),
        ("/", "{}", UsageError),
        ("/notes", "[", ValidationError),
    ],
)
def test_a_path_refuses_what_is_not_declared(
    service: Service, path: str, text: str, error: type[Exception]
) -> None:
    """What doesn't fit is refused, and nothing has happened."""
    with pytest.raises(error):
        put(service, path, text)
    assert service.database.lsn == 2


def test_rights_are_asked_for_before_anything_happens(service: Service) -> None:
    """Reading takes a known token, an update one that names it, setting a path an admin."""
    reader = Grant("reader")
    teller = Grant("teller", run=("transfer", "add_*"))
    assert value(asked(service, "total", grant=reader)) == 100
    assert got(service, "/accounts/bob/balance", grant=reader) == 0
    value(asked(service, "transfer", "alice", "bob", "5", grant=teller))
    value(asked(service, "add_note", "x", grant=teller))
    for refused in (
        lambda: asked(service, "transfer", "alice", "bob", "5", grant=reader),
        lambda: asked(service, "open_account", "a", "A", grant=teller),
        lambda: put(service, "/notes", "[]", grant=teller),
    ):
        with pytest.raises(Forbidden):
            refused()
    for unknown in (
        lambda: asked(service, "total", grant=None),
        lambda: asked(service, "transfer", "alice", "bob", "5", grant=None),
        lambda: got(service, "/notes", grant=None),
        lambda: put(service, "/notes", "[]", grant=None),
    ):
        with pytest.raises(Unauthenticated):
            unknown()
    assert service.database.lsn == 4


def test_a_call_for_reading_refuses_what_updates(service: Service) -> None:
    """FCALL_RO and its like can't change anything."""
    with pytest.raises(UsageError, match="changes the state"):
        asked(service, "transfer", "alice", "bob", "5", reads=True)
    assert value(asked(service, "total", reads=True)) == 100


def test_a_request_for_another_position_does_nothing(service: Service) -> None:
    """Who names the position that it has seen is refused when there is another."""
    position = service.engine.position
    seen = Start(position.lsn, position.running)
    value(asked(service, "transfer", "alice", "bob", "5", expected=seen))
    for wrong in (seen, Start(3, 12345), Start(4, None)):
        answer = asked(service, "transfer", "alice", "bob", "5", expected=wrong)
        assert isinstance(answer.error, Conflict)
        answer = service.handle(Request("get", "/notes", grant=EVERYTHING, expected=wrong))
        assert isinstance(answer.error, Conflict)
        # It says where the database is, so it waits until that is promised.
        assert answer.position == service.engine.position
    assert service.database.lsn == 3
    value(asked(service, "transfer", "alice", "bob", "5", expected=Start(3, None)))


def test_handlers_are_wrapped_from_the_outside_in(service: Service) -> None:
    """The first of the middleware sees a request first, and its answer last."""
    seen: list[str] = []

    def noting(name: str) -> Any:
        def middleware(handler: Handler) -> Handler:
            def handle(request: Request) -> Answer:
                seen.append(f"{name} {request.target}")
                answer = handler(request)
                seen.append(f"{name} {answer.value}")
                return answer

            return handle

        return middleware

    handler = wrapped(service.handle, [noting("outer"), noting("inner")])
    handler(Request("run", "total", grant=EVERYTHING))
    assert seen == ["outer total", "inner total", "inner 100", "outer 100"]


def test_what_was_called_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    """With `audit=True` the log has the method and its arguments, as for a call in the process."""
    with opened(tmp_path, audit=True) as db:
        service = Service(db, Bank)
        with db.watch("/accounts/bob/balance", timeout=0) as watch:
            for once in (None, RequestId(*service.session(), 0, 0)):
                value(asked(service, "transfer", "alice", "bob", "5", once=once))
            db.sync()
            assert [item.call for item in watch] == ["Bank.transfer"] * 2
