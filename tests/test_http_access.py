"""Who may ask over HTTP, and how much: tokens, pages of elsewhere, limits, answers that wait."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.server.http import Access, HttpLimits, Site, application
from cairndb.server.metrics import Metrics
from cairndb.service import Answer, Service
from cairndb.service_access import Grant
from serving import Bank
from serving_http import Http, Served, problem
from simulated import SimulatedDirectory, World
from threads import LIMIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cairndb.service import Handler, Request

TOKENS = {
    "r": Grant("reader"),
    "t": Grant("teller", run=("transfer",)),
    "a": Grant("boss", admin=True),
}


def bearer(token: str) -> dict[str, dict[str, str]]:
    """The options of a request with a token."""
    return {"headers": {"Authorization": f"Bearer {token}"}}


def test_a_token_allows_what_its_role_says(tmp_path: Path) -> None:
    """Reading, running some methods, everything; 403 says that it is known, and not enough."""
    with Served(tmp_path, authenticate=TOKENS.get) as http:
        assert http.run("total", **bearer("r")).json() == 100
        assert http.get("/state/notes", **bearer("r")).status_code == 200
        assert http.get("/log", **bearer("r")).status_code == 200
        assert problem(http.run("transfer", "alice", "bob", 1, **bearer("r")))[0] == 403
        assert http.run("transfer", "alice", "bob", 1, **bearer("t")).json() == 99
        assert problem(http.run("add_note", "x", **bearer("t"))) == (403, "forbidden")
        unread = http.ask("PUT", "/state/notes", content=b"x", **bearer("t"))
        assert problem(unread) == (403, "forbidden")
        assert http.put("/state/notes", [], **bearer("a")).status_code == 204
        assert http.get("/state/notes", headers={"Authorization": "bearer r"}).status_code == 200


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Basic cjpy", "r"])
def test_without_a_token_that_is_known_nothing_is_told(tmp_path: Path, header: str | None) -> None:
    """401 with a challenge, whatever is asked, there or not; but for whether the server lives."""
    with Served(tmp_path, authenticate=TOKENS.get) as http:
        headers = {} if header is None else {"Authorization": header}
        for url in ("/state/notes", "/state/nothing", "/log", "/watch/x", "/metrics"):
            response = http.get(url, headers=headers)
            assert problem(response) == (401, "unauthenticated")
            assert response.headers["www-authenticate"].startswith("Bearer")
        for method in ("total", "nothing"):
            assert problem(http.run(method, headers=headers))[0] == 401
        assert problem(http.put("/state/notes", [], headers=headers))[0] == 401
        for url in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert http.get(url).status_code == 200


def test_a_page_of_elsewhere_may_not_change_anything(tmp_path: Path) -> None:
    """Of another origin; of the same, and without one, it may."""
    with Served(tmp_path) as http:
        evil = {"headers": {"Origin": "https://evil.example"}}
        assert problem(http.run("add_note", "x", **evil)) == (403, "foreign-origin")
        assert problem(http.put("/state/notes", [], **evil)) == (403, "foreign-origin")
        assert problem(http.run("add_note", "x", headers={"Origin": "null"}))[0] == 403
        read = http.get("/state/notes", **evil)
        assert read.status_code == 200
        assert "access-control-allow-origin" not in read.headers
        assert http.run("add_note", "x", headers={"Origin": "http://test"}).status_code == 200


def test_origins_are_allowed_by_name(tmp_path: Path) -> None:
    """Then a browser lets their pages read what comes back, errors too."""
    with Served(tmp_path, origins=["https://app.example"]) as http:
        friend = {"Origin": "https://app.example"}
        response = http.run("add_note", "x", headers=friend)
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        assert "ETag" in response.headers["access-control-expose-headers"]
        refused = http.run("nothing", headers=friend)
        assert refused.headers["access-control-allow-origin"] == "https://app.example"
        asked = friend | {
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        preflight = http.ask("OPTIONS", "/state/notes", headers=asked)
        assert "PUT" in preflight.headers["access-control-allow-methods"]
        assert problem(http.run("add_note", "x", headers={"Origin": "https://b.example"}))[0] == 403


def test_a_name_that_was_made_to_lead_here_is_refused(tmp_path: Path) -> None:
    """Where the server's names are set."""
    with Served(tmp_path, hosts=["localhost", "[::1]"]) as http:
        for host in ("localhost", "localhost:7380", "[::1]:7380", "LOCALHOST"):
            assert http.get("/state/notes", headers={"Host": host}).status_code == 200
        for host in ("evil.example", "evil.example:7380", "localhost.evil.example"):
            refused = http.get("/state/notes", headers={"Host": host})
            assert problem(refused) == (421, "misdirected")


def test_a_body_has_a_size(tmp_path: Path) -> None:
    """413, whether it says how large it is, or comes in pieces; and the connection ends."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"          "

    with Served(tmp_path, limits=HttpLimits(body_bytes=50)) as http:
        headers = {"Content-Type": "application/json"}
        for content in (b" " * 51, pieces()):
            refused = http.ask("POST", "/run/total", content=content, headers=headers)
            assert problem(refused) == (413, "body-too-large")
            assert refused.headers["connection"] == "close"
        assert (
            http.ask("POST", "/run/total", content=b" " * 50 + b"", headers=headers).status_code
            == 400
        )


def test_a_body_has_a_time(tmp_path: Path) -> None:
    """408 for one that doesn't come."""

    async def never() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.Event().wait()

    with Served(tmp_path, limits=HttpLimits(body_seconds=0.01)) as http:
        headers = {"Content-Type": "application/json"}
        refused = http.ask("POST", "/run/total", content=never(), headers=headers)
        assert problem(refused) == (408, "body-too-slow")


