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
    REQUEST  see `requests_stored`           the last, path (): which request this answers, and how
    SESSION, EXPIRED  see there              in checkpoints

Rules. Every path of an entry addresses the state *before* the entry. So `Tree.resolve` finds all
nodes and decodes all values first, and changes nothing; it refuses whatever `apply` couldn't do.
Operations on a list's elements come before its splices, and splices run from the back: then
positions mean the same whether the operations are applied one by one or at once. `Tree.apply` only
stores what was decoded in nodes that were found: it can't fail. A commit calls these two; recovery
calls them for one entry after the other, with `patch_replay`.

Types along a path come from the declarations, walked from the root; the live value only picks the
member of a union. Keys equal in Python but not in bytes (1, 1.0, True) name what is stored only in
its own bytes: anything else is refused, so that the untyped fold, which compares bytes, agrees.

Errors. What a type or a bound refuses is a `ValidationError` with its path; bytes that no correct
writer makes are a `ValueError`, which whoever reads the file turns into a `CorruptError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from msgspec.structs import force_setattr

from cairndb import codec
from cairndb.codec import (
    ADD,
    BARRIER,
    DELETE,
    DISCARD,
    MERGE,
    REQUEST,
    SET,
    SPLICE,
    Operation,
)
from cairndb.errors import ValidationError
from cairndb.fold import Fold
from cairndb.frame_header import Moment  # noqa: TC001  msgspec resolves it at run time
from cairndb.patch_lanes import lanes_of
from cairndb.patch_resolver import Resolver, hashable
from cairndb.requests_stored import StoredRequests

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cairndb.kinds import Kind

__all__ = [
    "ADD",
    "BARRIER",
    "DELETE",
    "DISCARD",
    "MERGE",
    "REQUEST",
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


class Entry(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, gc=False):
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
        code: SET, DELETE, SPLICE, ADD, DISCARD, MERGE or BARRIER; others come encoded.
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


# What the quick lane can meet; then the general way begins anew.
_MISSING = LookupError, AttributeError
_REFUSED = TypeError, ValueError, RecursionError, ValidationError

# A patch that `Tree.apply` can't fail on: for each operation a function and its arguments, a writer
# of C on a node that was found.
Prepared = list[tuple[Callable[..., Any], tuple[Any, ...]]]


class Tree:
    """The typed state of a database.

    Args:
        kind: of the root.

    Attributes:
        root: what views show; None until the first entry.
        requests: that were answered; a part of the state that no path leads to.
        lanes: see `patch_lanes`.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.root: Any = None
        self.requests = StoredRequests()
        self.lanes = lanes_of(kind)

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
        # The quick lane: values in dicts, or single fields of records in them, which is what most
        # updates change. It takes a quarter of the time that the general way needs to find the
        # places; that one is also to say what is wrong.
        changes: Prepared = []
        try:
            for each in operations:
                path = each.path
                if each.code != SET:
                    if each.code != REQUEST or each is not operations[-1]:
                        break
                    changes.append(self.requests.change(each))
                elif len(path) == 3:
                    first, key, last = path
                    name, key_type, _, fields = self.lanes[first]
                    field, _, decode = fields[last]
                    if type(key) is not key_type:
                        break
                    node = getattr(self.root, name)[key]
                    changes.append((force_setattr, (node, field, decode(each.argument))))
                elif len(path) == 2:
                    first, key = path
                    name, key_type, decode, _ = self.lanes[first]
                    if type(key) is not key_type:
                        break
                    node, value = getattr(self.root, name), decode(each.argument)
                    changes.append((dict.__setitem__, (node, key, value)))
                else:
                    break
            else:
                return changes
        except (*_MISSING, *_REFUSED):
            pass
        return self._resolve(operations)

    def _resolve(self, operations: Sequence[Operation]) -> Prepared:
        resolver = Resolver(self.kind, self.root)
        changes: Prepared = []
        for each in operations:
            try:
                if each.code == SET and not each.path:
                    changes.append((setattr, (self, "root", self.kind.decode(each.argument))))
                elif each.code >= REQUEST and each is operations[-1]:
                    changes.append(self.requests.change(each))
                else:
                    changes.append(resolver.change(each))
            except ValidationError as error:
                raise error.under(tuple(hashable(each.path))) from error.__cause__
        if len(changes) > 1 and any(not each.path for each in operations if each.code == SET):
            raise ValueError("an entry that sets the root has other operations")
        return changes

    def find(self, path: Sequence[Any]) -> tuple[Kind, Any]:
        """The kind of a node, and the node; raises as `resolve`."""
        return Resolver(self.kind, self.root).find(path)

    def apply(self, prepared: Prepared) -> None:
        """Change the state; it can't fail. Nothing else does, but `patch_replay` in its batches.

        Args:
            prepared: by `resolve` on the state as it is now.
        """
        for function, arguments in prepared:
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
        self.root, self.requests = self.kind.decode(fold.encode()), fold.requests
