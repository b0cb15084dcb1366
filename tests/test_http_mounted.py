"""`cairndb.asgi` in an application of somebody's own, which uses the database itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

import cairndb
from serving import Bank, opened
from serving_http import Http, problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from cairndb import Database


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database[Bank]]:
    """A bank."""
    with opened(tmp_path) as database:
        yield database


def test_mounted_in_starlette_under_a_prefix(db: Database[Bank]) -> None:
    """All addresses are below it, those in documents and links too."""
    app = Starlette(routes=[Mount("/api/db", cairndb.asgi(db))])
    with Http(app) as http:
        assert http.ask("POST", "/api/db/run/total").json() == 100
        assert http.get("/api/db/state/accounts/alice/balance").json() == 100
        assert http.get("/api/db/state").status_code == 200
        assert http.get("/api/db/log?limit=1").links["next"]["url"].startswith("/api/db/log?")
        assert http.get("/api/db/openapi.json").json()["servers"] == [{"url": "/api/db"}]
        assert "/api/db/run/transfer" in http.get("/api/db/docs").text
        assert problem(http.get("/api/db/nowhere")) == (404, "not-found")
        refused = http.get("/api/db/state/nothing")
        assert refused.json()["instance"] == "/api/db/state/nothing"
        assert "event: initial" in http.get("/api/db/watch/notes?initial=1&timeout=0").text
        assert http.get("/elsewhere").status_code == 404


def test_mounted_in_fastapi_beside_its_own_routes(db: Database[Bank]) -> None:
    """Whose routes use the database in the same loop, by `async with`."""
    app = FastAPI()

    @app.post("/deposit/{key}")
    async def deposit(key: str, amount: int) -> int:
        async with db.update_async() as bank:
            bank.accounts[key].balance += amount
            return bank.accounts[key].balance

    app.mount("/db", cairndb.asgi(db))
    with Http(app) as http:
        assert http.ask("POST", "/deposit/alice?amount=5").json() == 105
        assert http.get("/db/state/accounts/alice/balance").json() == 105
        assert http.ask("POST", "/db/run/transfer", json=["alice", "bob", 5]).json() == 100


def test_what_a_task_is_about_to_change_is_waited_for(db: Database[Bank]) -> None:
    """A request while a task of the loop holds the update lock: it waits, in a thread."""
    begun = asyncio.Event()

    async def slow(_: Request) -> Response:
        async with db.update_async() as bank:
            begun.set()
            bank.accounts["alice"].balance += 1
            await asyncio.sleep(0.02)
        return JSONResponse("done")

    app = Starlette(routes=[Route("/slow", slow), Mount("/db", cairndb.asgi(db))])
    with Http(app) as http:

        async def work() -> None:
            first = asyncio.create_task(http._client.get("/slow"))
            await begun.wait()
            post = http._client.post
            second = asyncio.create_task(post("/db/run/transfer", json=["alice", "bob", 50]))
            read = await http._client.get("/db/state/accounts/alice/balance")
            assert read.json() == 100  # a view isn't held up, and doesn't see what isn't there yet
            assert (await second).json() == 51
            assert (await first).json() == "done"

        http.call(work())


def test_an_application_may_be_used_by_one_loop_after_another(db: Database[Bank]) -> None:
    """As tests do; nothing is tied to the first."""
    app = cairndb.asgi(db)
    for amount in (1, 2):
        with Http(app) as http:
            assert http.run("transfer", "alice", "bob", amount).status_code == 200


def test_many_requests_at_once_all_count(db: Database[Bank]) -> None:
    """From tasks of one loop, while the application updates beside them."""
    with Http(cairndb.asgi(db)) as http:

        async def own() -> None:
            async with db.update_async() as bank:
                bank.accounts["bob"].balance += 1

        async def work() -> None:
            post = http._client.post
            sent = [post("/run/transfer", json=["alice", "bob", 1]) for _ in range(50)]
            own_ones = [own() for _ in range(50)]
            responses = await asyncio.gather(*sent, *own_ones)
            assert {response.status_code for response in responses if response} == {200}

        http.call(work())
    with db.view() as bank:
        assert bank.accounts["bob"].balance == 100


def test_a_database_for_reading_cant_be_served(tmp_path: Path) -> None:
    """It is told when the application is made."""
    opened(tmp_path).close()
    with (
        cairndb.open(tmp_path / "bank.cairn", Bank, read_only=True) as db,
        pytest.raises(cairndb.UsageError, match="open for writing"),
    ):
        cairndb.asgi(db)


def printed(code: str) -> str:
    """What a new interpreter prints."""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout


@pytest.mark.process
def test_importing_cairndb_imports_no_server() -> None:
    """It is as quick as it was, and works without the extra."""
    code = "import cairndb, sys; print('starlette' in sys.modules, 'asyncio' in sys.modules)"
    assert printed(code) == "False False\n"


@pytest.mark.process
def test_a_missing_extra_is_told() -> None:
    """With what to write."""
    code = """
import sys
sys.modules["starlette"] = None
import cairndb
try:
    cairndb.asgi
except ImportError as error:
    print(error)
try:
    cairndb.nothing
except AttributeError as error:
    print(error)
"""
    told, other = printed(code).splitlines()
    assert 'pip install "cairndb[server]"' in told
    assert other == "module 'cairndb' has no attribute 'nothing'"
