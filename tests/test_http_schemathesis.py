"""Schemathesis over the OpenAPI document: what it says and what the server does are the same.

`python tests/test_http_schemathesis.py 500` tries more.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

import cairndb
from bank import filled
from serving_http import Listening

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = 4

# What may come of a request that is as described: the state may not allow it.
_REFUSED = ["400", "404", "406", "409", "410", "412", "422"]
_CONFIG = {
    "checks": {
        "positive_data_acceptance": {"expected-statuses": ["2xx", "304", *_REFUSED]},
        "negative_data_rejection": {"expected-statuses": [*_REFUSED, "405", "415"]},
    }
}
_PATHS = ["", "accounts", "accounts/alice", "accounts/zoë", "accounts/alice/balance", "name", "no"]


@schemathesis.serializer("application/msgpack")
def to_msgpack(_: Any, value: Any) -> Any:
    """As a client writes it."""
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, TypeError):
        return msgspec.msgpack.encode(None)


@schemathesis.deserializer("application/msgpack")
def from_msgpack(_: Any, response: Any) -> Any:
    """As a client reads it."""
    return msgspec.msgpack.decode(response.content)


@contextmanager
def served(path: Path) -> Iterator[str]:
    """The address of a bank."""
    with filled(path / "bank.cairn") as db, Listening(cairndb.asgi(db)) as listening:
        yield listening.url


def document_of(url: str) -> dict[str, Any]:
    """The document, with parameters that make a random request find something.

    A random position is never where the database is; and random paths lead nowhere.
    """
    document: dict[str, Any] = httpx.get(f"{url}/openapi.json").json()
    del document["paths"]["/watch/{pattern}"]  # which doesn't end
    for operations in document["paths"].values():
        for operation in operations.values():
            kept = [p for p in operation.get("parameters", ()) if p["name"] != "If-Match"]
            operation["parameters"] = kept
            for parameter in kept:
                if parameter["name"] == "path":
                    parameter["schema"] = {"enum": _PATHS}
    return document


def try_all(url: str, examples: int) -> int:
    """Ask everything that the document has, as it says and not as it says.

    Returns:
        How many requests were made.
    """
    config = schemathesis.Config.from_dict(_CONFIG)
    schema = schemathesis.openapi.from_dict(document_of(url), config=config)
    count = 0
    for found in schema.get_all_operations():
        operation = cast("Any", found).ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
            @given(operation.as_strategy(generation_mode=mode))
            def ask(case: Any) -> None:
                nonlocal count
                count += 1
                case.call_and_validate(base_url=url)

            with suppress(Unsatisfiable):  # there is nothing to get wrong
                ask()
    return count


@pytest.mark.slow
def test_the_server_does_what_its_document_says(tmp_path: Path) -> None:
    """Each status, header and body is a described one, and what isn't as described is refused."""
    with served(tmp_path) as url:
        assert try_all(url, EXAMPLES) > 10 * EXAMPLES


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory, served(Path(directory)) as address:
        print(try_all(address, int(sys.argv[1])), "requests")  # noqa: T201
