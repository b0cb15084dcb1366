"""The OpenAPI document as a page for people: plain HTML, that fetches nothing and runs nothing."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any, Final

from cairndb.server.http_forms import JSON
from cairndb.server.http_problems import NAMESPACE, PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
pre { padding: .6rem; overflow-x: auto; border: 1px solid; border-radius: 4px; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .2rem .8rem .2rem 0; }
summary { cursor: pointer; }
"""


def docs_page(document: Json) -> str:
    """The page.

    Args:
        document: with `servers`.
    """
    title = escape(document["info"]["title"])
    base = document["servers"][0]["url"].rstrip("/")
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
        f"<p>{escape(document['info']['description'])} This page as data: ",
        f'<a href="{escape(base)}/openapi.json"><code>openapi.json</code></a>.</p>',
        *_operations(document, base),
        *_problems(),
        *_types(document),
        "</body></html>",
    ]
    return "".join(parts)


def _operations(document: Json, base: str) -> Iterator[str]:
    tag = None
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["tags"][0] != tag:
                tag = operation["tags"][0]
                yield f"<h2>{escape(tag.capitalize())}</h2>"
            yield f'<h3 id="{escape(operation["operationId"])}"><code>{method.upper()} '
            yield f"{escape(base + path)}</code></h3><p>{escape(operation['summary'])}</p>"
            if operation.get("description"):
                yield f"<p>{escape(operation['description'])}</p>"
            yield from _details(operation)


def _details(operation: Json) -> Iterator[str]:
    rows = [
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{each['in']}</td>"
        f"<td>{escape(each.get('description', ''))}</td></tr>"
        for each in operation.get("parameters", ())
    ]
    if rows:
        yield f"<table>{''.join(rows)}</table>"
    body = operation.get("requestBody")
    if body:
        yield f"<p>Takes:</p>{_schema(body['content'][JSON]['schema'])}"
    for status, response in operation["responses"].items():
        schema = response.get("content", {}).get(JSON, {}).get("schema")
        if status.startswith("2") and schema:
            yield f"<p>Gives:</p>{_schema(schema)}"


def _schema(schema: Json) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=2, ensure_ascii=False))}</pre>"


def _problems() -> Iterator[str]:
    yield "<h2>Problems</h2><p>What goes wrong is told as RFC 9457 says, with a <code>type</code> "
    yield f"of <code>{NAMESPACE}…</code>.</p><table>"
    for problem in sorted(PROBLEMS.values()):
        yield f'<tr id="{problem.name}"><td>{problem.status}</td>'
        yield f"<td><code>{problem.name}</code></td><td>{escape(problem.title)}</td></tr>"
    yield "</table>"


def _types(document: Json) -> Iterator[str]:
    yield "<h2>Types</h2>"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f"<details><summary><code>{escape(name)}</code></summary>{_schema(schema)}</details>"
