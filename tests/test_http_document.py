"""What the server says about itself: the OpenAPI document, its page, and figures."""

from __future__ import annotations

import asyncio
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from prometheus_client.parser import text_string_to_metric_families

import cairndb
from cairndb.server.http_problems import PROBLEMS
from serving_http import Http, Served
from threads import LIMIT_SECONDS, Aside

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def http(tmp_path: Path) -> Iterator[Served]:
    """A bank that is served."""
    with Served(tmp_path) as served:
        yield served


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of a document, to be used by itself."""
    return schema | {"components": document["components"]}


def test_each_method_is_described_by_its_type_hints(http: Served) -> None:
    """Its arguments by name or by position, and what it returns."""
    document = http.get("/openapi.json").json()
    transfer = document["paths"]["/run/transfer"]["post"]
    assert transfer["summary"] == "Move money, and return what is left."
    schema = transfer["requestBody"]["content"]["application/json"]["schema"]
    validator = jsonschema_rs.validator_for(resolved(document, schema))
    for good in (["a", "b", 5], {"source": "a", "target": "b", "amount": 5}):
        assert validator.is_valid(good)
    for bad in (["a", "b"], ["a", "b", 0], ["a", "b", 5, 6], {"source": "a"}, {"x": 1}, 5):
        assert not validator.is_valid(bad)
    named = document["paths"]["/run/add_note"]["post"]["requestBody"]
    validator = jsonschema_rs.validator_for(named["content"]["application/json"]["schema"])
    assert validator.is_valid({"text": "x", "twice": True})
    assert validator.is_valid({"text": "x"})
    assert "requestBody" not in document["paths"]["/run/total"]["post"]


def test_what_comes_is_what_is_described(http: Served) -> None:
    """Results and problems, by their schemas."""
    document = http.get("/openapi.json").json()

    def check(schema: dict[str, Any], value: Any) -> None:
        jsonschema_rs.validator_for(resolved(document, schema)).validate(value)

    holders = document["paths"]["/run/holders"]["post"]["responses"]["200"]
    check(holders["content"]["application/json"]["schema"], http.run("holders").json())
    log = document["paths"]["/log"]["get"]["responses"]["200"]
    check(log["content"]["application/json"]["schema"], http.get("/log").json())
    check(document["components"]["schemas"]["Problem"], http.run("nothing").json())


def test_every_status_is_described(http: Served) -> None:
    """All kinds of problems have a response, and every reference leads somewhere."""
    document = http.get("/openapi.json").json()
    responses = document["components"]["responses"]
    for problem in PROBLEMS.values():
        assert f"`{problem.name}`" in responses[str(problem.status)]["description"]
    references = re.findall(r'"\$ref":"#/components/(\w+)/(\w+)"', http.get("/openapi.json").text)
    assert references
    assert all(name in document["components"][kind] for kind, name in references)


def test_every_problem_is_documented() -> None:
    """Its name, in a table beside its status."""
    pages = Path(__file__).parent.parent.joinpath("docs").rglob("*.md")
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    rows = re.findall(r"^\| (\d{3}) \| (.*?) \|", text, re.MULTILINE)
    documented = {(int(s), name) for s, names in rows for name in re.findall(r"`(.+?)`", names)}
    assert {(each.status, each.name) for each in PROBLEMS.values()} <= documented


def test_tokens_are_described_where_there_are_any(http: Served, tmp_path: Path) -> None:
    """As bearer tokens; what needs none says so."""
    assert http.get("/openapi.json").json()["security"] == []
    (tmp_path / "other").mkdir()
    with Served(tmp_path / "other", authenticate={}.get) as other:
        document = other.get("/openapi.json").json()
    assert document["security"] == [{"token": []}]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert document["paths"]["/healthz"]["get"]["security"] == []


def test_a_database_without_types_is_described(tmp_path: Path) -> None:
    """It has no methods, and a state."""
    with cairndb.open(tmp_path / "x.cairn") as db, Http(cairndb.asgi(db)) as http:
        document = http.get("/openapi.json").json()
        assert "/state/{path}" in document["paths"]
        assert http.put("/state/a~1b", {"c": [1]}).status_code == 204
        assert http.get("/state/a~1b/c/0").json() == 1


def test_types_that_have_no_schema_are_anything(tmp_path: Path) -> None:
    """What a method says that it returns needn't be something that can be described."""

    class Root(cairndb.Record):
        """With such a method."""

        @cairndb.query
        def odd(self) -> object:
            """Return something."""
            return [1]

        @cairndb.query
        def self_made(self) -> Root:
            """Return it all."""
            return self

    with cairndb.open(tmp_path / "x.cairn", Root) as db:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(Root.self_made.__globals__, "Root", Root)
            app = cairndb.asgi(db)
        with Http(app) as http:
            document = http.get("/openapi.json").json()
            assert http.run("odd").json() == [1]
    content = document["paths"]["/run/odd"]["post"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"] == {}


def test_a_document_can_be_left_out(tmp_path: Path) -> None:
    """With its page."""
    with Served(tmp_path, documented=False) as http:
        assert http.get("/openapi.json").status_code == 404
        assert http.get("/docs").status_code == 404


class Links(HTMLParser):
    """What a page would fetch, and whether its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note it."""
        if tag != "meta":
            self.open.append(tag)
        self.fetched += [str(v) for k, v in attributes if k == "src" or tag in {"link", "script"}]
        self.links += [str(v) for k, v in attributes if k == "href"]

    def handle_endtag(self, tag: str) -> None:
        """The one that was opened last."""
        assert self.open.pop() == tag


def test_the_page_shows_all_of_it_and_fetches_nothing(http: Served) -> None:
    """Plain HTML, with the methods' own texts escaped."""
    response = http.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    page = Links()
    page.feed(response.text)
    assert (page.fetched, page.open, page.links) == ([], [], ["/openapi.json"])
    for text in ("/run/transfer", "Move money, and return what is left.", "moved-on", "Account"):
        assert text in response.text
    assert "<code>amount</code></td><td>integer, over 0</td><td></td>" in response.text
    assert "<code>balance</code></td><td>integer</td><td>may be left out</td>" in response.text
    assert "<p>Gives <code>object of Account</code></p>" in response.text


def figures(http: Http) -> dict[tuple[str, ...], float]:
    """What Prometheus would read: by name and the values of labels."""
    response = http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_operations_are_counted_by_method_and_outcome(http: Served) -> None:
    """Names that aren't methods are not a label each; nor are paths."""
    http.run("total")
    http.run("transfer", "alice", "bob", 500)
    http.run("total", 5)
    http.run("nothing")
    http.get("/state/notes")
    http.get("/state/nothing")
    found = figures(http)
    name = "cairndb_requests_total"
    counted = {key[1:]: value for key, value in found.items() if key[0] == name}
    assert counted == {
        ("total", "run", "ok", "http"): 1,
        ("total", "run", "ArgumentError", "http"): 1,
        ("transfer", "run", "InsufficientFunds", "http"): 1,
        ("", "get", "ok", "http"): 1,
        ("", "get", "NoSuchPath", "http"): 1,
    }
    assert found["cairndb_request_seconds_count", "total", "run"] == 2
    assert found["cairndb_http_responses_total", "run", "404"] == 1
    assert found["cairndb_http_response_seconds_count", "state"] == 2


def test_what_waits_for_a_lock_counts_once(http: Served) -> None:
    """The look whether there is a lock to wait for is no operation by itself."""
    entered, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with http.db.update():
            entered.set()
            go_on.wait(LIMIT_SECONDS)

    holding = Aside(hold)
    assert entered.wait(LIMIT_SECONDS)

    async def work() -> None:
        waiting = http.db._engine.lock._update_queue
        task = asyncio.create_task(http._client.post("/run/transfer", json=["alice", "bob", 1]))
        while not waiting:  # noqa: ASYNC110  until it waits
            await asyncio.sleep(0)
        go_on.set()
        assert (await task).json() == 99

    http.call(work())
    holding.result()
    found = figures(http)
    name = "cairndb_requests_total"
    assert {key: value for key, value in found.items() if key[0] == name} == {
        (name, "transfer", "run", "ok", "http"): 1
    }


def test_the_database_has_figures(http: Served) -> None:
    """LSN, log, checkpoints: what an alarm is set on."""
    found = figures(http)
    assert found["cairndb_up",] == 1
    assert found["cairndb_lsn",] == found["cairndb_durable_lsn",] == 2
    assert found["cairndb_lag_updates",] == 0
    assert found["cairndb_log_bytes",] > 0
    assert found["cairndb_watches",] == 0
    assert ("cairndb_checkpoint_age_seconds",) not in found
    http.db.checkpoint()
    found = figures(http)
    assert found["cairndb_checkpoints_made_total",] == 1
    assert 0 <= found["cairndb_checkpoint_age_seconds",] < 3600


def test_prometheus_may_ask_for_its_own_format(http: Served) -> None:
    """OpenMetrics, by Accept."""
    response = http.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")
