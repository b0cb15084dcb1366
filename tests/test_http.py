"""Methods and paths over HTTP: forms, positions, and what is told when something is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import msgspec
import pytest

import cairndb
from cairndb.errors import (
    Compacted,
    ConstraintError,
    CorruptError,
    DatabaseFailed,
    DiskFull,
    LockTimeout,
    MemoryWatermark,
    UnknownPosition,
    UsageError,
    ValidationError,
)
from cairndb.server.http import HttpLimits
from cairndb.server.http_forms import wanted_form
from cairndb.server.http_problems import Refusal, kind_of
from cairndb.service import Conflict
from cairndb.service_paths import NoSuchPath
from serving import Account, InsufficientFunds
from serving_http import Http, Served, problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def http(tmp_path: Path) -> Iterator[Served]:
    """A bank that is served."""
    with Served(tmp_path) as served:
        yield served


def test_a_method_takes_arguments_by_name_and_by_position(http: Served) -> None:
    """An object, an array, or nothing at all; the result is the body."""
    assert http.run("transfer", "alice", "bob", 5).json() == 95
    by_name = {"source": "alice", "target": "bob", "amount": 5}
    assert http.ask("POST", "/run/transfer", json=by_name).json() == 90
    assert http.ask("POST", "/run/total").json() == 100
    assert http.ask("POST", "/run/add_note", json={"text": "hi", "twice": True}).json() == 2


@pytest.mark.parametrize("media_type", ["application/msgpack", "application/vnd.msgpack"])
def test_messagepack_goes_in_and_comes_out(http: Served, media_type: str) -> None:
    """By Content-Type and Accept, each by itself."""
    headers = {"Content-Type": media_type, "Accept": media_type}
    data = msgspec.msgpack.encode(["carol", "Carol", 7])
    response = http.ask("POST", "/run/open_account", content=data, headers=headers)
    assert response.headers["content-type"] == media_type
    assert msgspec.msgpack.decode(response.content, type=Account) == Account("Carol", 7)
    read = http.get("/state/accounts/carol", headers={"Accept": media_type})
    assert msgspec.msgpack.decode(read.content, type=Account) == Account("Carol", 7)
    assert http.get("/state/accounts/carol").json()["owner"] == "Carol"


def test_what_json_has_no_keys_for_is_written_as_the_command_line_does(http: Served) -> None:
    """A dict whose keys are tuples can be read, as a part of the state too."""
    with http.db.update() as bank:
        bank.distances["a", "b"] = 1.5
    assert http.get("/state/distances").json() == {'["a","b"]': 1.5}


def test_an_answer_says_which_position_it_is_based_on(http: Served) -> None:
    """`Cairn-Position` everywhere, `ETag` where it is a validator."""
    position = http.get("/state/accounts").headers["cairn-position"]
    assert http.get("/state/accounts").headers["etag"] == f'"{position}"'
    assert http.run("total").headers["cairn-position"] == position
    updated = http.run("transfer", "alice", "bob", 1)
    assert updated.headers["cairn-position"].startswith(f"{http.db.lsn}-")
    assert "etag" not in updated.headers
    assert http.get("/state/nothing").headers["cairn-position"].startswith(f"{http.db.lsn}-")


def test_what_is_known_isnt_read_again(http: Served) -> None:
    """If-None-Match: 304 while the database is where it was, in the same form."""
    tag = http.get("/state/accounts").headers["etag"]
    response = http.get("/state/accounts", headers={"If-None-Match": f'"x", W/{tag}'})
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == tag
    assert response.headers["vary"] == "Accept, Authorization"
    headers = {"If-None-Match": tag, "Accept": "application/msgpack"}
    assert http.get("/state/accounts", headers=headers).status_code == 200
    anything = {"If-None-Match": "*"}
    assert http.get("/state/accounts", headers=anything).status_code == 304
    assert http.get("/state/accounts/zoe", headers=anything).status_code == 404
    http.run("transfer", "alice", "bob", 1)
    assert http.get("/state/accounts", headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize("form", ["application/json", "application/msgpack"])
def test_if_match_makes_an_update_depend_on_what_was_read(http: Served, form: str) -> None:
    """It is done if the database is where it was read, and else nothing has happened."""
    tag = http.get("/state/accounts", headers={"Accept": form}).headers["etag"]
    headers = {"If-Match": tag}
    assert http.run("transfer", "alice", "bob", 1, headers=headers).status_code == 200
    refused = http.run("transfer", "alice", "bob", 1, headers=headers)
    assert problem(refused) == (412, "moved-on")
    assert refused.json()["position"] == refused.headers["cairn-position"]
    assert problem(http.put("/state/notes", ["x"], headers=headers)) == (412, "moved-on")
    assert problem(http.get("/state/notes", headers=headers)) == (412, "moved-on")
    assert http.get("/state/accounts/bob/balance").json() == 1
    headers = {"If-Match": f"{tag}, {http.get('/state').headers['etag']}"}
    assert http.put("/state/notes", ["x"], headers=headers).status_code == 204
    assert http.put("/state/notes", ["y"], headers={"If-Match": "*"}).status_code == 204


def test_a_path_is_set_for_who_may(http: Served) -> None:
    """PUT puts the body there, typed; it isn't for making things up."""
    assert http.put("/state/accounts/bob/balance", 7).status_code == 204
    assert http.get("/state/accounts/bob").json() == {"owner": "Bob", "balance": 7, "tags": []}
    refused = http.put("/state/accounts/bob/balance", -7)
    assert problem(refused) == (422, "invalid")
    assert problem(http.put("/state/accounts/bob/colour", 1)) == (404, "nothing-there")
    assert problem(http.put("/state", {})) == (400, "usage")
    assert problem(http.ask("PUT", "/state/notes")) == (400, "arguments")
    only_new = http.put("/state/notes", [], headers={"If-None-Match": "*"})
    assert problem(only_new) == (400, "usage")


