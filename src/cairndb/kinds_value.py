"""The kinds of value types that have parts: tuple, frozenset, frozen dataclass, frozen Struct.

A value type is immutable through and through: `schema` lets only value types into its parts. So
the state may share it with whoever gave it, and nothing below it is a node: no path leads into it,
and a change is a new value.
"""

from __future__ import annotations

from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import astuple, force_setattr

from cairndb import codec
from cairndb.errors import ValidationError
from cairndb.kinds_base import DEPTH_MAX, NO_STACK, Kind, check_bounds, refuse_depth
from cairndb.kinds_exact import Exact, all_of, each_of
from cairndb.record import copy_struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from msgspec import Raw

    from cairndb.errors import Path

Bounds = tuple[int | None, int | None]


class Field(NamedTuple):
    """One field of a record or a frozen class."""

    name: str
    """The attribute, in Python."""
    encode_name: str
    """The name in bytes and in paths."""
    kind: Kind


class FieldsKind(Kind):
    """A class with named fields, stored as a map of all of them in declared order, tag first.

    Args:
        name: the class as `describe` shows it.
        annotation: the class, or its alias with parameters.
        cls: the class of the instances.
        tag: field and value of a tagged Struct, as the first pair of its map.
    """

    def __init__(self, name: str, annotation: Any, cls: type, tag: dict[str, Any]) -> None:
        super().__init__(name, annotation)
        self.cls = cls
        self.types = (cls,)
        self.tag = tag
        self.fields: dict[str, Field] = {}
        self.by_encode_name: dict[str, Field] = {}
        self.defaults: dict[str, Callable[[], Any]] = {}
        """What makes the default of a field that has one, by its stored name."""
        self._is_asked = False  # `exact` is under way
        self._copies: list[tuple[str, type | None, Callable[[Any, int], Any]]] = []

    def add_field(self, field: Field) -> None:
        """Declare the next field; a kind is made before its fields, which may refer to it."""
        self.fields[field.name] = field
        self.by_encode_name[field.encode_name] = field

    def seal(self, *, guard: bool) -> None:
        """As `Kind.seal` says."""
        super().seal(guard=guard)
        # Bulk loads spend their time here: what is looked up once isn't looked up per record.
        self._copies = [(f.name, f.kind.trivial, f.kind.copy) for f in self.fields.values()]

    def children(self) -> Iterable[Kind]:
        """As `Kind.children` says."""
        return [field.kind for field in self.fields.values()]

    def exact(self) -> Exact | None:
        """As `Kind.exact` says; None of a type that contains itself, whose height has no limit."""
        if self._is_asked:
            return None
        self._is_asked = True
        parts = [field.kind.exact() for field in self.fields.values()]
        self._is_asked = False
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return Exact(
            frozenset({self.cls}),
            each_of(_getter(self.cls, tuple(self.fields)), known),
            1 + max((part.height for part in known), default=0),
            judged=hasattr(self.cls, "__post_init__") or any(part.judged for part in known),
        )

    def prepare(self, value: Any) -> Any:
        """As `Kind.prepare` says."""
        result: dict[str, Any] = dict(self.tag)
        for name, encode_name, kind in self.fields.values():
            part = getattr(value, name)
            result[encode_name] = kind.prepare(part) if kind.has_sets else part
        return result

    def parts(self, data: bytes | Raw) -> Iterator[tuple[Any, Kind, Raw]]:
        """As `Kind.parts` says."""
        raw = codec.open_map(data)
        for field in self.fields.values():
            if field.encode_name in raw:
                yield field.encode_name, field.kind, raw[field.encode_name]

    def copied_fields(self, value: Any, depth: int) -> dict[str, Any]:
        """The fields whose canonical copies are other objects: all others can be shared."""
        if self.fields and depth >= DEPTH_MAX:
            refuse_depth()
        depth += 1
        changed: dict[str, Any] = {}
        name = ""
        try:
            for name, trivial, copy in self._copies:
                part = getattr(value, name)
                if type(part) is not trivial:
                    copied = copy(part, depth)
                    if copied is not part:
                        changed[name] = copied
        except ValidationError as error:
            raise error.under((self.fields[name].encode_name,)) from None
        except RecursionError:
            raise ValidationError(NO_STACK) from None
        return changed


def _getter(cls: type, names: tuple[str, ...]) -> Callable[[Any], Sequence[Any]]:
    """What gives the fields of an instance, in order."""
    if getattr(cls, "__struct_fields__", None) == names:
        return astuple
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: [getattr(value, name) for name in names]


class ValueKind(FieldsKind):
    """A frozen dataclass or a frozen Struct."""

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        if type(value) is not self.cls:
            raise self.wrong(value)
        changed = self.copied_fields(value, depth)
        return self._replaced(value, changed) if changed else value

    def _replaced(self, value: Any, changed: dict[str, Any]) -> Any:
        # Not by the class's __init__ or __post_init__: decoding judges the copy, once.
        if hasattr(self.cls, "__struct_fields__"):
            result = copy_struct(value)
            for name, part in changed.items():
                force_setattr(result, name, part)
            return result
        result = object.__new__(self.cls)
        for name in self.fields:
            object.__setattr__(result, name, changed.get(name, getattr(value, name)))
        return result

    def finish(self, value: Any) -> Any:
        """As `Kind.finish` says."""
        for name, _, kind in self.fields.values():
            if kind.must_finish:
                kind.finish(getattr(value, name))
        return value


