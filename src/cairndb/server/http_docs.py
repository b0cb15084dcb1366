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
h3 { margin: 2rem 0 0; } h3 code { font-size: 17px; }
p { margin: .3rem 0 .6rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
pre { padding: .6rem; overflow-x: auto; border: 1px solid; border-radius: 4px; }
table { border-collapse: collapse; }
td { vertical-align: top; padding: .1rem 1.2rem .1rem 0; }
summary { cursor: pointer; }
"""

_LIMITS: Final = {
    "minimum": "from {}",
    "exclusiveMinimum": "over {}",
    "maximum": "to {}",
    "exclusiveMaximum": "under {}",
}


def docs_page(document: Json) -> str:
    """The page.

    Args:
        document: with `servers`.
    """
    title = escape(document["info"]["title"])
    base = document["servers"][0]["url"].rstrip("/")
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
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
    found: dict[str, list[tuple[str, Json]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            heading = f"{method.upper()} {base}{path}"
            found.setdefault(operation["tags"][0], []).append((heading, operation))
    for tag, operations in found.items():
        yield f"<h2>{escape(tag.capitalize())}</h2>"
        for heading, operation in operations:
            yield f'<h3 id="{escape(operation["operationId"])}"><code>{escape(heading)}</code></h3>'
            yield f"<p>{escape(operation['summary'])}</p>"
            if operation.get("description"):
                yield f"<p>{escape(operation['description'])}</p>"
            yield from _details(operation)


def _details(operation: Json) -> Iterator[str]:
    body = operation.get("requestBody")
    if body:
        yield from _body(body["content"][JSON]["schema"])
    parameters = [
        (each["name"], each["in"], each.get("description", ""))
        for each in operation.get("parameters", ())
    ]
    yield _table(parameters)
    for status, response in operation["responses"].items():
        schema = response.get("content", {}).get(JSON, {}).get("schema")
        if status.startswith("2") and schema:
            yield f"<p>Gives <code>{escape(_brief(schema))}</code></p>"


def _body(schema: Json) -> Iterator[str]:
    """Arguments, one a line; of another body what it is."""
    by_name = schema.get("anyOf", [schema])[0]
    if "properties" not in by_name:
        yield f"<p>Takes <code>{escape(_brief(schema))}</code></p>"
        return
    required = by_name.get("required", ())
    yield _table(
        [
            (name, _brief(each), "" if name in required else "may be left out")
            for name, each in by_name["properties"].items()
        ]
    )


def _table(rows: list[tuple[str, str, str]]) -> str:
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(kind)}</td><td>{escape(text)}</td></tr>"
        for name, kind, text in rows
    )
    return f"<table>{lines}</table>" if lines else ""


def _brief(schema: Json) -> str:  # noqa: PLR0911  a table
    """A schema in a few words; of what isn't so simple its JSON."""
    match schema:
        case {"$ref": str(reference)}:
            return reference.rpartition("/")[2]
        case {"anyOf": list(members)}:
            return " or ".join(map(_brief, members))
        case {"enum": list(values)}:
            return " or ".join(map(json.dumps, values))
        case {"type": "array", "items": dict(item)} if "prefixItems" not in schema:
            return f"array of {_brief(item)}"
        case {"type": "object", "additionalProperties": dict(item)} if "properties" not in schema:
            return f"object of {_brief(item)}"
        case {"type": str(name)} if "properties" not in schema and "prefixItems" not in schema:
            limits = [text.format(schema[key]) for key, text in _LIMITS.items() if key in schema]
            return ", ".join([schema.get("format", name), *limits])
        case _:
            return json.dumps(schema, ensure_ascii=False) if schema else "anything"


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
        text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
        yield f"<details><summary><code>{escape(name)}</code></summary><pre>{text}</pre></details>"
