"""The kinds of nodes: record, dict, list and set.

What is particular to nodes: paths lead through them, `patch` changes them in place, and guarded
ones refuse everybody else. A container can also be decoded in pieces (`decode_items`): what a
MERGE, SPLICE or ADD brings, whose lengths are no lengths of the container.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import chain, islice, repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import force_setattr

from cairndb import codec
from cairndb.collector import MUCH_BYTES, paused
from cairndb.errors import ValidationError
from cairndb.kinds_base import DEPTH_MAX, NO_STACK, Kind, check_bounds, refuse_depth
from cairndb.kinds_exact import Exact, all_of, packer
from cairndb.kinds_scalar import StrKind
from cairndb.kinds_value import Bounds, FieldsKind, FrozenSetKind
from cairndb.record import (
    GuardedDict,
    GuardedList,
    GuardedSet,
    copy_struct,
    guarded_dict,
    guarded_each,
    guarded_list,
    guarded_set,
    unwrap,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from msgspec import Raw

    from cairndb.errors import Path


class RecordKind(FieldsKind):
    """A Record class."""

    is_node = True
    draft_class: type | None = None
    """A slot for the draft layer: the generated class of this kind's drafts."""

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        if type(value) is not self.cls:
            value = unwrap(value)
            if type(value) is not self.cls:
                raise self.wrong(value)
        changed = self.copied_fields(value, depth)
        result = copy_struct(value)
        for name, part in changed.items():
            force_setattr(result, name, part)
        return result

    def finish(self, value: Any) -> Any:
        """As `Kind.finish` says."""
        for name, _, kind in self.fields.values():
            if kind.must_finish:
                part = getattr(value, name)
                finished = kind.finish(part)
                if finished is not part:
                    force_setattr(value, name, finished)
        return value

    def finish_all(self, values: list[Any]) -> list[Any]:
        """As `Kind.finish_all` says."""
        for name, _, kind in self.fields.values():
            if kind.must_finish:
                parts = kind.finish_each(map(attrgetter(name), values))
                deque(map(force_setattr, values, repeat(name), parts), maxlen=0)
        return values


class ContainerKind(Kind):
    """A dict, list or set.

    Args:
        name: the type as messages name it.
        annotation: with its bounds.
        items_annotation: without bounds, of what a piece of it is decoded as.
        bounds: min_length and max_length.
    """

    is_node = True
    guard = False
    guarded_each: Callable[[Iterable[Any]], Iterator[Any]]

    def __init__(self, name: str, annotation: Any, items_annotation: Any, bounds: Bounds) -> None:
        super().__init__(name, annotation)
        self.bounds = bounds
        self.is_bounded = bounds != (None, None)
        self._items_annotation = items_annotation
        self._items_decoder: msgspec.msgpack.Decoder[Any] | None = None

    def seal(self, *, guard: bool) -> None:
        """As `Kind.seal` says."""
        super().seal(guard=guard)
        self.guard = guard

    def finishes(self, *, guard: bool) -> bool:
        """As `Kind.finishes` says."""
        return guard

    def unwrapped(self, value: Any) -> Any:
        """The plain value of what may be a draft; refuses what isn't exactly of the type."""
        value = unwrap(value)
        if type(value) in self.types:
            return value
        builtin = self.types[0]
        hint = f": write {builtin.__name__}(value)" if isinstance(value, builtin) else ""
        raise self.wrong(value, hint)

    def decode_items(self, data: bytes | Raw) -> Any:
        """A piece of a container: a dict, or a list (of a set too), typed, without its bounds.

        Raises:
            ValidationError: the bytes aren't items of this container.
        """
        try:
            decoder = self._items_decoder
            if decoder is None:
                decoder = msgspec.msgpack.Decoder(self._items_annotation)
                self._items_decoder = decoder
            if len(memoryview(data)) < MUCH_BYTES:
                return self.finish_items(decoder.decode(data))
            with paused():
                return self.finish_items(decoder.decode(data))
        except (ValueError, TypeError, ValidationError) as error:
            raise self.refusal(data, error) from error
        except RecursionError:
            raise ValidationError(NO_STACK) from None

    def finish_items(self, items: Any) -> Any:
        """Finish every item, in place."""
        raise NotImplementedError

    def finish_all_items(self, values: list[Any]) -> list[Any]:
        """Finish every item of many containers, in place."""
        return list(map(self.finish_items, values))

    def finish_all(self, values: list[Any]) -> list[Any]:
        """As `Kind.finish_all` says."""
        return list(self.finish_each(iter(values)))

    def finish_each(self, values: Iterator[Any]) -> Iterable[Any]:
        """As `Kind.finish_each` says."""
        if self.finishes(guard=False) or any(each.must_finish for each in self.children()):
            waiting = deque(self.finish_all_items(list(values)))
            values = map(deque.popleft, repeat(waiting, len(waiting)))
        return self.guarded_each(values) if self.guard else values

    def check_length(self, length: int, path: Path) -> None:
        """As `Kind.check_length` says."""
        check_bounds(self.name, self.bounds, length, path)


