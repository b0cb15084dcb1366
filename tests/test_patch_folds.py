"""The typed and the untyped state, changed by the same random entries, are the same bytes."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Raw

from cairndb.fold import Fold
from cairndb.kinds import DictKind, Kind, ListKind, RecordKind, SetKind, stored_key
from cairndb.patch import (
    ADD,
    DELETE,
    DISCARD,
    MERGE,
    REQUEST,
    SET,
    SPLICE,
    Operation,
    Tree,
    decode_entry,
    decode_operations,
    encode_entry,
    operation,
)
from cairndb.record import Record
from cairndb.schema import compile_root
from effort import examples
from strategies import keys_of, roots, values_of


def nodes(kind: Kind, value: Any, path: tuple[Any, ...]) -> list[tuple[Kind, Any, tuple[Any, ...]]]:
    """Every node of a state, with its kind and the steps to it."""
    kind = kind.member(value)
    found = [(kind, value, path)]
    if isinstance(kind, RecordKind):
        for field in kind.fields.values():
            part = getattr(value, field.name)
            found += nodes(field.kind, part, (*path, field.encode_name))
    elif isinstance(kind, DictKind):
        for key, item in value.items():
            found += nodes(kind.value, item, (*path, Raw(kind.key.encode(key))))
    elif isinstance(kind, ListKind):
        for position, item in enumerate(value):
            found += nodes(kind.item, item, (*path, position))
    elif not isinstance(kind, SetKind):
        return []
    return found


def written(data: st.DataObject, kind: Kind) -> Raw:
    """The bytes of a random value of a kind."""
    return Raw(kind.encode(kind.copy(data.draw(values_of(kind.annotation)), 0)))


def a_key(data: st.DataObject, kind: Kind, container: Any) -> Any:
    """A random key, as a writer names it: by the stored object if there is an equal one."""
    fresh = keys_of(kind.annotation)
    drawn = st.one_of(st.sampled_from(sorted(container, key=repr)), fresh) if container else fresh
    key = kind.copy(data.draw(drawn), 0)
    return stored_key(container, key, key)


def random_operation(data: st.DataObject, tree: Tree) -> Operation:
    """One operation that a correct writer might make."""
    kind, node, path = data.draw(st.sampled_from(nodes(tree.kind, tree.root, ())))
    if isinstance(kind, RecordKind):
        field = data.draw(st.sampled_from(list(kind.fields.values())))
        return operation(SET, (*path, field.encode_name), written(data, field.kind))
    if isinstance(kind, DictKind):
        return random_dict_operation(data, kind, node, path)
    if isinstance(kind, ListKind):
        start = data.draw(st.integers(0, len(node)))
        if start < len(node) and data.draw(st.booleans()):
            return operation(SET, (*path, start), written(data, kind.item))
        count = data.draw(st.integers(0, len(node) - start))
        return operation(SPLICE, path, [start, count, [written(data, kind.item)]])
    assert isinstance(kind, SetKind)
    code = data.draw(st.sampled_from([ADD, DISCARD]))
    return operation(code, path, [Raw(kind.item.encode(a_key(data, kind.item, node)))])


def random_dict_operation(
    data: st.DataObject, kind: DictKind, node: Any, path: tuple[Any, ...]
) -> Operation:
    """DELETE, MERGE or SET."""
    key = a_key(data, kind.key, node)
    step = Raw(kind.key.encode(key))
    if key in node and data.draw(st.booleans()):
        return operation(DELETE, (*path, step))
    if data.draw(st.booleans()):
        return operation(MERGE, path, {kind.key.decode(step): written(data, kind.value)})
    return operation(SET, (*path, step), written(data, kind.value))


def some_request(data: st.DataObject) -> list[Operation]:
    """The request that an entry answers, if it does; it may be one that was answered before."""
    if data.draw(st.booleans()):
        return []
    sequence = data.draw(st.integers(0, 3))
    argument = [1, data.draw(st.integers(0, 2)), sequence, data.draw(st.integers(0, sequence)), b""]
    return [operation(REQUEST, (), argument)]


RANDOM = settings(suppress_health_check=list(HealthCheck), max_examples=examples(8))


@RANDOM
@given(st.data())
def test_typed_and_untyped_folds_agree(data: st.DataObject) -> None:
    """After every entry both folds have the same bytes and the same answered requests.

    Or both have refused it, and didn't change.
    """
    check_folds(data)


@pytest.mark.slow
@settings(RANDOM, max_examples=examples(300))
@given(st.data())
def test_typed_and_untyped_folds_agree_longer(data: st.DataObject) -> None:
    """The same, for many more random types."""
    check_folds(data)


def check_folds(data: st.DataObject) -> None:
    """Apply random entries to a random type's state, typed and untyped."""
    root_type = data.draw(roots())
    tree, fold = Tree(compile_root(root_type, guard=data.draw(st.booleans()))), Fold()
    entries = [[operation(SET, (), written(data, tree.kind))]]
    for _ in range(8):
        if not entries:
            count = data.draw(st.integers(1, 3))
            made = [random_operation(data, tree) for _ in range(count)]
            entries.append(made + some_request(data))
        operations = decode_entry(encode_entry(0, entries.pop())).operations
        try:
            tree.apply(tree.resolve(operations))
        except ValueError:
            with pytest.raises(ValueError):  # noqa: PT011  not the same message
                fold.apply(operations)
        else:
            fold.apply(operations)
        state = fold.encode()
        assert tree.kind.encode(tree.root) == state
        assert list(tree.requests.operations()) == list(fold.requests.operations())
        assert tree.kind.encode(tree.kind.decode(state)) == state
    check_pieces(tree, fold, data.draw(st.sampled_from([1, 20, 200, 1 << 20])))


def check_pieces(tree: Tree, fold: Fold, piece_bytes: int) -> None:
    """A checkpoint in pieces gives the state back, typed and untyped."""
    written_operations = list(fold.operations(piece_bytes))
    operations = decode_operations(b"".join(written_operations), len(written_operations))
    loaded, folded = Tree(tree.kind), Fold()
    loaded.load(operations)
    for each in operations:
        folded.apply([each])
    assert tree.kind.encode(loaded.root) == fold.encode()
    assert folded.encode() == fold.encode()
    expected = list(fold.requests.operations())
    assert list(loaded.requests.operations()) == list(folded.requests.operations()) == expected


def test_checkpoint_meets_a_min_length() -> None:
    """A container cut into pieces below its min_length is loaded whole."""

    class Wide(Record):
        rows: list[Annotated[list[int], Meta(min_length=3)]] = []

    kind = compile_root(Wide, guard=True)
    tree, fold = Tree(kind), Fold()
    for operations in (
        [operation(SET, (), kind.encode(Wide()))],
        [operation(SPLICE, ("rows",), [0, 0, [[1, 2, 3]]])],
        [operation(SPLICE, ("rows", 0), [3, 0, [4, 5]])],
    ):
        tree.apply(tree.resolve(operations))
        fold.apply(operations)

    check_pieces(tree, fold, 1)
