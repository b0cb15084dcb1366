"""The fold by itself; that it agrees with the typed state is test_patch's property."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from cairndb import codec
from cairndb.fold import Fold
from cairndb.patch import (
    ADD,
    DELETE,
    DISCARD,
    MERGE,
    SET,
    SPLICE,
    Operation,
    decode_entry,
    decode_operations,
    encode_entry,
    operation,
)
from effort import examples


def fold_of(root: Any) -> Fold:
    """A fold whose first entry set this root, of builtins."""
    fold = Fold()
    fold.apply([operation(SET, (), codec.encode(root))])
    return fold


def applied(root: Any, *operations: tuple[int, Any, Any]) -> Any:
    """What one entry makes of a root, as builtins."""
    fold = fold_of(root)
    fold.apply([operation(*each) for each in operations])
    return codec.decode(fold.encode())


def packed(value: Any) -> bytes:
    """Bytes of builtins."""
    return codec.encode(value)


ROOT = {"d": {"a": 1, "b": {"x": [1, 2, 3]}}, "l": [{"k": 0}, 5], "s": ["a", "c"], 1: "one"}

CASES: list[tuple[tuple[int, Any, Any], Any, Any]] = [
    ((SET, ("d", "a"), packed(2)), ("d", "a"), 2),
    ((SET, ("d", "new"), packed(2)), ("d", "new"), 2),
    ((SET, ("l", 0, "k"), packed("x")), ("l", 0, "k"), "x"),
    ((SET, ("l", 1), packed(None)), ("l", 1), None),
    ((SET, (1,), packed("uno")), (1,), "uno"),
    ((SPLICE, ("d", "b", "x"), [1, 1, [9, 9]]), ("d", "b", "x"), [1, 9, 9, 3]),
    ((ADD, ("s",), ["b"]), ("s",), ["a", "b", "c"]),
    ((ADD, ("s",), ["a"]), ("s",), ["a", "c"]),
    ((DISCARD, ("s",), ["a", "z"]), ("s",), ["c"]),
    ((MERGE, ("d",), {"a": 7, "z": 8}), ("d",), {"a": 7, "b": {"x": [1, 2, 3]}, "z": 8}),
    ((DELETE, ("d", "a"), codec.NIL), ("d",), {"b": {"x": [1, 2, 3]}}),
]


@pytest.mark.parametrize(("change", "path", "expected"), CASES)
def test_each_operation(change: tuple[int, Any, Any], path: Any, expected: Any) -> None:
    """Each operation does to bytes what its code says, and nothing else."""
    value = applied(ROOT, change)

    for step in path:
        value = value[step]
    assert value == expected


def test_untouched_bytes_stay() -> None:
    """Opening nodes for an operation doesn't change how anything else is written."""
    fold = fold_of(ROOT)

    fold.apply([operation(SET, ("d", "b", "x", 0), packed(1))])
    fold.apply([operation(ADD, ("s",), ["a"])])

    assert fold.encode() == packed(ROOT)


def test_order_of_a_dict_is_state() -> None:
    """Replaced keys keep their place; keys deleted and set again go to the end."""
    once = applied({"a": 1, "b": 2}, (SET, ("a",), packed(3)))
    again = applied({"a": 1, "b": 2}, (DELETE, ("a",), codec.NIL), (SET, ("a",), packed(1)))

    assert list(once) == ["a", "b"]
    assert list(again) == ["b", "a"]


def test_paths_address_the_state_before_the_entry() -> None:
    """An operation on what another one of the entry removes goes with it."""
    value = applied(
        {"l": [{"k": 0}, {"k": 1}]},
        (SET, ("l", 1, "k"), packed(9)),
        (SPLICE, ("l",), [1, 1, []]),
        (SPLICE, ("l",), [0, 0, [{"k": 7}]]),
    )

    assert value == {"l": [{"k": 7}, {"k": 0}]}


