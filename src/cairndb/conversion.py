"""A stored state becomes one of the declared schema: a fold of the one, a tree of the other.

The fold is converted where it is, part by part, and cut into the operations of a checkpoint; it is
given up before the first of them is decoded. So beside the tree there are only operations, encoded.
What migrations leave isn't canonical: each of their operations is judged by the declared types, and
encoded again, before the tree takes it.

That needs operations that stand for themselves. Where a migration has made a large value of many
small ones, where a part of a container is less than a min_length asks for, or a list has become a
tuple, the whole state is decoded at once; so are errors found again there, with their exact paths.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from cairndb import codec
from cairndb.codec import SET, SPLICE
from cairndb.errors import SchemaError, ValidationError, pointer
from cairndb.fold import PIECE_BYTES, Fold
from cairndb.fold_nodes import encode_node
from cairndb.kinds import DictKind, ListKind, SetKind
from cairndb.patch import decode_operations, operation
from cairndb.schema_convert import Failure, call
from cairndb.schema_migrate import lost

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from cairndb.kinds import Kind
    from cairndb.patch import Operation, Tree
    from cairndb.schema_change import Change
    from cairndb.schema_convert import Plan
    from cairndb.schema_migrate import Step

_LARGE = 2 * PIECE_BYTES
"""What `Fold.pieces` makes larger than this it couldn't cut."""


def convert(fold: Fold, change: Change, tree: Tree, step: Callable[[int], None]) -> list[bytes]:
    """Bring the state of a fold, converted, into a tree.

    Args:
        fold: the whole stored state; it is used up.
        change: one that rewrites.
        tree: of the declared types, without a root.
        step: told how many bytes of the new state have been loaded since it was told last.

    Returns:
        The operations of the new root, for a checkpoint.

    Raises:
        SchemaError: a migration failed, or leaves what isn't declared.
        ValueError: the stored state isn't of the stored schema.
    """
    for migration in change.steps:
        _run(migration, fold)
    if not change.steps:
        try:
            fold.root = _converted(change.plan, fold.root)
        except Failure as failure:
            raise ValueError(f"{pointer(failure.path)}: {failure.reason}") from failure
    pieces = list(fold.pieces())
    fold.root = None
    if all(len(piece) <= _LARGE for piece in pieces):
        judged = (_canonical(tree, piece, change.drop) for piece in pieces)
        with contextlib.suppress(ValueError, ValidationError):
            return _loaded(tree, judged if change.steps else pieces, step)
        tree.root = None
    state = _joined(pieces)
    if change.steps:
        state = _judged(state, tree.kind, change.drop)
    return _loaded(tree, Fold.of(state, tree.kind).pieces(), step)


def _run(step: Step, fold: Fold) -> None:
    try:
        if step.function is None:
            fold.root = _converted(step.plan, fold.root)
        else:
            state = Raw(fold.encode())
            fold.root = None
            fold.root = Raw(call(step.function, state))
    except Failure as failure:
        raise SchemaError(
            f"the migration from version {step.version} failed at {pointer(failure.path)}: "
            f"{failure.reason}. Nothing was changed."
        ) from failure.__cause__


def _converted(plan: Plan, node: Any) -> Any:
    """An open node or encoded value of a fold under a plan; nodes are changed in place."""
    if type(node) is Raw:
        return plan.convert(node)
    plan = plan.choose(node)
    if not plan.changes:
        return node
    if not isinstance(node, dict | list):  # a set: it has no parts that change
        return Raw(encode_node(node))
    parts = plan.rebuild(node, _converted)
    if isinstance(node, dict) and parts is not node:
        node.clear()
        node.update(parts)
    return node if plan.function is None else plan.finish(Raw(encode_node(node)))


def _loaded(tree: Tree, pieces: Iterable[bytes], step: Callable[[int], None]) -> list[bytes]:
    """Load operations into a tree, each made when the tree has those before it."""
    taken: list[bytes] = []

    def decoded() -> Iterator[Operation]:
        for piece in pieces:
            taken.append(piece)
            yield from decode_operations(piece, 1)
            step(len(piece))

    tree.load(decoded())
    return taken


def _canonical(tree: Tree, piece: bytes, drop: Collection[str]) -> bytes:
    """An operation as the declared types write it.

    Raises:
        SchemaError: a part of it would get lost.
        ValidationError, ValueError: it can't be judged by itself, or is refused.
    """
    (each,) = decode_operations(piece, 1)
    if each.code == SET:
        argument = Raw(tree.kind.encode(tree.kind.decode(each.argument)))
        _check_lost(tree.kind, each.argument, argument, drop, ())
        return codec.encode((SET, (), argument))
    kind, _ = tree.find(each.path)
    if not isinstance(kind, DictKind | ListKind | SetKind):
        raise ValueError(f"{kind.name} doesn't come in pieces")  # noqa: TRY004  see `convert`
    start, given = codec.NIL, each.argument
    if each.code == SPLICE:
        start, _, given = codec.open_list(each.argument)
    argument = Raw(kind.encode(kind.decode_items(given)))
    _check_lost(kind, given, argument, drop, tuple(each.path))
    filling = [start, 0, argument] if each.code == SPLICE else argument
    return codec.encode(operation(each.code, each.path, filling))


def _joined(pieces: list[bytes]) -> bytes:
    """The bytes of the whole state; the operations are used up."""
    fold = Fold()
    for piece in pieces:
        fold.apply(decode_operations(piece, 1))
    pieces.clear()
    return fold.encode()


def _judged(state: bytes, kind: Kind, drop: Collection[str]) -> bytes:
    """The canonical bytes of what migrations leave."""
    try:
        canonical = kind.encode(kind.decode(state))
    except ValidationError as error:
        raise SchemaError(
            f"what the migrations leave isn't what is declared: {error}. Nothing was changed."
        ) from error
    _check_lost(kind, Raw(state), Raw(canonical), drop, ())
    return canonical


def _check_lost(
    kind: Kind, given: Raw, taken: Raw, drop: Collection[str], path: tuple[Any, ...]
) -> None:
    for gone in lost(kind, given, taken, drop, path):
        raise SchemaError(
            f"the migrations leave {pointer(gone)}, and no field takes it: delete it there, "
            "declare it, or let it go with drop. Nothing was changed."
        )
