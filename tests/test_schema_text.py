"""The text of a schema is read back as what it was written from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from cairndb.schema import compile_root, describe
from cairndb.schema_text import Fields, Members, parse_schema
from strategies import roots


@given(roots())
def test_what_is_described_is_read_back(root: Any) -> None:
    """Every type of every schema comes back such that it is written the same again."""
    text = describe(compile_root(root, guard=True))
    schema = parse_schema(text)
    written: dict[str, Any] = {}
    for name, found in schema.types.items():
        if isinstance(found, Members):
            written[name] = {"enum": found.values}
        else:
            word = "record" if found.is_record else "value"
            written[name] = {word: {field: str(kind) for field, kind in found.fields.items()}}
            written[name] |= {"tag": found.tag} if found.tag else {}
    assert {"root": str(schema.root), "types": written} == json.loads(text)


@pytest.mark.parametrize(
    "type_text",
    [
        "int",
        "dict[str, list[Account | None](max_length=3)]",
        "tuple[()]",
        "tuple[int, ...](min_length=1)",
        "tuple[int, str]",
        'Literal["a, b", "]", 3, None]',
        'str(min_length=1, pattern="^[a-z, ()]*$")',
        "Box[int | None]",
        "dict[Box[int], Account#2]",
    ],
)
def test_a_type_is_written_as_it_was_read(type_text: str) -> None:
    """Brackets, commas and bars inside of names and values are told from those around them."""
    classes: dict[str, dict[str, Any]] = {
        name: {"record": {}} for name in ("Account", "Account#2", "Box[int]", "Box[int | None]")
    }
    text = json.dumps({"root": "Root", "types": {"Root": {"record": {"x": type_text}}, **classes}})
    root = parse_schema(text).types["Root"]
    assert isinstance(root, Fields)
    assert str(root.fields["x"]) == type_text


@pytest.mark.parametrize("text", ["", "[]", '{"root": "int"}', '{"root": "list[int", "types": {}}'])
def test_what_isnt_a_schema_is_refused(text: str) -> None:
    """Text that `describe` can't have written is a ValueError, nothing else."""
    with pytest.raises(ValueError, match=r"schema|expected|Expecting"):
        parse_schema(text)