REFUSED: list[tuple[int, Any, Any]] = [
    (SET, ("nothing", "x"), packed(1)),
    (SET, ("d", "a", "x"), packed(1)),
    (SET, ("l", 2), packed(1)),
    (SET, ("l", -1), packed(1)),
    (SET, ("l", True), packed(1)),
    (SET, (True,), packed(1)),
    (SET, (1.0,), packed(1)),
    (SET, (Raw(b"\x80"),), packed(1)),
    (SET, ("d", Raw(b"\x91\x80")), packed(1)),
    (SET, ("s", "a", "b"), packed(1)),
    (DELETE, ("d", "nothing"), codec.NIL),
    (DELETE, ("l", 0), codec.NIL),
    (DELETE, (), codec.NIL),
    (SPLICE, ("d",), [0, 0, []]),
    (SPLICE, ("l",), [0, 3, []]),
    (SPLICE, ("l",), [0, 1]),
    (SPLICE, ("l",), packed({})),
    (ADD, ("d",), ["a"]),
    (ADD, ("s",), ["x", "x"]),
    (ADD, ("s",), packed(1)),
    (MERGE, ("s",), {}),
    (MERGE, ("d",), b"\x82\xa1a\x01\xa1a\x02"),
    (MERGE, ("d",), packed([])),
    (MERGE, (), {1.0: 2}),
    (9, ("d",), codec.NIL),
]


@pytest.mark.parametrize("refused", REFUSED)
def test_what_no_writer_makes_is_refused(refused: tuple[int, Any, Any]) -> None:
    """What can't be applied is a ValueError, and nothing of its entry is applied."""
    fold = fold_of(ROOT)

    each = decode_entry(encode_entry(0, [operation(*refused)])).operations[0]

    with pytest.raises(ValueError):  # noqa: PT011  some messages are msgspec's
        fold.apply([operation(SET, ("d", "a"), packed(5)), each])

    assert fold.encode() == packed(ROOT)


def test_an_operation_needs_a_root() -> None:
    """Before the first value there is nothing to change."""
    with pytest.raises(ValueError, match="first value"):
        Fold().apply([operation(SET, ("a",), packed(1))])


def test_depth_is_no_crash() -> None:
    """A value nested too deeply to be opened is refused."""
    deep = b"\x91" * 100_000 + b"\x90"
    fold = Fold()
    fold.apply([Operation(SET, [], Raw(b"\x91" + deep))])

    with pytest.raises(ValueError, match="deep"):
        fold.apply([operation(SET, (0, 0), packed(1))])


def grown() -> Fold:
    """A state whose containers grew by operations, so that they can be cut."""
    fold = fold_of({"d": {}, "l": [], "s": [], "r": {"field": 1}})
    for number in range(50):
        name = f"{number:02}"
        fold.apply([operation(SET, ("d", name), packed({"inner": [], "n": number}))])
        fold.apply([operation(SPLICE, ("d", name, "inner"), [0, 0, [number] * 10])])
        fold.apply([operation(SPLICE, ("l",), [number, 0, [{"p": number}]])])
        fold.apply([operation(ADD, ("s",), [name])])
    return fold


@pytest.mark.parametrize("piece_bytes", [1, 30, 300, 1 << 20])
def test_pieces_rebuild_the_state(piece_bytes: int) -> None:
    """A checkpoint's operations, applied one at a time, give the same bytes."""
    fold = grown()
    pieces = list(fold.operations(piece_bytes))
    loaded = Fold()

    for each in decode_operations(b"".join(pieces), len(pieces)):
        loaded.apply([each])

    assert loaded.encode() == fold.encode()
    assert (len(pieces) == 1) == (piece_bytes == 1 << 20)


def test_pieces_are_small() -> None:
    """No operation is much larger than a piece, if no single value is."""
    assert max(len(piece) for piece in grown().operations(200)) < 1000


def test_pieces_leave_the_state_alone() -> None:
    """Writing a checkpoint changes nothing."""
    fold = grown()
    before = fold.encode()

    list(fold.operations(10))

    assert fold.encode() == before


def test_values_dont_keep_frames_alive() -> None:
    """A small value is cut loose from the frame that it came in."""
    frame = packed([Operation(SET, ["a"], Raw(packed("x" * 10)))]) + b""
    fold = fold_of({"a": 0})

    fold.apply(decode_operations(frame[1:], 1))

    assert bytes(fold.root["a"]) == packed("x" * 10)
    assert len(bytes(memoryview(fold.root["a"]).obj)) < len(frame)


@settings(max_examples=examples(50))
@given(st.lists(st.binary(max_size=12), max_size=4), st.integers(-1, 7))
def test_random_bytes_never_crash(data: list[bytes], code: int) -> None:
    """Random operations are refused or applied; the state stays encodable."""
    fold = fold_of(ROOT)
    for path in ([], ["d"], ["d", "b", "x"], ["l"], ["s"]):
        for argument in data:
            try:
                fold.apply([Operation(code, list(path), Raw(argument or b"\xc0"))])
            except ValueError:
                continue
    if fold.root is not None:
        fold.encode()
