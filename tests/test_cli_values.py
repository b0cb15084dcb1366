"""Values, paths and sizes as the `cairn` command shows and reads them."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairndb.cli import output, values
from effort import examples

keys = st.recursive(
    st.text() | st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.binary(),
    lambda inner: st.tuples(inner, inner),
    max_leaves=3,
)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=examples(40))
@given(plain)
def test_what_is_shown_can_be_given(value: Any) -> None:
    """Every value that JSON shows is read back from it, but for keys that only look like text."""
    text = values.dumps(values.to_json(value))
    assert "\n" not in text
    again = values.from_json(json.loads(text))
    assert values.dumps(values.to_json(again)) == text


@given(st.dictionaries(keys, st.none(), min_size=1, max_size=4))
def test_what_is_listed_can_be_found(level: dict[Any, None]) -> None:
    """A key as `ls` shows it leads back to that key, unless a text key reads the same."""
    raw = msgspec.msgpack.encode(level)
    decoded = values.children(raw)
    assert isinstance(decoded, dict)
    for key in decoded:
        (step,) = values.parse_path(values.path_text([key]))
        found = values.find_step(decoded, step)
        assert found == key or isinstance(found, str)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB (1,024 bytes)"),
        (1_572_864, "1.5 MiB (1,572,864 bytes)"),
        (2**60, "1,048,576.0 TiB (1,152,921,504,606,846,976 bytes)"),
    ],
)
def test_sizes_are_readable(count: int, text: str) -> None:
    """A size is a small number with a unit, and the exact one beside it."""
    assert output.size_text(count) == text