def test_so_many_requests_are_under_way(tmp_path: Path) -> None:
    """And what comes then is told to come again."""
    with Served(tmp_path, limits=HttpLimits(requests=0)) as http:
        refused = http.get("/healthz")
        assert problem(refused) == (429, "too-many")
        assert refused.headers["retry-after"] == "1"


def test_middleware_is_around_operations(tmp_path: Path) -> None:
    """An application's own, at one place for all of them; what it raises is told."""
    seen: list[tuple[str, str]] = []

    def noted(handler: Handler) -> Handler:
        def handle(request: Request) -> Answer:
            seen.append((request.operation, request.target))
            if request.target == "/notes":
                raise cairndb.ValidationError("not today", ("notes",))
            return handler(request)

        return handle

    with Served(tmp_path, middleware=[noted]) as http:
        http.run("total")
        assert problem(http.get("/state/notes")) == (422, "invalid")
    assert seen == [("run", "total"), ("get", "/notes")]


class Simulated(Http):
    """A bank on a simulated disk."""

    def __init__(self) -> None:
        self.world = World()
        engine = own(
            SimulatedDirectory(self.world),
            compile_root(Bank, guard=True),
            create=True,
            sync_at_commit=True,
        ).engine
        database: Any = cairndb.Database(engine, None, "simulated", audit=False)
        service = Service(database, Bank)
        self.site = Site(service, Metrics(service), HttpLimits(), Access())
        self.db = database
        super().__init__(application(self.site))

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.db.close()


class HeldSync(Simulated):
    """One whose syncs don't return until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.world.observe = self.hold
        self.held = True

    def hold(self, what: str) -> None:
        """Not before it is let go."""
        if what == "sync" and self.held:
            self.entered.set()
            self.go_on.wait()

    def __exit__(self, *_: object) -> None:
        self.held = False
        self.entered.set()
        self.go_on.set()
        super().__exit__()


def test_an_answer_leaves_when_what_it_shows_is_on_disk() -> None:
    """An update's, that of a query which has seen it, and of one that was refused for it."""
    with HeldSync() as http:
        sent = partial(http._client.post, json=["carol", "Carol"])

        async def work() -> None:
            tasks = [asyncio.create_task(sent("/run/open_account"))]
            assert await asyncio.to_thread(http.entered.wait, LIMIT_SECONDS)
            get, post = http._client.get, http._client.post
            tasks += [
                asyncio.create_task(get("/state/accounts/carol")),
                asyncio.create_task(post("/run/total")),
                asyncio.create_task(post("/run/transfer", json=["carol", "dora", 5])),
            ]
            waiting = http.site._parts()[1]._waiting
            while len(waiting) < len(tasks):  # noqa: ASYNC110  until all have been carried out
                await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)
            http.go_on.set()
            done = [(await task).status_code for task in tasks]
            assert done == [200, 200, 200, 422]

        http.call(work())


def test_whoever_goes_away_leaves_an_update_that_stands() -> None:
    """Cancelled while it waits for the disk: it is committed all the same."""
    with HeldSync() as http:

        async def work() -> None:
            task = asyncio.create_task(
                http._client.post("/run/open_account", json=["carol", "Carol"])
            )
            assert await asyncio.to_thread(http.entered.wait, LIMIT_SECONDS)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            http.go_on.set()
            assert (await http._client.get("/state/accounts/carol")).status_code == 200

        http.call(work())


def test_a_full_disk_refuses_updates_alone() -> None:
    """507, and what reads goes on; with room again so do updates."""
    with Simulated() as http:
        http.run("add_note", "small")
        http.world.full = True
        large = "x" * (1 << 21)
        assert problem(http.run("add_note", large)) == (507, "disk-full")
        assert http.get("/state/notes").json() == ["small"]
        assert http.get("/readyz").status_code == 200
        http.world.full = False
        assert http.run("add_note", large).json() == 2


def test_a_failed_disk_makes_the_outcome_unknown() -> None:
    """503 for the update whose sync failed, and for all that comes after; it isn't ready."""
    with Simulated() as http:
        http.run("add_note", "kept")
        http.world.faulty_from = 0
        assert problem(http.run("add_note", "perhaps")) == (503, "database-failed")
        for response in (http.get("/state/notes"), http.run("total"), http.get("/readyz")):
            assert problem(response) == (503, "database-failed")
        http.world.faulty_from = 1 << 60


def test_a_closed_database_is_told(tmp_path: Path) -> None:
    """503, of whatever is asked; the process is alive, and not ready."""
    with Served(tmp_path) as http:
        http.db.close()
        for response in (
            http.run("total"),
            http.run("add_note", "x"),
            http.get("/state/notes"),
            http.put("/state/notes", []),
            http.get("/log"),
            http.get("/watch/notes"),
            http.get("/readyz"),
        ):
            assert problem(response) == (503, "closed")
        assert http.get("/healthz").status_code == 200
        assert "cairndb_up 0.0" in http.get("/metrics").text


def test_a_server_that_is_about_to_end_isnt_ready(tmp_path: Path) -> None:
    """So that no more is sent to it; what comes is done still, but for watches."""
    with Served(tmp_path) as http:
        http.app.state.site.drain()  # type: ignore[attr-defined]
        assert problem(http.get("/readyz")) == (503, "closed")
        assert problem(http.get("/watch/notes")) == (503, "closed")
        assert http.run("total").json() == 100
