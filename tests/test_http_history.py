"""The log and watches over HTTP: in pages, as events, from where it had got to."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import cairndb
from cairndb.server.http import HttpLimits
from serving import Account, Bank, opened
from serving_http import Events, Http, Listening, Served, problem
from threads import LIMIT_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cairndb import Database


def events(http: Http, url: str, **options: Any) -> list[dict[str, str]]:
    """All events of a watch that ends, but for where it began."""
    response = http.get(url, **options)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    first, *found = Events(iter(response.text.split("\n"))).rest()
    assert set(first) == {"retry", "id"}
    return found


def deposit(db: Database[Bank], amount: int) -> None:
    """One update."""
    with db.update() as bank:
        bank.accounts["alice"].balance += amount


def test_the_log_comes_in_pages(tmp_path: Path) -> None:
    """Each leads on to the next, and together they are what `cairn log --json` shows."""
    with Served(tmp_path) as http:
        for amount in range(1, 6):
            deposit(http.db, amount)
        whole = http.get("/log").json()
        assert [entry["lsn"] for entry in whole["entries"]] == [1, 2, 3, 4, 5, 6, 7]
        assert whole["entries"][2]["operations"] == [
            {"do": "set", "path": "/accounts/alice/balance", "value": 101}
        ]
        url: str | None = "/log?limit=3"
        pages = []
        while url:
            response = http.get(url)
            pages.append([entry["lsn"] for entry in response.json()["entries"]])
            assert response.json()["position"] == response.headers["cairn-position"]
            url = response.links.get("next", {}).get("url")
        assert pages == [[1, 2, 3], [4, 5, 6], [7]]
        assert http.get(f"/log?since={whole['position']}").json()["entries"] == []


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("since=99", (410, "unknown-position")),
        ("since=2-00000000", (410, "unknown-position")),
        ("since=x", (400, "usage")),
        ("limit=0", (400, "usage")),
        ("limit=100000", (400, "usage")),
        ("limit=x", (400, "usage")),
        ("limits=5", (400, "usage")),
    ],
)
def test_a_page_that_cant_be_had_is_told(tmp_path: Path, query: str, told: tuple[int, str]) -> None:
    """What isn't there, and what can't be meant."""
    with Served(tmp_path) as http:
        assert problem(http.get(f"/log?{query}")) == told


@pytest.mark.slow
def test_a_past_that_is_gone_is_told(tmp_path: Path) -> None:
    """410, with the LSN to begin at."""
    with Served(tmp_path) as http:
        for amount in range(3):
            deposit(http.db, amount + 1)
            http.db.checkpoint()
        for url in ("/log?since=1", "/watch/notes?since=1"):
            gone = http.get(url)
            assert problem(gone) == (410, "compacted")
            assert gone.json()["oldest_lsn"] > 1
            assert gone.json()["detail"].startswith("the database goes back to LSN ")
        assert http.get("/log").json()["entries"]


def test_a_watch_shows_what_the_command_line_shows(tmp_path: Path) -> None:
    """Each update's changes, as data; what was there first, if asked for."""
    with Served(tmp_path) as http:
        deposit(http.db, 5)
        (event,) = events(http, "/watch/accounts/*/balance?since=2&timeout=0")
        assert event["event"] == "update"
        shown = json.loads(event["data"])
        assert shown["changes"] == [
            {"path": "/accounts/alice/balance", "before": 100, "after": 105}
        ]
        assert event["id"] == shown["position"] == http.get("/state").headers["cairn-position"]
        (event,) = events(http, "/watch/accounts/bob?initial=true&timeout=0")
        assert event["event"] == "initial"
        (change,) = json.loads(event["data"])["changes"]
        assert change["after"] == {"owner": "Bob", "balance": 0, "tags": []}


def test_a_watch_goes_on_where_it_had_got_to(tmp_path: Path) -> None:
    """By `Last-Event-ID`, whatever else the address says, as a browser connects again."""
    with Served(tmp_path) as http:
        deposit(http.db, 5)
        deposit(http.db, 6)
        first, second = events(http, "/watch/accounts/**?since=2&timeout=0")
        resumed = {"headers": {"Last-Event-ID": first["id"]}}
        assert events(http, "/watch/accounts/**?since=2&timeout=0", **resumed) == [second]
        assert events(http, "/watch/accounts/**?initial=1&timeout=0", **resumed) == [second]


