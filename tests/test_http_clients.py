"""Clients of others: curl, Node's fetch, and a browser's EventSource."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

import cairndb
from cairndb.server.http import HttpLimits
from cairndb.service_access import Grant
from serving import Bank, opened
from serving_http import Listening
from threads import LIMIT_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.requests import Request

    from cairndb import Database

pytestmark = pytest.mark.process


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database[Bank]]:
    """A bank."""
    with opened(tmp_path) as database:
        yield database


def needs(*names: str) -> str:
    """The path of a program; the test is skipped where it isn't installed."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    pytest.skip(f"{names[0]} isn't installed")


def curl(*arguments: str) -> str:
    """What curl prints."""
    command = [needs("curl"), "--silent", "--show-error", "--max-time", "20", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_curl_reads_runs_and_sets(db: Database[Bank]) -> None:
    """As the documentation shows it."""
    with Listening(cairndb.asgi(db)) as listening:
        url = listening.url
        assert json.loads(curl(f"{url}/state/accounts/alice/balance")) == 100
        arguments = ["--json", '{"source": "alice", "target": "bob", "amount": 5}']
        assert json.loads(curl(*arguments, f"{url}/run/transfer")) == 95
        assert curl("-X", "POST", f"{url}/run/total") == "100"
        assert curl("-X", "PUT", "--json", "7", f"{url}/state/accounts/bob/balance") == ""
        told = json.loads(curl("-d", "[]", f"{url}/run/total"))
        assert told["status"] == 415
        assert "Content-Type: application/json" in told["detail"]
        tag = curl("--head", f"{url}/state/accounts").split("etag: ")[1].split("\r")[0]
        known = ["-H", f"If-None-Match: {tag}", "-o", "/dev/null", "-w", "%{http_code}"]
        assert curl(*known, f"{url}/state/accounts") == "304"


def test_curl_sends_a_body_in_pieces(db: Database[Bank], tmp_path: Path) -> None:
    """Chunked, and one that is too large is refused before it has all come."""
    notes = tmp_path / "notes"
    notes.write_bytes(b'["' + b"x" * 100_000 + b'"]')
    headers = ["-H", "Content-Type: application/json", "-H", "Transfer-Encoding: chunked"]
    body = ["--data-binary", f"@{notes}"]
    with Listening(cairndb.asgi(db)) as listening:
        assert curl(*headers, *body, f"{listening.url}/run/add_note") == "1"
    limits = HttpLimits(body_bytes=10_000)
    with Listening(cairndb.asgi(db, limits=limits)) as listening:
        told = json.loads(curl(*headers, *body, f"{listening.url}/run/add_note"))
        assert told["status"] == 413


def test_curl_watches(db: Database[Bank]) -> None:
    """With --no-buffer, as changes come."""
    command = [needs("curl"), "--silent", "--no-buffer", "--max-time", "20"]
    with Listening(cairndb.asgi(db)) as listening:
        command.append(f"{listening.url}/watch/notes")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "retry: 2000\n"
            db.run(Bank.add_note, "hello")
            line = process.stdout.readline()
            while not line.startswith("data:"):
                line = process.stdout.readline()
            process.terminate()
    assert json.loads(line.removeprefix("data:"))["changes"][0]["after"] == ["hello"]


FETCH = """
const [url, token] = process.argv.slice(2);
const headers = {Authorization: `Bearer ${token}`};
const read = await fetch(`${url}/state/accounts/alice`, {headers});
const tag = read.headers.get("etag");
const send = (amount, more) => fetch(`${url}/run/transfer`, {
  method: "POST",
  headers: {...headers, ...more, "Content-Type": "application/json"},
  body: JSON.stringify(["alice", "bob", amount]),
});
const first = await send(5, {"If-Match": tag});
const second = await send(5, {"If-Match": tag});
const response = await fetch(`${url}/watch/accounts/**?since=2`, {headers});
let text = "";
for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
  text += piece;
  if (text.includes("data:")) break;
}
const nobody = await fetch(`${url}/state/accounts`);
console.log(JSON.stringify({
  read: await read.json(), first: await first.json(), second: (await second.json()).type,
  event: JSON.parse(text.match(/data: (.*)/)[1]), nobody: nobody.status,
}));
"""


def test_node_fetches(db: Database[Bank], tmp_path: Path) -> None:
    """Reads, runs with a condition, and follows a watch, with a token."""
    script = tmp_path / "fetch.mjs"
    script.write_text(FETCH)
    app = cairndb.asgi(db, authenticate={"secret": Grant("me", admin=True)}.get)
    with Listening(app) as listening:
        command = [needs("node"), str(script), listening.url, "secret"]
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    told: dict[str, Any] = msgspec.json.decode(found.stdout)
    assert told["read"] == {"owner": "Alice", "balance": 100, "tags": []}
    assert (told["first"], told["second"]) == (95, "urn:cairndb:problem:moved-on")
    assert told["event"]["changes"][0]["path"] == "/accounts/alice/balance"
    assert told["nobody"] == 401


PAGE = """<!doctype html><title>watch</title><script>
const said = text => fetch("/said", {method: "POST", body: text});
const source = new EventSource("/db/watch/notes?initial=true");
source.addEventListener("initial", event => said("initial " + event.data));
source.addEventListener("update", event => said("update " + event.lastEventId + " " + event.data));
source.onerror = () => said("error " + source.readyState);
</script>"""


@pytest.mark.slow
def test_a_browser_goes_on_after_its_connection_was_cut(db: Database[Bank], tmp_path: Path) -> None:
    """Its EventSource connects again by itself, and misses nothing."""
    browser = needs("chromium", "chromium-browser", "google-chrome")
    said: list[str] = []

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE)

    async def say(request: Request) -> Response:
        said.append((await request.body()).decode())
        return Response()

    database = cairndb.asgi(db)
    app = Starlette(
        routes=[Route("/", page), Route("/said", say, methods=["POST"]), Mount("/db", database)]
    )
    site = database.state.site
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}"]

    def updates() -> list[list[str]]:
        found = [text.split(" ", 2)[2] for text in said if text.startswith("update")]
        return [json.loads(each)["changes"][0]["after"] for each in found]

    with Listening(app) as listening:
        command += ["--remote-debugging-port=0", f"{listening.url}/"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: said[:1] != [])
            db.run(Bank.add_note, "one")
            wait_until(lambda: len(updates()) == 1)
            for end in list(site.watches):
                listening.call(end.set)
            wait_until(lambda: not site.watches)
            db.run(Bank.add_note, "two")
            wait_until(lambda: len(updates()) == 2)
        finally:
            process.terminate()
            process.wait(LIMIT_SECONDS)
    assert updates() == [["one"], ["one", "two"]]
    assert sum(text.startswith("initial") for text in said) == 1
