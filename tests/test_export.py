"""Exports are lossless, whatever is in a database, and what isn't one is refused."""

from __future__ import annotations

import io
import json
import math
import struct
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from bank import Bank
from cairndb import codec
from cairndb.cli import exports, importing, output
from cairndb.cli.exporting import LINE_BYTES, Form, write_export
from cairndb.cli.lossless import from_exact, to_exact
from cairndb.cli.source import State
from cairndb.errors import ValidationError
from cairndb.schema import compile_root, describe
from cairndb.schema_classes import kind_of_text
from effort import examples
from strategies import roots, values_of

DATABASE = UUID("0193a5b0-0000-7000-8000-000000000000")


def exported(state: State, form: Form, line_bytes: int = LINE_BYTES) -> bytes:
    """The bytes of an export."""
    target = io.BytesIO()
    size = write_export(target.write, state, form, _silent, line_bytes=line_bytes)
    assert size == len(target.getvalue())
    return target.getvalue()


def imported(data: bytes) -> importing.Content:
    """What an import would write."""
    export = exports.read_export(io.BytesIO(data), "x.json", _silent, len(data))
    source = {"database": export.database, "lsn": export.lsn}
    return importing.judged("x.json", export.schema, export.state, source)


def _silent(_done: int, _total: int) -> None:
    pass


@settings(max_examples=examples(60))
@given(st.data())
def test_any_database_survives_export_and_import(data: st.DataObject) -> None:
    """The same schema and the same bytes come back, in both forms, however lines are cut."""
    root = data.draw(roots())
    kind = compile_root(root, guard=True)
    try:
        encoded = kind.encode(kind.copy(data.draw(values_of(root)), 0))
    except ValidationError:
        return  # two keys that are one once they are stored
    text = describe(kind)
    state = State(encoded, 7, text, DATABASE)
    for form, line_bytes in (Form.JSON, 0), (Form.JSONL, 10), (Form.JSONL, LINE_BYTES):
        found = imported(exported(state, form, line_bytes))
        assert (found.state, found.schema) == (encoded, text)
        assert found.source == {"database": str(DATABASE), "lsn": 7}
        assert found.kind is not None


@settings(max_examples=examples(60))
@given(st.data())
def test_classes_made_of_a_schema_read_what_its_own_classes_wrote(data: st.DataObject) -> None:
    """They are described alike, and give the same canonical bytes."""
    root = data.draw(roots())
    kind = compile_root(root, guard=True)
    text = describe(kind, 3)
    made = kind_of_text(text)
    assert describe(made, 3) == text
    try:
        encoded = kind.encode(kind.copy(data.draw(values_of(root)), 0))
    except ValidationError:
        return
    assert made.encode(made.decode(encoded)) == encoded


SPECIAL: list[tuple[Any, str]] = [
    (1, "1"),
    (1.0, "1.0"),
    (-0.0, "-0.0"),
    (2**64 - 1, "18446744073709551615"),
    (1e22, "1e+22"),
    (math.inf, '{"$float": "inf"}'),
    (math.nan, '{"$float": "nan"}'),
    (struct.unpack(">d", b"\xff\xf8\0\0\0\0\0\1")[0], '{"$float": "nan:fff8000000000001"}'),
    (b"\0\xff", '{"$bytes": "AP8="}'),
    (datetime(2025, 1, 1, 12, tzinfo=UTC), '{"$datetime": "2025-01-01T12:00:00+00:00"}'),
    ({"a": {}}, '{"a": {}}'),
    ({17: "x", "17": "y"}, '{"$items": [[17, "x"], ["17", "y"]]}'),
    ({"$bytes": "AP8="}, '{"$items": [["$bytes", "AP8="]]}'),
    ({(1, "a"): None}, '{"$items": [[[1, "a"], null]]}'),
    ({b"k": True}, '{"$items": [[{"$bytes": "aw=="}, true]]}'),
    (Ext(5, b"x"), '{"$extension": 5, "$bytes": "eA=="}'),
]


@pytest.mark.parametrize(("value", "text"), SPECIAL)
def test_what_json_lacks_is_marked(value: Any, text: str) -> None:
    """Each value has one way to be written, which gives the same bytes again."""
    assert json.dumps(to_exact(value)) == text
    assert codec.encode(from_exact(json.loads(text))) == codec.encode(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"$bytes": "?"}',
        '{"$bytes": "AP8=", "x": 1}',
        '{"$float": "1.5"}',
        '{"$float": "nan:00"}',
        '{"$datetime": "2025-01-01T12:00:00"}',
        '{"$items": [[1, 2], [1, 3]]}',
        '{"$items": [1]}',
        '{"$items": [[{}, 1]]}',
        '{"$unknown": 1}',
    ],
)
def test_marks_that_say_nothing_are_refused(text: str) -> None:
    """An object with a key that begins with $ is one of the known marks, or an error."""
    with pytest.raises(ValueError, match="isn't a value that an export has"):
        from_exact(json.loads(text))


NOTES = describe(compile_root(dict[str, Any], guard=True))
STATE = State(codec.encode({"a": [1, {"b": 2}], "c": {"d": 3}, "e": 4}), 7, NOTES, DATABASE)


def test_lines_are_entries_with_their_paths() -> None:
    """Each line puts a value at a path, after what it is in; the last counts them."""
    _, *lines = map(json.loads, exported(STATE, Form.JSONL).splitlines())
    assert lines == [
        {"path": [], "value": {}},
        {"path": ["a"], "value": []},
        {"path": ["a", 0], "value": 1},
        {"path": ["a", 1], "value": {"b": 2}},
        {"path": ["c"], "value": {}},
        {"path": ["c", "d"], "value": 3},
        {"path": ["e"], "value": 4},
        {"end": 8},
    ]


