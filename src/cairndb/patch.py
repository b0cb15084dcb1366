"""Entries and operations, and `Tree`, the typed state: the one door through which it changes.

    entry     = [time, [operation, ...]]  or  [time, [operation, ...], call]
    call      = [name, args, kwargs]
    operation = [code, path, argument]

    SET      the value                       path () is the root; last step a field, key or position
    DELETE   nil                             last step is the key of a dict
    SPLICE   [start, delete_count, values]   path names the list
    ADD      [element, ...]                  path names the set
    DISCARD  [element, ...]                  path names the set
    MERGE    map                             path names the dict: many keys, as SET would
    BARRIER  nonce                           alone, path (): the state is that of the checkpoint

Rules. Every path of an entry addresses the state *before* the entry. So `Tree.resolve` finds all
nodes and decodes all values first, and changes nothing; it refuses whatever `apply` couldn't do.
Operations on a list's elements come before its splices, and splices run from the back: then
positions mean the same whether the operations are applied one by one or at once. `Tree.apply` only
stores what was decoded in nodes that were found: it can't fail. Commit and recovery call these two.

Types along a path come from the declarations, walked from the root; the live value only picks the
member of a union. Keys equal in Python but not in bytes (1, 1.0, True) name what is stored only in
its own bytes: anything else is refused, so that the untyped fold, which compares bytes, agrees.

Errors. What a type or a bound refuses is a `ValidationError` with its path; bytes that no correct
writer makes are a `ValueError`, which whoever reads the file turns into a `CorruptError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw
from msgspec.structs import force_setattr

from cairndb import codec
from cairndb.codec import ADD, BARRIER, DELETE, DISCARD, MERGE, SET, SPLICE, Operation
from cairndb.errors import ValidationError, pointer
from cairndb.fold import Fold
from cairndb.frame import Moment  # noqa: TC001  msgspec resolves it at run time
from cairndb.kinds import DictKind, Kind, ListKind, RecordKind, SetKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "ADD",
    "BARRIER",
    "DELETE",
    "DISCARD",
    "MERGE",
    "SET",
    "SPLICE",
    "Call",
    "Entry",
    "Operation",
    "Prepared",
    "Tree",
    "decode_entries",
    "decode_entry",
    "decode_operations",
    "encode_entry",
    "operation",
]


class Call(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """What an update was made by, if its caller keeps that.

    Args:
        name: of the method.
        args: its positional arguments, as builtins.
        kwargs: its named arguments, as builtins.
    """

    name: str
    args: list[Any]
    kwargs: dict[str, Any]


class Entry(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """One committed update. Its LSN is its place in the log.

    Args:
        time: microseconds since 1970 in UTC, never before the previous entry's.
        operations: the net effect, in the order in which they are applied.
        call: what made it.
    """

    time: Moment
    operations: list[Operation]
    call: Call | None = None


_ENTRY = msgspec.msgpack.Decoder(Entry)
_ENTRIES = msgspec.msgpack.Decoder(list[Entry])
_OPERATIONS = msgspec.msgpack.Decoder(list[Operation])


def operation(code: int, path: Sequence[Any], argument: Any = codec.NIL) -> Operation:
    """An operation as a writer makes it.

    Args:
        code: SET, DELETE, SPLICE, ADD, DISCARD, MERGE or BARRIER.
        path: steps that bytes express (None, bool, int, float, str, bytes), or Raws of other keys.
        argument: encoded (bytes or Raw), or a list or dict of such parts.
    """
    if isinstance(argument, bytes):
        argument = Raw(argument)
    elif not isinstance(argument, Raw):
        argument = Raw(codec.encode(argument))
    return Operation(code, list(path), argument)


def encode_entry(
    time: int,
    operations: Sequence[Operation | tuple[int, Sequence[Any], Any]],
    call: Call | None = None,
) -> bytes:
    """The bytes of an entry.

    Args:
        time: microseconds since 1970 in UTC.
        operations: Operations, or (code, path, argument) whose parts are Raws or builtins.
        call: what made it, if that is kept.

    Raises:
        ValidationError: the call's arguments have a type that can't be stored.
    """
    if call is None:
        return codec.encode((time, operations))
    try:
        return codec.encode((time, operations, call))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValidationError(f"the arguments of {call.name} can't be kept: {error}") from error


def decode_entry(data: bytes | Raw) -> Entry:
    """An entry; its arguments stay encoded. Raises ValueError for what isn't one."""
    try:
        return _ENTRY.decode(data)
    except RecursionError:
        raise ValueError("nested too deeply to be an entry") from None