class TupleKind(Kind):
    """A tuple with a kind for each item."""

    types = (tuple,)

    def __init__(self, name: str, annotation: Any, items: tuple[Kind, ...]) -> None:
        super().__init__(name, annotation)
        self.items = items
        self.ambiguous = any(item.ambiguous for item in items)
        self.doubtful = any(item.doubtful for item in items)

    def children(self) -> Iterable[Kind]:
        """As `Kind.children` says."""
        return self.items

    def exact(self) -> Exact | None:
        """As `Kind.exact` says."""
        parts = [item.exact() for item in self.items]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return Exact(
            frozenset({tuple}),
            each_of(tuple, known),
            1 + max((part.height for part in known), default=0),
            judged=any(part.judged for part in known),
        )

    def _kinds(self, value: tuple[Any, ...] | list[Any]) -> Iterable[Kind]:
        if len(value) != len(self.items):
            raise ValidationError(f"expected {len(self.items)} items, got {len(value)}")
        return self.items

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        if type(value) is not tuple:
            raise self.wrong(value)
        if value and depth >= DEPTH_MAX:
            refuse_depth()
        kinds = self._kinds(value)
        items: list[Any] = []
        shared = True
        try:
            for kind, item in zip(kinds, value, strict=True):
                copied = kind.copy(item, depth + 1)
                shared = shared and copied is item
                items.append(copied)
        except ValidationError as error:
            raise error.under((len(items),)) from None
        except RecursionError:
            raise ValidationError(NO_STACK) from None
        return value if shared else tuple(items)

    def prepare(self, value: Any) -> Any:
        """As `Kind.prepare` says."""
        return [
            kind.prepare(item) if kind.has_sets else item
            for kind, item in zip(self._kinds(value), value, strict=True)
        ]

    def finish(self, value: Any) -> Any:
        """As `Kind.finish` says."""
        for kind, item in zip(self._kinds(value), value, strict=True):
            if kind.must_finish:
                kind.finish(item)
        return value

    def parts(self, data: bytes | Raw) -> Iterator[tuple[Any, Kind, Raw]]:
        """As `Kind.parts` says."""
        raw = codec.open_list(data)
        yield from zip(range(len(raw)), self._kinds(raw), raw, strict=True)


class VarTupleKind(TupleKind):
    """A tuple of any length, with one kind for all items."""

    def __init__(self, name: str, annotation: Any, item: Kind, bounds: Bounds) -> None:
        super().__init__(name, annotation, (item,))
        self.bounds = bounds

    def exact(self) -> Exact | None:
        """As `Kind.exact` says."""
        item = self.items[0].exact()
        if item is None:
            return None
        judged = self.is_judged or item.judged
        return Exact(frozenset({tuple}), all_of(item), 1 + item.height, judged=judged)

    def _kinds(self, value: tuple[Any, ...] | list[Any]) -> Iterable[Kind]:
        return self.items * len(value)


class FrozenSetKind(Kind):
    """A frozenset: its elements are of key types, so that none contains a set."""

    types: tuple[type, ...] = (frozenset,)
    is_set = True

    def __init__(self, name: str, annotation: Any, item: Kind, bounds: Bounds) -> None:
        super().__init__(name, annotation)
        self.item = item
        self.bounds = bounds

    def children(self) -> Iterable[Kind]:
        """As `Kind.children` says."""
        return (self.item,)

    def finishes(self, *, guard: bool) -> bool:
        """As `Kind.finishes` says."""
        del guard
        return self.item.doubtful

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        if type(value) is not frozenset:
            raise self.wrong(value)
        elements = list(value)
        copies = self.copied_elements(elements, depth)
        return value if all(map(is_, elements, copies)) else frozenset(copies)

    def copied_elements(self, elements: list[Any], depth: int) -> list[Any]:
        """The canonical copies of a set's elements; as many, in another set, as there were."""
        if elements and depth >= DEPTH_MAX:
            refuse_depth()
        copy = self.item.copy
        copies: list[Any] = []
        try:
            for element in elements:
                copies.append(copy(element, depth + 1))  # noqa: PERF401  len(copies) is the place
        except ValidationError as error:
            refused = elements[len(copies)]
            raise ValidationError(f"element {refused!r:.100}: {error.reason}") from None
        except RecursionError:
            raise ValidationError(NO_STACK) from None
        if len(set(copies)) != len(copies):
            raise ValidationError("two elements of this set are equal once they are stored")
        return copies

    def prepare(self, value: Any) -> Any:
        """As `Kind.prepare` says."""
        return codec.sorted_elements(value)

    def finish(self, value: Any) -> Any:
        """As `Kind.finish` says."""
        if self.item.doubtful:
            self.copied_elements(list(value), 0)
        return value

    def check_length(self, length: int, path: Path) -> None:
        """As `Kind.check_length` says."""
        check_bounds(self.name, self.bounds, length, path)