def test_where_a_watch_begins_is_told_first(tmp_path: Path) -> None:
    """So that nothing is missed if the connection is lost before anything has come."""
    with Served(tmp_path) as http:
        text = http.get("/watch/notes?timeout=0").text
        assert text == f"retry: 2000\nid: {http.get('/state').headers['cairn-position']}\n\n"


def test_updates_that_dont_match_move_the_position_on(tmp_path: Path) -> None:
    """An event of an id alone, which a browser doesn't show."""
    with Served(tmp_path, limits=HttpLimits(silence_seconds=0)) as http:
        deposit(http.db, 5)
        found = [
            event
            for event in events(http, "/watch/notes?since=2&timeout=0")
            if event != {"": "still here"}
        ]
        assert found == [{"id": http.get("/state").headers["cairn-position"]}]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("/watch/nothing", (400, "usage")),
        ("/watch/notes?initial=1&since=1", (400, "usage")),
        ("/watch/notes?since=99", (410, "unknown-position")),
        ("/watch/notes?since=x", (400, "usage")),
    ],
)
def test_a_watch_that_cant_begin_is_told(tmp_path: Path, url: str, told: tuple[int, str]) -> None:
    """By a status, before anything is sent."""
    with Served(tmp_path) as http:
        assert problem(http.get(url)) == told
        assert not http.app.state.site.watches  # type: ignore[attr-defined]


@contextmanager
def streamed(listening: Listening, path: str, **headers: str) -> Iterator[Events]:
    """A watch that goes on."""
    url = listening.url + path
    small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)]
    transport = httpx.HTTPTransport(socket_options=small)
    with (
        httpx.Client(timeout=LIMIT_SECONDS, transport=transport) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        assert response.status_code == 200
        yield Events(response.iter_lines())


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database[Bank]]:
    """A bank."""
    with opened(tmp_path) as database:
        yield database


def test_a_change_comes_when_it_is_made(db: Database[Bank]) -> None:
    """While the stream is open, each as an event; silence shows that it is alive."""
    app = cairndb.asgi(db, limits=HttpLimits(silence_seconds=0.01))
    with Listening(app) as listening, streamed(listening, "/watch/accounts/**") as stream:
        assert stream.next()["id"].startswith("2-")
        assert stream.next() == {"": "still here"}
        deposit(db, 5)
        event = stream.next()
        while "data" not in event:
            event = stream.next()
        assert json.loads(event["data"])["changes"][0]["after"] == 105


def test_a_watch_whose_client_is_gone_ends(db: Database[Bank]) -> None:
    """And makes room for another: there are only so many."""
    app = cairndb.asgi(db, limits=HttpLimits(watches=1))
    with Listening(app) as listening:
        with streamed(listening, "/watch/notes") as stream:
            stream.next()
            refused = httpx.get(f"{listening.url}/watch/notes")
            assert problem(refused) == (429, "too-many")
            assert db.stats()["watches"] == 1
        wait_until(lambda: not app.state.site.watches)
        wait_until(lambda: db.stats()["watches"] == 0)
        with streamed(listening, "/watch/notes") as stream:
            stream.next()


def test_what_ends_a_watch_is_an_event(tmp_path: Path) -> None:
    """A problem, after which the stream ends."""
    db = opened(tmp_path)
    with Listening(cairndb.asgi(db)) as listening, streamed(listening, "/watch/notes") as stream:
        stream.next()
        db.close()
        last = stream.next()
        assert last["event"] == "problem"
        assert json.loads(last["data"])["status"] == 503
        assert stream.rest() == []


def test_draining_ends_watches(db: Database[Bank]) -> None:
    """The stream ends as it should, and a browser would connect again."""
    app = cairndb.asgi(db)
    with Listening(app) as listening, streamed(listening, "/watch/notes") as stream:
        stream.next()
        listening.call(app.state.site.drain)
        assert stream.rest() == []


def test_a_client_that_takes_nothing_isnt_waited_for(db: Database[Bank]) -> None:
    """Its watch ends, so that the log isn't kept for it, nor its place among the watches."""
    limits = HttpLimits(write_seconds=0.05, silence_seconds=0.05)
    app = cairndb.asgi(db, limits=limits)
    with db.update() as bank:
        bank.accounts["rich"] = Account("x" * (1 << 20))
    url = "/watch/accounts/rich?initial=1"
    with Listening(app) as listening, streamed(listening, url) as stream:
        stream.next()
        wait_until(lambda: not app.state.site.watches)
        wait_until(lambda: db.stats()["watches"] == 0)