def decode_entries(payload: bytes, count: int) -> list[Entry]:
    """The entries of a frame. Raises ValueError for what isn't exactly `count` of them."""
    try:
        return _ENTRIES.decode(codec.as_array(payload, count))
    except RecursionError:
        raise ValueError("nested too deeply to be entries") from None


def decode_operations(payload: bytes, count: int) -> list[Operation]:
    """The operations of a checkpoint's frame. Raises ValueError, as `decode_entries`."""
    try:
        return _OPERATIONS.decode(codec.as_array(payload, count))
    except RecursionError:
        raise ValueError("nested too deeply to be operations") from None


class Prepared(NamedTuple):
    """A patch that `Tree.apply` can't fail on.

    Args:
        operations: what was resolved.
        changes: for each a function and its arguments: a writer of C on a node that was found.
    """

    operations: Sequence[Operation]
    changes: list[tuple[Callable[..., Any], tuple[Any, ...]]]


class Tree:
    """The typed state of a database.

    Args:
        kind: of the root.

    Attributes:
        root: what views show; None until the first entry.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.root: Any = None

    def resolve(self, operations: Sequence[Operation]) -> Prepared:
        """Decode and check all of a patch; nothing is changed.

        Args:
            operations: of one entry.

        Returns:
            What `apply` takes. It is good until the next `apply`.

        Raises:
            ValidationError: a value isn't what is declared for its place; with its path.
            ValueError: no correct writer made this.
        """
        resolver = _Resolver(self)
        changes = []
        for each in operations:
            try:
                changes.append(resolver.change(each))
            except ValidationError as error:
                raise error.under(tuple(_hashable(each.path))) from error.__cause__
        if len(changes) > 1 and any(not each.path for each in operations if each.code == SET):
            raise ValueError("an entry that sets the root has other operations")
        return Prepared(operations, changes)

    def find(self, path: Sequence[Any]) -> tuple[Kind, Any]:
        """The kind of a node, and the node; raises as `resolve`."""
        return _Resolver(self).find(path)

    def apply(self, prepared: Prepared) -> None:
        """Change the state: the only place that does. It can't fail.

        Args:
            prepared: by `resolve` on the state as it is now.
        """
        for function, arguments in prepared.changes:
            function(*arguments)

    def load(self, operations: Iterable[Operation]) -> None:
        """Make the state from a checkpoint: each operation addresses what is there by then.

        Raises:
            ValidationError, ValueError: as `resolve`.
        """
        waiting = iter(operations)
        for first in waiting:
            try:
                self.apply(self.resolve((first,)))
            except ValidationError:
                if first.path:
                    raise
                self._load_untyped(first, waiting)

    def _load_untyped(self, first: Operation, rest: Iterable[Operation]) -> None:
        # A checkpoint brings big containers in pieces, so that its first operation may have less
        # in one than a min_length asks for: then it's judged when it is whole.
        fold = Fold()
        fold.apply((first,))
        for each in rest:
            fold.apply((each,))
        self.root = self.kind.decode(fold.encode())


def _hashable(path: Iterable[Any]) -> list[Any]:
    return [tuple(step) if isinstance(step, list) else step for step in path]


class _Resolver:
    """One `Tree.resolve`: finds nodes in the state as it is, decodes what comes there."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        # By the id of a list that has been spliced: where the earliest of its splices begins.
        self.spliced: dict[int, int] = {}

    def change(self, each: Operation) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function that applies an operation, and its arguments."""
        code, path, argument = each.code, each.path, each.argument
        codec.check_depth(path)
        if code == SET:
            if not path:
                return setattr, (self.tree, "root", self.tree.kind.decode(argument))
            kind, node = self.find(path[:-1])
            return self._set(kind, node, path[-1], argument)
        if code == DELETE and path:
            kind, node = self.find(path[:-1])
            if type(kind) is not DictKind or argument != codec.NIL:
                raise ValueError(f"a DELETE at {_shown(path)}, which isn't a key of a dict")
            return dict.pop, (node, self._key(kind, node, path[-1], exists=True), None)
        if code == BARRIER:
            raise codec.barrier_error()
        kind, node = self.find(path)
        if code == SPLICE and type(kind) is ListKind:
            return self._splice(kind, node, argument)
        if code == MERGE and type(kind) is DictKind:
            return self._merge(kind, node, argument)
        if code in {ADD, DISCARD} and type(kind) is SetKind:
            writer: Any = set.update if code == ADD else set.difference_update
            return writer, (node, self._elements(kind, node, argument))
        raise ValueError(f"operation {code} at {_shown(path)}, which is {kind.name}")

    def find(self, path: Sequence[Any]) -> tuple[Kind, Any]:
        """The node at a path, and its kind."""
        value = self.tree.root
        if value is None:
            raise ValueError("an operation before the first value of the root")
        kind = self.tree.kind
        for step in path:
            if type(kind) is RecordKind:
                field = kind.by_encode_name.get(step) if type(step) is str else None
                if field is None:
                    raise ValueError(f"{_shown(path)}: {kind.name} has no field {step!r:.100}")
                kind, value = field.kind, getattr(value, field.name)
            elif type(kind) is DictKind:
                key = self._key(kind, value, step, exists=True)
                kind, value = kind.value, value[key]
            elif type(kind) is ListKind:
                kind, value = kind.item, value[self._position(value, step)]
            else:
                raise ValueError(f"{_shown(path)} leads through a value, {kind.name}")
            kind = kind.member(value)
        return kind, value

    def _set(
        self, kind: Kind, node: Any, step: Any, argument: Raw
    ) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if type(kind) is RecordKind:
            field = kind.by_encode_name.get(step) if type(step) is str else None
            if field is None:
                raise ValueError(f"{kind.name} has no field {step!r:.100}")
            return force_setattr, (node, field.name, field.kind.decode(argument))
        if type(kind) is DictKind:
            key = self._key(kind, node, step, exists=False)
            return dict.__setitem__, (node, key, kind.value.decode(argument))
        if type(kind) is ListKind:
            position = self._position(node, step)
            return list.__setitem__, (node, position, kind.item.decode(argument))
        raise ValueError(f"a SET of {step!r:.100} in {kind.name}, which has no parts")

    def _key(self, kind: DictKind, node: dict[Any, Any], step: Any, *, exists: bool) -> Any:
        key = kind.key.key_of(step)
        if kind.key.ambiguous:
            self._check_stored(kind.key, node, key)
        if exists and key not in node:
            raise ValueError(f"there is no key {key!r:.100} in this {kind.name}")
        return key

    def _check_stored(self, kind: Kind, container: Any, key: Any) -> None:
        stored = codec.stored_key(container, key, key)
        if stored is not key and kind.encode(stored) != kind.encode(key):
            raise ValueError(f"{key!r:.100} is stored here as {stored!r:.100}")

    def _position(self, node: list[Any], step: Any) -> int:
        if type(step) is not int or not 0 <= step < len(node):
            raise ValueError(f"{step!r:.100} isn't a position in a list of {len(node)}")
        if id(node) in self.spliced:
            raise ValueError("an operation on a list's element after its splice")
        return step

    def _splice(
        self, kind: ListKind, node: list[Any], argument: Raw
    ) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        limit = self.spliced.get(id(node), len(node))
        start, count, encoded = codec.open_splice(argument, limit)
        self.spliced[id(node)] = start
        try:
            values = kind.decode_items(encoded)
        except ValidationError as error:
            position, *deeper = error.path or (0,)
            raise ValidationError(error.reason, (start + int(str(position)), *deeper)) from error
        return list.__setitem__, (node, slice(start, start + count), values)

    def _merge(
        self, kind: DictKind, node: dict[Any, Any], argument: Raw
    ) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        items = kind.decode_items(argument)
        if len(items) != codec.header_count(argument):
            raise ValueError("a MERGE has a key twice")
        if kind.key.ambiguous:
            for key in items:
                self._check_stored(kind.key, node, key)
        return dict.update, (node, items)

    def _elements(self, kind: SetKind, node: set[Any], argument: Raw) -> list[Any]:
        elements: list[Any] = kind.decode_items(argument)
        if len(set(elements)) != len(elements):
            raise ValueError("an ADD or DISCARD has an element twice")
        if kind.item.ambiguous:
            for element in elements:
                self._check_stored(kind.item, node, element)
        return elements


def _shown(path: Sequence[Any]) -> str:
    return pointer(tuple(_hashable(path)))[:200]