ODD_KEYS = [
    "a b",
    "*",
    "**",
    "a/b",
    "a~b",
    "~1",
    "%",
    "%41",
    "?",
    "#",
    "ü",
    "日本",
    "😀",
    "a+b",
    "..",
    "",
    "17",
    " ",
]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_found(http: Served, key: str) -> None:
    """Percent-encoded as usual, and a slash in a key as ~1, a tilde as ~0."""
    with http.db.update() as bank:
        bank.accounts[key] = Account(f"owner of {key}")
    step = quote(key.replace("~", "~0").replace("/", "~1"), safe="")
    url = f"/state/accounts/{step.replace('.', '%2E')}"
    assert http.get(url).json()["owner"] == f"owner of {key}"
    told = http.get(f"{url}/colour").json()
    assert unquote(told["instance"]) == unquote(f"{url}/colour")
    assert told["instance"].isascii()


def test_a_path_may_be_encoded_as_a_whole(http: Served) -> None:
    """As clients made from the OpenAPI document do."""
    assert http.get("/state/accounts%2Falice%2Fbalance").json() == 100


def test_keys_that_are_no_texts_are_found_by_their_json(http: Served) -> None:
    """As everywhere that paths are texts."""
    with http.db.update() as bank:
        bank.by_number[17] = "seventeen"
        bank.distances["a", "b"] = 1.5
    assert http.get("/state/by_number/17").json() == "seventeen"
    assert http.get(f'/state/distances/{quote("""["a","b"]""")}').json() == 1.5
    assert http.get("/state/notes").json() == []


@pytest.mark.parametrize(
    ("method", "arguments", "told"),
    [
        ("transfer", ["alice"], (400, "arguments")),
        ("transfer", ["alice", "bob", "5"], (400, "arguments")),
        ("transfer", ["alice", "bob", 0], (400, "arguments")),
        ("transfer", {"who": "alice"}, (400, "arguments")),
        ("transfer", "alice", (400, "arguments")),
        ("transfer", ["alice", "zoe", 5], (422, "refused")),
        ("transfer", ["alice", "bob", 500], (422, "refused")),
        ("nothing", [], (404, "not-found")),
    ],
)
def test_what_is_wrong_with_a_call_is_told(
    http: Served, method: str, arguments: Any, told: tuple[int, str]
) -> None:
    """The caller's mistakes are 4xx, each of its own type, and nothing has happened."""
    before = http.db.lsn
    assert problem(http.ask("POST", f"/run/{method}", json=arguments)) == told
    assert http.db.lsn == before


def test_an_exception_of_the_application_is_told_by_its_class(http: Served) -> None:
    """So that a client can tell them apart."""
    told = http.run("transfer", "alice", "bob", 500).json()
    assert told["exception"] == "InsufficientFunds"
    assert told["detail"] == "('alice', 500)"


