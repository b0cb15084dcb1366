"""The values and paths of a watch as what they are declared to be.

The fold of a watch is untyped; the type at a path comes from the declarations, walked from the
root, and where they leave a choice, from the bytes that stand there. Nothing that is handed out is
part of the tree.

The smallest parts that differ, for a pattern that ends in `**`, are those that a declaration gives
a path: fields, keys, elements of lists. A set, a tuple or a frozen class is one value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from cairndb import codec
from cairndb.difference import Difference, array_differences, differences
from cairndb.errors import UsageError, ValidationError
from cairndb.fold import Fold
from cairndb.fold_nodes import opened
from cairndb.kinds import AnyKind, DictKind, ListKind, RecordKind, UnionKind, reachable
from cairndb.pattern import MANY, Exact
from cairndb.watch_items import ValueChange
from cairndb.watch_scope import tags_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgspec import Raw

    from cairndb.errors import Path
    from cairndb.kinds import Kind
    from cairndb.pattern import Pattern, Step


class Reading(Protocol):
    """How the bytes of values become what a watch gives."""

    tags: frozenset[str]
    """Names that a `Scope` is to keep in records."""

    def begin(self, fold: Fold) -> None:
        """The fold goes on by an update: what comes now is of the state after it."""
        ...

    def differ(self, before: Raw, after: Raw, path: Path) -> Iterator[Difference]:
        """The smallest parts that differ."""
        ...

    def change(self, difference: Difference) -> ValueChange:
        """A difference as a watch gives it."""
        ...


def _how(difference: Difference) -> Any:
    if difference.before is None:
        return "added"
    return "removed" if difference.after is None else "changed"


class Untyped:
    """Values as they look without their declarations: dicts, lists, texts, numbers."""

    tags = frozenset[str]()
    differ = staticmethod(differences)

    def begin(self, fold: Fold) -> None:
        """See `Reading`."""

    def change(self, difference: Difference) -> ValueChange:
        """See `Reading`."""
        path, before, after = difference
        old = None if before is None else codec.decode(before)
        new = None if after is None else codec.decode(after)
        return ValueChange(path, old, new, _how(difference))


class Typed:
    """Values of their declared types: Records, and plain containers.

    Args:
        kind: of the root.
    """

    def __init__(self, kind: Kind) -> None:
        self.tags = tags_of(reachable(kind))
        self._kind = kind
        self._fold = Fold()
        # By path, what is directly below; until the next update.
        self._opened: dict[Path, Any] = {}

    def check(self, pattern: Pattern) -> None:
        """Refuse a pattern that no path of the declared types can match: it is misspelt.

        Raises:
            UsageError: with the step that isn't declared.
        """
        kinds: list[Kind] = [self._kind]
        for step in pattern.steps:
            if step == MANY:
                return
            found = [below for kind in kinds for below in _parts(kind, step)]
            if not found:
                names = ", ".join(dict.fromkeys(kind.name for kind in kinds))
                text = step if isinstance(step, str) else step.text
                raise UsageError(f"{pattern} is no path that is declared: {names} has no {text!r}")
            kinds = list({id(kind): kind for kind in found}.values())

    def begin(self, fold: Fold) -> None:
        """See `Reading`."""
        self._fold = fold
        self._opened.clear()

    def differ(self, before: Raw, after: Raw, path: Path) -> Iterator[Difference]:
        """See `Reading`."""
        return self._differ(self._at(path)[0], before, after, path)

    def _differ(self, kind: Kind, before: Raw, after: Raw, path: Path) -> Iterator[Difference]:
        if bytes(before) == bytes(after):
            return
        member = _member(kind, after)
        if member is not _member(kind, before):
            yield Difference(path, before, after)
        elif isinstance(member, RecordKind | DictKind):
            yield from self._in_maps(member, before, after, path)
        elif isinstance(member, ListKind):
            olds, news, item = codec.open_list(before), codec.open_list(after), member.item
            yield from array_differences(
                olds, news, path, 0, lambda old, new, where: self._differ(item, old, new, where)
            )
        else:
            yield Difference(path, before, after)

    def _in_maps(
        self, kind: RecordKind | DictKind, before: Raw, after: Raw, path: Path
    ) -> Iterator[Difference]:
        olds, news = codec.open_map(before), codec.open_map(after)
        for key in [*olds, *(key for key in news if key not in olds)]:
            old, new = olds.get(key), news.get(key)
            if old is None or new is None:
                yield Difference((*path, key), old, new)
            elif isinstance(kind, DictKind):
                yield from self._differ(kind.value, old, new, (*path, key))
            elif key in kind.by_encode_name:  # and not the tag, which is the same
                yield from self._differ(kind.by_encode_name[key].kind, old, new, (*path, key))

    def change(self, difference: Difference) -> ValueChange:
        """See `Reading`."""
        _, before, after = difference
        kind, path = self._at(difference.path)
        new = None if after is None else kind.plain(kind.decode(after))
        old = None if before is None else self._before(kind, difference.path, before)
        return ValueChange(path, old, new, _how(difference))

    def _before(self, kind: Kind, path: Path, data: Raw) -> Any:
        """A value from before the update, whose parents may have been of other types."""
        for each in (kind, *_kinds(self._kind, path)):
            try:
                value = each.decode(data)
            except ValidationError:
                continue
            if each.encode(value) == bytes(data):
                return each.plain(value)
        raise ValueError(f"no declared type reads what was at {path}")

    def _at(self, path: Path) -> tuple[Kind, Path]:
        """The type that is declared for a path, and the path with keys of their declared types."""
        kind = self._kind
        typed: list[Any] = []
        for depth, step in enumerate(path):
            if isinstance(kind, AnyKind):  # and so is all that is below
                return kind, (*typed, *path[depth:])
            if isinstance(kind, UnionKind):
                kind = _member(kind, self._node(path[:depth]))
            found = _below(kind, step)
            if found is None:  # its parents are gone: what they were is found by the step
                found = next(_all_below(kind, step))
            kind, key = found
            typed.append(key)
        return kind, tuple(typed)

    def _node(self, path: Path) -> Any:
        """What stands at a path now; None if nothing does."""
        if not path:
            return self._fold.root
        above = path[:-1]
        if above not in self._opened:
            node = self._node(above)
            self._opened[above] = {} if node is None else opened(node)
        parts = self._opened[above]
        step: Any = path[-1]
        if isinstance(parts, list):
            return parts[step] if step < len(parts) else None
        return parts.get(step)


def _member(kind: Kind, node: Any) -> Kind:
    """The concrete kind of a node or value in a fold, as far as paths can lead through it."""
    if isinstance(kind, UnionKind):
        members = [m for m in kind.members if isinstance(m, _NODES)]
        return next((m for m in members if node is not None and _is(m, node)), kind)
    if isinstance(kind, AnyKind):
        if _is_map(node):
            return kind.dict_kind
        return kind.list_kind if isinstance(opened(node), list) else kind
    return kind


_NODES = (RecordKind, DictKind, ListKind)


def _is_map(node: Any) -> bool:
    return node is not None and (isinstance(node, dict) or codec.is_map(node))


def _is(kind: Kind, node: Any) -> bool:
    parts = opened(node)
    if isinstance(kind, ListKind):
        return isinstance(parts, list)
    if isinstance(parts, list) or not _is_map(node):
        return False
    tag = kind.tag.items() if isinstance(kind, RecordKind) else ()
    return all(name in parts and bytes(parts[name]) == codec.encode(v) for name, v in tag)


def _below(kind: Kind, step: Any) -> tuple[Kind, Any] | None:
    """The kind of a part, and the step to it as a key; None if there can't be any."""
    if isinstance(kind, RecordKind):
        field = kind.by_encode_name.get(step)
        return (field.kind, step) if field else None
    if isinstance(kind, DictKind):
        try:
            return kind.value, kind.key.key_of(step)
        except ValidationError:
            return None
    return (kind.item, step) if isinstance(kind, ListKind) and type(step) is int else None


def _parts(kind: Kind, step: Step) -> Iterator[Kind]:
    """The kinds of what a step of a pattern may mean."""
    for member in kind.members if isinstance(kind, UnionKind) else (kind,):
        if isinstance(member, AnyKind):
            yield member
        elif isinstance(step, Exact):
            yield from (found[0] for each in step.meanings if (found := _below(member, each)))
        elif isinstance(member, RecordKind):
            yield from (field.kind for field in member.fields.values())
        elif isinstance(member, DictKind | ListKind):
            yield member.value if isinstance(member, DictKind) else member.item


def _all_below(kind: Kind, step: Any) -> Iterator[tuple[Kind, Any]]:
    """The same for every member of a union, and everything that may be under Any."""
    members = kind.members if isinstance(kind, UnionKind) else (kind,)
    if isinstance(kind, AnyKind):
        members = (kind.list_kind, kind.dict_kind)
    for member in members:
        found = _below(member, step)
        if found is not None:
            yield found


def _kinds(kind: Kind, path: Path) -> Iterator[Kind]:
    """Every kind that may be declared for a path."""
    if not path:
        yield kind
        return
    for below, _ in _all_below(kind, path[0]):
        yield from _kinds(below, path[1:])