def test_a_document_is_json_whose_root_is_the_value() -> None:
    """Any JSON reader finds the root, the schema, the LSN and the database in it."""
    document = json.loads(exported(STATE, Form.JSON))
    assert document["root"] == codec.decode(STATE.encoded)
    assert document["lsn"] == 7
    assert document["database"] == str(DATABASE)
    assert document["schema"] == json.loads(NOTES)


def golden_state() -> State:
    """A state with every special value, of a schema with a record."""
    values = {f"value {number}": value for number, (value, _) in enumerate(SPECIAL[:-1])}
    kind = compile_root(dict[str, Any], guard=True)
    return State(codec.encode({"all": values, 'odd\n"key"': []}), 7, describe(kind), DATABASE)


@pytest.mark.parametrize("form", Form)
def test_exports_of_version_1_stay_readable(form: Form) -> None:
    """What an earlier cairndb has written is read, and is what this one writes."""
    golden = (Path(__file__).parent / "golden" / f"export-1.{form.value}").read_bytes()
    state = golden_state()
    assert exported(state, form) == golden
    assert exports.read_export(io.BytesIO(golden), "x", _silent, 0).state == state.encoded


def test_a_document_may_be_formatted_anew() -> None:
    """Layout means nothing: a document on one line, or indented, is the same export."""
    document = json.loads(exported(STATE, Form.JSON))
    for indent in None, 4:
        assert imported(json.dumps(document, indent=indent).encode()).state == STATE.encoded


@pytest.mark.parametrize("form", Form)
def test_a_cut_export_is_refused(form: Form) -> None:
    """Whatever its length, the beginning of an export isn't one."""
    data = exported(STATE, form)
    for length in range(len(data.rstrip())):
        with pytest.raises(output.Misuse, match="nothing was imported"):
            imported(data[:length])


@pytest.mark.parametrize(
    ("number", "line", "reason"),
    [
        (2, None, "line 2: a value before the root"),
        (3, None, "nothing to go on from"),
        (4, None, "line 4: position 1 where 0 comes next"),
        (8, None, r'7 lines with values were written, and 6 are here; .* \{"end": 7\}'),
        (4, '{"path": ["e", 0], "value": 1}', "line 4: nothing to go on from"),
        (8, '{"path": ["c", "d", "f"], "value": 1}', "line 8: the path leads into a value"),
        (8, '{"path": ["c"], "value": 1}', "line 8: the key 'c' a second time"),
        (8, '{"path": [], "value": 1}', "line 8: the root a second time"),
        (8, '{"path": ["e"], "value": {"x": 1, "x": 2}}', "the key 'x' twice"),
        (8, '{"path": ["e"], "value": 99999999999999999999}', "line 8: "),
        (8, '{"end": 7}', "line 9: the export goes on after its end"),
        (8, "[]", 'line 8: expected {"path"'),
        (8, "{", "line 8 isn't JSON, or is cut off"),
        (1, '{"cairndb": "export", "version": 2, "schema": {}}', "version 2"),
        (1, '{"cairndb": "export", "version": 1}', "has no schema"),
        (1, '{"cairndb": "export", "version": 1, "database": 0, "schema": []}', "isn't a schema"),
        (1, "{}", "isn't an export of cairn"),
    ],
)
def test_a_wrong_line_is_named(number: int, line: str | None, reason: str) -> None:
    """An export that was edited and doesn't fit together says in which line, and why."""
    lines = exported(STATE, Form.JSONL).decode().splitlines()
    lines[number - 1 : number] = [] if line is None else [line]
    with pytest.raises(output.Misuse, match=reason):
        imported("\n".join(lines).encode())


def test_a_schema_that_names_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A type that isn't described is damage; one that only its class knows is taken on trust."""
    data = exported(STATE, Form.JSON)
    with pytest.raises(output.Misuse, match="the schema names 'Amy', and doesn't say what"):
        imported(data.replace(b"dict[str, Any]", b"dict[str, Amy]"))
    odd = data.replace(b"dict[str, Any]", b"dict[str, dict[list[int], Any]]")
    state = codec.encode(json.loads(data)["root"])
    assert imported(odd).state == state
    assert "taken as it is, unchecked" in capsys.readouterr().err


@pytest.mark.parametrize("form", Form)
def test_damage_is_refused_or_harmless(form: Form) -> None:
    """Whatever a byte is changed to, what comes out is an error of ours or a state that fits."""
    data = bytearray(exported(STATE, form))
    random = Random(4)  # noqa: S311  reproducible, not secret
    for _ in range(examples(400)):
        place, old = random.randrange(len(data)), 0
        old, data[place] = data[place], random.choice(b'{}[]":,0 e$\\\x00\xff9')
        try:
            found = imported(bytes(data))
        except output.Misuse:
            pass
        else:
            assert found.kind is None or found.kind.encode(found.kind.decode(found.state))
        data[place] = old


def test_what_the_schema_refuses_is_refused() -> None:
    """An edited value of the wrong type, or in no field, is found before anything is written."""
    root = compile_root(dict[str, list[int]], guard=True)
    state = State(root.encode({"a": [1, 2]}), 7, describe(root), DATABASE)
    data = exported(state, Form.JSON).replace(b"[1,2]", b'[1,"2"]')
    with pytest.raises(output.Misuse, match=r"x\.json: /a/1: Expected `int`, got `str`"):
        imported(data)
    bank = compile_root(Bank, guard=True)
    data = exported(State(bank.encode(Bank()), 7, describe(bank), DATABASE), Form.JSONL)
    with pytest.raises(output.Misuse, match="unknown field `colour`"):
        imported(data.replace(b'["name"],"value":""', b'["colour"],"value":""'))