def _pack_nothing(_value: Any) -> None:
    """Leave every value to `copy`."""


_DICTS = frozenset({dict, GuardedDict})
_LISTS = frozenset({list, GuardedList})
_PLAIN_KEYS = (frozenset({str}), frozenset({int}), frozenset({bytes}))


class DictKind(ContainerKind):
    """A dict."""

    types = (dict, GuardedDict)
    guarded_each = staticmethod(partial(guarded_each, GuardedDict, dict.__ior__))

    def __init__(self, name: str, annotation: Any, key: Kind, value: Kind, bounds: Bounds) -> None:
        items: Any = dict[key.annotation, value.annotation]  # type: ignore[name-defined]  # at run time
        super().__init__(name, annotation, items, bounds)
        self.key = key
        self.value = value
        self.has_plain_keys = isinstance(key, StrKind)  # whatever is ASCII is one
        # The bytes of a value that can be stored just as it is; for dicts no deeper than this.
        self.pack: Callable[[Any], Raw | None] = _pack_nothing
        self.pack_depth = -1

    def children(self) -> Iterable[Kind]:
        """As `Kind.children` says."""
        return (self.key, self.value)

    def seal(self, *, guard: bool) -> None:
        """As `Kind.seal` says."""
        super().seal(guard=guard)
        exact = self.value.exact() if self.value.is_node else None
        if exact is not None:
            self.pack = packer(exact, self.value.decode)
            self.pack_depth = DEPTH_MAX - 1 - exact.height

    def exact(self) -> Exact | None:
        """As `Kind.exact` says; keys are of one type, so that those that are equal are the same."""
        key, value = self.key.exact(), self.value.exact()
        if key is None or key.inner is not None or key.types not in _PLAIN_KEYS or value is None:
            return None
        keys, values = key.types.issuperset, all_of(value)
        return Exact(
            _DICTS,
            lambda items: keys(map(type, items)) and values(items.values()),
            1 + value.height,
            judged=self.is_judged or key.judged or value.judged,
        )

    def finishes(self, *, guard: bool) -> bool:
        """As `Kind.finishes` says."""
        return guard or self.key.doubtful

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        if type(value) not in self.types:
            value = self.unwrapped(value)
        if value and depth >= DEPTH_MAX:
            refuse_depth()
        depth += 1
        copy_key = self.key.copy
        copy_value = self.value.copy
        result: dict[Any, Any] = {}
        key: Any = None
        try:
            for key, item in value.items():
                result[copy_key(key, depth)] = copy_value(item, depth)
        except ValidationError as error:
            raise self._blamed(key, error) from None
        except RecursionError:
            raise ValidationError(NO_STACK) from None
        if len(result) != len(value):
            raise ValidationError("two keys of this dict are equal once they are stored")
        return result

    def _blamed(self, key: Any, error: ValidationError) -> ValidationError:
        """The error with its path; on a key itself, that of the dict."""
        try:
            self._check_key(key)
        except ValidationError as on_key:
            return on_key
        return error.under((key,))

    def _check_key(self, key: Any) -> None:
        try:
            self.key.copy(key, 0)
        except ValidationError as error:
            raise ValidationError(f"key {key!r:.100}: {error.reason}") from None

    def prepare(self, value: Any) -> Any:
        """As `Kind.prepare` says."""
        prepare = self.value.prepare
        return {key: prepare(item) for key, item in value.items()}

    def finish_items(self, items: Any) -> Any:
        """As `Kind.finish_items` says."""
        if self.key.doubtful:
            for key in items:
                self._check_key(key)
        if items and self.value.must_finish:
            values = list(items.values())
            finished = self.value.finish_all(values)
            if finished is not values:  # records stay who they are
                items.update(zip(items, finished, strict=True))  # no key is added
        return items

    def finish(self, value: Any) -> Any:
        """As `Kind.finish` says."""
        value = self.finish_items(value)
        return guarded_dict(value) if self.guard else value

    def parts(self, data: bytes | Raw) -> Iterator[tuple[Any, Kind, Raw]]:
        """As `Kind.parts` says."""
        for key, item in codec.open_map(data).items():
            yield key, self.value, item


