"""The OpenAPI 3.1 document of a database's HTTP server, made from the methods' type hints.

Schemas are msgspec's: what it decodes arguments with is what the document says. They are those of
JSON; in MessagePack bytes are bytes, and moments may be its timestamps.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cairndb.server.http_forms import EVENTS, JSON, MSGPACK
from cairndb.server.http_problems import MEDIA_TYPE, NAMESPACE, POSITION_HEADER, PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cairndb.service import Service
    from cairndb.service_methods import Method

Json = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{name}"
_POSITION: Final = {"type": "string", "pattern": r"^[0-9]{1,18}-[0-9a-f]{8}$"}
_TAG: Final = r'^(\*|"[0-9]{1,18}-[0-9a-f]{8}(\.msgpack)?")$'
_SINCE: Final = r"^[0-9]{1,18}(-[0-9a-f]{8})?$"

# What can go wrong with anything; and with what has a body, changes something, or reads the past.
_ALWAYS: Final = (400, 401, 403, 404, 406, 421, 429, 500, 503)
_WITH_BODY: Final = (408, 413, 415)
_METHOD: Final = (*_ALWAYS, *_WITH_BODY, 409, 412, 422, 507)


def document(service: Service, *, needs_token: bool) -> Json:
    """The document, without `servers`.

    Args:
        service: what is described.
        needs_token: whether there are tokens.
    """
    methods = [service.methods[name] for name in sorted(service.methods)]
    schemas, components = _schemas(methods)
    paths = {
        f"/run/{method.name}": {"post": _run(method, arguments, returns)}
        for method, (arguments, returns) in zip(methods, schemas, strict=True)
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": service.engine.tree.kind.name,
            "version": "1",
            "description": "A cairndb database. What an answer shows is on disk.",
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "security": [{"token": []}] if needs_token else [],
        "paths": paths | _state_paths() | _history_paths() | _server_paths(),
        "components": {
            "schemas": components | {"Problem": _problem()},
            "responses": {str(status): _problem_response(status) for status in _statuses()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas(methods: list[Method]) -> tuple[list[tuple[Json, Json]], Json]:
    """Of each method the schema of its arguments by name and of its result; and components."""
    types = [each for method in methods for each in (method.named, _known(method.returns))]
    found, components = msgspec.json.schema_components(
        types, schema_hook=_anything, ref_template=_REFERENCE
    )
    # The arguments' own are no types of anybody: they stand where they are used.
    arguments = [components.pop(each["$ref"].rpartition("/")[2]) for each in found[::2]]
    return list(zip(arguments, found[1::2], strict=True)), components


def _anything(_: type) -> Json:
    return {}


def _known(annotation: Any) -> Any:
    """A type, or Any if there is no schema for it."""
    try:
        msgspec.json.schema_components((annotation,), schema_hook=_anything)
    except (TypeError, NotImplementedError):
        return Any
    return annotation


def _run(method: Method, arguments: Json, returns: Json) -> Json:
    summary, _, rest = method.documentation.partition("\n")
    changes = "changes the state" if method.mode == "update" else "reads"
    operation: Json = {
        "operationId": method.name,
        "tags": [f"{method.mode} methods"],
        "summary": summary or method.name,
        "description": rest.strip() or f"{method.qualified_name}, which {changes}.",
        "parameters": [_if_match()],
        "responses": {"200": _done(_forms(returns)), **_failures(_METHOD)},
    }
    if method.parameters:
        operation["requestBody"] = {
            "required": any(each.required for each in method.parameters),
            "content": _forms(_by_name_or_position(method, arguments)),
        }
    return operation


def _by_name_or_position(method: Method, arguments: Json) -> Json:
    by_name = {k: v for k, v in arguments.items() if k != "title"}
    positional = [each for each in method.parameters if each.positional]
    if any(each.required and not each.positional for each in method.parameters):
        return by_name
    by_position = {
        "type": "array",
        "prefixItems": [arguments["properties"][each.name] for each in positional],
        "items": False,
        "minItems": sum(each.required for each in positional),
        "maxItems": len(positional),
    }
    return {"anyOf": [by_name, by_position]}


def _forms(schema: Json) -> Json:
    return {JSON: {"schema": schema}, MSGPACK: {"schema": schema}}


def _done(content: Json | None, description: str = "Done.", **headers: Json) -> Json:
    position = {"schema": _POSITION, "description": "What the answer is based on."}
    response: Json = {
        "description": description,
        "headers": {POSITION_HEADER: position, **headers},
    }
    return response if content is None else response | {"content": content}


def _failures(statuses: Iterable[int]) -> Json:
    return {str(each): {"$ref": f"#/components/responses/{each}"} for each in sorted(statuses)}


def _header(name: str, description: str, **more: str) -> Json:
    schema = {"type": "string", **more}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _if_match() -> Json:
    text = "Only if the database is at this position, an ETag of what was read."
    return _header("If-Match", text, pattern=_TAG)


def _if_none_match() -> Json:
    # Whatever else stands there is known to nobody, and no reason to refuse.
    return _header("If-None-Match", "An ETag whose answer is known.")


def _path_parameter(name: str, description: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string"},
    }


def _query(name: str, description: str, **schema: Any) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_STEPS: Final = "Steps joined by slashes; in a step ~1 is a slash, and ~0 a tilde."


def _state_paths() -> Json:
    path = _path_parameter("path", _STEPS)
    tag = {"schema": {"type": "string"}, "description": "The position."}
    get = {
        "operationId": "get",
        "tags": ["state"],
        "summary": "What stands at a path",
        "parameters": [path, _if_match(), _if_none_match()],
        "responses": {
            "200": _done(_forms({}), "What stands there.", ETag=tag),
            "304": _done(None, "The database is where it was."),
            **_failures((*_ALWAYS, 412, 422)),
        },
    }
    put = {
        "operationId": "put",
        "tags": ["state"],
        "summary": "Put a value at a path; for a token with the role admin",
        "parameters": [path, _if_match()],
        "requestBody": {"required": True, "content": _forms({})},
        "responses": {"204": _done(None), **_failures(_METHOD)},
    }
    return {"/state/{path}": {"get": get, "put": put}}


def _history_paths() -> Json:
    since = _query("since", "Go on after this position, or LSN.", type="string", pattern=_SINCE)
    log = {
        "operationId": "log",
        "tags": ["history"],
        "summary": "What each update has changed, in pages that Link joins",
        "parameters": [
            since,
            _query("limit", "How many.", type="integer", minimum=1, default=100),
        ],
        "responses": {
            "200": _done({JSON: {"schema": _log_page()}}, "Updates, oldest first."),
            **_failures((*_ALWAYS, 410, 422)),
        },
    }
    watch = {
        "operationId": "watch",
        "tags": ["history"],
        "summary": "What changes under a pattern, as it does: Server-Sent Events",
        "parameters": [
            _path_parameter("pattern", f"{_STEPS} * is any step, ** any number of them."),
            since,
            _query("initial", "Begin with all that is there.", type="boolean"),
            _query("timeout", "End after so many seconds without an event.", type="number"),
            _header("Last-Event-ID", "As since; a browser sends it.", pattern=_SINCE),
        ],
        "responses": {
            "200": {"description": "Events.", "content": {EVENTS: {"schema": {"type": "string"}}}},
            **_failures((*_ALWAYS, 410)),
        },
    }
    return {"/log": {"get": log}, "/watch/{pattern}": {"get": watch}}


def _log_page() -> Json:
    entry = {
        "type": "object",
        "required": ["lsn", "time", "operations"],
        "properties": {
            "lsn": {"type": "integer"},
            "time": {"type": "string", "format": "date-time"},
            "call": {"type": "object"},
            "operations": {"type": "array", "items": {"type": "object"}},
        },
    }
    return {
        "type": "object",
        "required": ["entries", "position"],
        "properties": {"entries": {"type": "array", "items": entry}, "position": _POSITION},
    }


def _server_paths() -> Json:
    status = {JSON: {"schema": {"type": "object"}}}

    def page(name: str, summary: str, content: Json, *failures: int, **more: Any) -> Json:
        responses = {"200": {"description": "Yes.", "content": content}, **_failures(failures)}
        return {
            "get": {
                "operationId": name,
                "tags": ["server"],
                "summary": summary,
                "responses": responses,
                **more,
            }
        }

    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "/healthz": page("healthz", "The process is alive", status, 421, 429, security=[]),
        "/readyz": page("readyz", "Requests are answered", status, 421, 429, 503, security=[]),
        "/metrics": page("metrics", "Figures for Prometheus", text, 401, 421, 429, 500),
    }


def _problem() -> Json:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "RFC 9457.",
        "required": ["type", "title", "status", "detail", "instance"],
        "properties": {
            "type": {"enum": [NAMESPACE + name for name in PROBLEMS]},
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "instance": text | {"format": "uri-reference"},
            "path": text | {"description": "Where a value is refused."},
            "paths": {"type": "array", "items": text},
            "position": _POSITION | {"description": "Where the database is."},
            "oldest_lsn": {"type": "integer"},
            "exception": text | {"description": "The class that a method raised."},
        },
    }


def _statuses() -> list[int]:
    return sorted({problem.status for problem in PROBLEMS.values()})


def _problem_response(status: int) -> Json:
    titles = [f"`{p.name}`: {p.title}." for p in PROBLEMS.values() if p.status == status]
    response: Json = {
        "description": f"{HTTPStatus(status).phrase}. {' '.join(titles)}",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status == 401:
        challenge = {"schema": {"type": "string"}, "required": True}
        response["headers"] = {"WWW-Authenticate": challenge}
    return response
