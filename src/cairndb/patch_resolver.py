"""Where an operation leads: its node in the state as it is, and what is to be done there.

The general way of `patch.Tree.resolve`; the rules are those of `patch`. Nothing is changed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import force_setattr

from cairndb import codec
from cairndb.codec import ADD, BARRIER, DELETE, DISCARD, MERGE, SET, SPLICE
from cairndb.errors import ValidationError, pointer
from cairndb.kinds import DictKind, Kind, ListKind, RecordKind, SetKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from msgspec import Raw

    from cairndb.codec import Operation


def hashable(path: Iterable[Any]) -> list[Any]:
    """The steps of a path, for messages: a key that is an array as the tuple it stands for."""
    return [tuple(step) if isinstance(step, list) else step for step in path]


class Resolver:
    """One `Tree.resolve`: finds nodes in the state as it is, decodes what comes there.

    Args:
        kind: of the root.
        root: of the state.
    """

    def __init__(self, kind: Kind, root: Any) -> None:
        self.kind = kind
        self.root = root
        # By the id of a list that has been spliced: where the earliest of its splices begins.
        self.spliced: dict[int, int] = {}

    def change(self, each: Operation) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function that applies an operation, and its arguments; not a SET of the root."""
        code, path, argument = each.code, each.path, each.argument
        codec.check_depth(path)
        if code == SET and path:
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
        value = self.root
        if value is None:
            raise ValueError("an operation before the first value of the root")
        kind = self.kind
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
    return pointer(tuple(hashable(path)))[:200]
