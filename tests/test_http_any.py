"""Whatever is sent over HTTP: it is answered, or refused, and never the server's fault."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairndb.chain import Position
from cairndb.server.http_forms import expected_position, names_tag, wanted_form
from cairndb.server.http_problems import Refusal
from cairndb.service import Conflict
from serving_http import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = settings.default.max_examples // 2 if settings.default else 50
MSGPACK = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}
FORMS = ["json", "msgpack"]
METHODS = ["transfer", "put_account", "add_note", "total", "holders", "echo", "open_account"]
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A bank that is served; what one example leaves there doesn't matter to another."""
    with Served(tmp_path_factory.mktemp("any")) as served:
        yield served


@given(st.text(st.characters(max_codepoint=255)))
def test_any_header_is_understood_or_refused(text: str) -> None:
    """Whatever stands in Accept, If-Match and If-None-Match."""
    with contextlib.suppress(Refusal):
        assert wanted_form(text)[1] in {"json", "msgpack"}
    names_tag(text, '"1-00000000"')
    with contextlib.suppress(Conflict):
        expected_position(text, Position(1, 0))


@settings(max_examples=EXAMPLES)
@given(
    st.sampled_from(METHODS),
    JSON_VALUES | st.lists(JSON_VALUES, max_size=5),
    st.sampled_from(FORMS),
)
def test_no_arguments_are_the_servers_fault(
    http: Served, method: str, arguments: Any, form: str
) -> None:
    """Any JSON, or MessagePack, to any method: an answer, or 4xx."""
    if form == "msgpack":
        try:
            content = msgspec.msgpack.encode(arguments)
        except OverflowError:
            return
        response = http.ask("POST", f"/run/{method}", content=content, headers=MSGPACK)
    else:
        response = http.ask("POST", f"/run/{method}", json=arguments)
    assert response.status_code < 500


@settings(max_examples=EXAMPLES)
@given(st.sampled_from(METHODS), st.binary(max_size=40), st.sampled_from(FORMS))
def test_no_bytes_are_the_servers_fault(
    http: Served, method: str, content: bytes, form: str
) -> None:
    """Any bytes as a body: an answer, or 4xx."""
    headers = MSGPACK if form == "msgpack" else {"Content-Type": "application/json"}
    response = http.ask("POST", f"/run/{method}", content=content, headers=headers)
    assert response.status_code < 500


@settings(max_examples=EXAMPLES)
@given(st.text(), JSON_VALUES)
def test_no_path_is_the_servers_fault(http: Served, path: str, value: Any) -> None:
    """Any text as a path, and any value put there."""
    url = "/state/" + quote(path, safe="/")
    assert http.get(url).status_code in {200, 404}
    assert http.put(url, value).status_code < 500