def test_what_the_server_hides_is_in_its_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in a method is 500: its class is told, and what it says isn't."""

    class Root(cairndb.Record):
        """With a mistake."""

        @cairndb.query
        def wrong(self) -> int:
            """Not what it is for."""
            return "secret " + 1  # type: ignore[operator,no-any-return]

    with cairndb.open(tmp_path / "x.cairn", Root) as db, Http(cairndb.asgi(db)) as http:
        response = http.run("wrong")
    assert problem(response) == (500, "method-failed")
    assert response.json()["exception"] == "TypeError"
    assert "str" not in response.json()["detail"]
    assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConstraintError("taken"), 409),
        (ValidationError("no int", ("a",)), 422),
        (Conflict("elsewhere"), 412),
        (NoSuchPath("nothing"), 404),
        (Compacted("gone", 5), 410),
        (UnknownPosition("other"), 410),
        (LockTimeout("busy"), 503),
        (DatabaseFailed("dead"), 503),
        (DiskFull("full"), 507),
        (MemoryWatermark("full"), 507),
        (UsageError("wrongly"), 400),
        (CorruptError("f", 0, "bad"), 500),
        (RuntimeError("ours"), 500),
        (Refusal("too-many", "wait"), 429),
    ],
)
def test_each_error_has_its_status(error: Exception, status: int) -> None:
    """One table, for what isn't raised by a method."""
    assert kind_of(error).status == status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyError("alice"), 422),
        (ValueError("no"), 422),
        (ZeroDivisionError("no"), 422),
        (InsufficientFunds("no"), 422),
        (ConstraintError("taken"), 409),
        (ValidationError("no int", ("a",)), 422),
        (UsageError("a generator"), 500),
        (AttributeError("x"), 500),
        (RecursionError("x"), 500),
        (cairndb.ReadOnlyError("a query that changes"), 500),
    ],
)
def test_what_a_method_raises_is_a_refusal_or_a_mistake(error: Exception, status: int) -> None:
    """By its class: what Python raises for wrong code is the server's fault."""
    assert kind_of(error, in_method=True).status == status


def test_forms_that_arent_understood_are_refused(http: Served) -> None:
    """415 for what comes in, with what would do; 406 for what is wanted."""
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form"}):
        refused = http.ask("POST", "/run/total", content=b"[]", headers=headers)
        assert problem(refused) == (415, "media-type")
        assert "application/json" in refused.headers["accept-post"]
    gzipped = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert problem(http.ask("POST", "/run/total", content=b"x", headers=gzipped))[0] == 415
    refused = http.get("/state/notes", headers={"Accept": "text/html"})
    assert problem(refused) == (406, "not-acceptable")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"),
        ("*/*", "json"),
        ("application/*", "json"),
        ("text/html, */*;q=0.1", "json"),
        ("application/json, application/msgpack", "json"),
        ("application/json;q=0.5, application/msgpack", "msgpack"),
        ("application/json;q=0, */*", "msgpack"),
    ],
)
def test_the_best_form_that_is_wanted_is_taken(accept: str | None, form: str) -> None:
    """JSON where nothing else is preferred."""
    assert wanted_form(accept)[1] == form


def test_methods_of_http_that_arent_there_are_told(http: Served) -> None:
    """405 with what is; OPTIONS says it too, and HEAD is GET without a body."""
    refused = http.ask("DELETE", "/state/notes")
    assert problem(refused) == (405, "method-not-allowed")
    assert refused.headers["allow"] == "GET, HEAD, PUT"
    assert problem(http.get("/run/total")) == (405, "method-not-allowed")
    assert http.ask("OPTIONS", "/run/total").headers["allow"] == "POST"
    head = http.ask("HEAD", "/state/accounts/alice")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == http.get("/state/accounts/alice").headers["etag"]
    assert problem(http.get("/nowhere")) == (404, "not-found")
    assert problem(http.get("/healthz/")) == (404, "not-found")


def test_an_answer_that_is_too_large_is_told(tmp_path: Path) -> None:
    """And that an update has been done all the same."""
    limits = HttpLimits(answer_bytes=10)
    with Served(tmp_path, limits=limits) as http:
        assert problem(http.get("/state")) == (422, "answer-too-large")
        refused = http.run("open_account", "carol", "Carol")
        assert problem(refused) == (422, "answer-too-large")
        assert "has been done" in refused.json()["detail"]
        assert http.get("/state/accounts/carol/balance").json() == 0