class ListKind(ContainerKind):
    """A list."""

    types = (list, GuardedList)
    guarded_each = staticmethod(partial(guarded_each, GuardedList, list.__iadd__))

    def __init__(self, name: str, annotation: Any, item: Kind, bounds: Bounds) -> None:
        items: Any = list[item.annotation]  # type: ignore[name-defined]  # at run time
        super().__init__(name, annotation, items, bounds)
        self.item = item

    def children(self) -> Iterable[Kind]:
        """As `Kind.children` says."""
        return (self.item,)

    def exact(self) -> Exact | None:
        """As `Kind.exact` says."""
        item = self.item.exact()
        if item is None:
            return None
        judged = self.is_judged or item.judged
        return Exact(_LISTS, all_of(item), 1 + item.height, judged=judged)

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        if type(value) not in self.types:
            value = self.unwrapped(value)
        if value and depth >= DEPTH_MAX:
            refuse_depth()
        depth += 1
        copy = self.item.copy
        result: list[Any] = []
        try:
            for item in value:
                result.append(copy(item, depth))  # noqa: PERF401  len(result) is the position
        except ValidationError as error:
            raise error.under((len(result),)) from None
        except RecursionError:
            raise ValidationError(NO_STACK) from None
        return result

    def prepare(self, value: Any) -> Any:
        """As `Kind.prepare` says."""
        prepare = self.item.prepare
        return [prepare(item) for item in value]

    def finish_items(self, items: Any) -> Any:
        """As `Kind.finish_items` says."""
        if items and self.item.must_finish:
            items[:] = self.item.finish_all(items)
        return items

    def finish(self, value: Any) -> Any:
        """As `Kind.finish` says."""
        value = self.finish_items(value)
        return guarded_list(value) if self.guard else value

    def finish_all_items(self, values: list[Any]) -> list[Any]:
        """As `ContainerKind.finish_all_items` says."""
        items = list(chain.from_iterable(values))
        if items:
            finished = iter(self.item.finish_all(items))
            for value in values:
                value[:] = islice(finished, len(value))
        return values

    def parts(self, data: bytes | Raw) -> Iterator[tuple[Any, Kind, Raw]]:
        """As `Kind.parts` says."""
        for position, item in enumerate(codec.open_list(data)):
            yield position, self.item, item


class SetKind(ContainerKind):
    """A set: its elements are of key types, so that none contains a set or a container."""

    types = (set, GuardedSet)
    guarded_each = staticmethod(partial(guarded_each, GuardedSet, set.__ior__))
    is_set = True

    def __init__(self, name: str, annotation: Any, item: Kind, bounds: Bounds) -> None:
        # A piece is decoded as a list, so that equal elements in it can be told.
        items: Any = list[item.annotation]  # type: ignore[name-defined]  # at run time
        super().__init__(name, annotation, items, bounds)
        self.item = item
        self._frozen = FrozenSetKind(name, annotation, item, bounds)

    def children(self) -> Iterable[Kind]:
        """As `Kind.children` says."""
        return (self.item,)

    def finishes(self, *, guard: bool) -> bool:
        """As `Kind.finishes` says."""
        return guard or self.item.doubtful

    def copy(self, value: Any, depth: int) -> Any:
        """As `Kind.copy` says."""
        if type(value) not in self.types:
            value = self.unwrapped(value)
        return set(self._frozen.copied_elements(list(value), depth))

    def prepare(self, value: Any) -> Any:
        """As `Kind.prepare` says."""
        return codec.sorted_elements(value)

    def finish_items(self, items: Any) -> Any:
        """As `Kind.finish_items` says."""
        return self._frozen.finish(items)

    def finish(self, value: Any) -> Any:
        """As `Kind.finish` says."""
        value = self.finish_items(value)
        return guarded_set(value) if self.guard else value
