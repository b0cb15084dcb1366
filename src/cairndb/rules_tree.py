"""Walking the tree by its kinds: live values and drafts alike, without making a draft.

A *part* is a value with its concrete kind. Paths name fields as they are stored. Where a walk looks
for records that rules are about, it leaves out what can't contain any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cairndb.draft_base import is_draft
from cairndb.kinds import DictKind, Kind, ListKind, RecordKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from cairndb.errors import Path


class Part(NamedTuple):
    """A place in the tree that holds something."""

    kind: Kind
    """Of the value: never a union."""
    value: Any
    """Live, or the draft of a node that was written."""
    drafted: bool
    """Whether it is a draft. Below a value that is none there are none."""


def plain_part(kind: Kind, value: Any) -> Part:
    """A value that is no draft, with its concrete kind."""
    return Part(kind.member(value), value, False)


def draft_part(draft: Any) -> Part:
    """A draft with its kind."""
    return Part(draft.__cairn_kind__, draft, True)


def child(part: Part, step: Any) -> Part | None:
    """What stands at a step, if anything does."""
    kind, value, drafted = part
    if type(kind) is RecordKind:
        field = kind.by_encode_name.get(step) if type(step) is str else None
        if field is None:
            return None
        below = field.kind
        inner = value.__cairn_peek__(step) if drafted else getattr(value, field.name)
    else:
        if type(kind) is DictKind:
            there, below = step in value, kind.value
        elif type(kind) is ListKind:
            there, below = type(step) is int and 0 <= step < len(value), kind.item
        else:
            return None
        if not there:
            return None
        inner = value.__cairn_peek__(step) if drafted else value[step]
    if drafted and is_draft(inner):
        return draft_part(inner)
    return plain_part(below, inner)


def kind_below(kind: Kind, step: Any) -> Kind | None:
    """The declared kind of what stands at a step of a node, if anything can."""
    if type(kind) is RecordKind:
        field = kind.by_encode_name.get(step)
        return None if field is None else field.kind
    if type(kind) is DictKind:
        return kind.value
    return kind.item if type(kind) is ListKind else None


def find(part: Part, path: Sequence[Any]) -> Part | None:
    """What stands at a path, if anything does."""
    found: Part | None = part
    for step in path:
        if found is None:
            return None
        found = child(found, step)
    return found


def steps(part: Part) -> Iterator[tuple[Any, Kind]]:
    """The steps that lead on from a node, and the declared kind of what stands there."""
    kind, value, _ = part
    if type(kind) is RecordKind:
        for field in kind.fields.values():
            yield field.encode_name, field.kind
    elif type(kind) is DictKind:
        below = kind.value
        for key in value:
            yield key, below
    elif type(kind) is ListKind:
        below = kind.item
        for position in range(len(value)):
            yield position, below


class Records:
    """The records that some rule is about, and the kinds that lead to one.

    Args:
        wanted: the kinds of those records.
        leading: these, and all kinds below which one can stand.
    """

    def __init__(self, wanted: Collection[int], leading: Collection[int]) -> None:
        self._wanted = wanted
        self._leading = leading
        self._ends: dict[int, bool] = {}

    def lead_from(self, kind: Kind) -> bool:
        """Whether one can stand at a place of this kind, or below."""
        return id(kind) in self._leading

    def end_at(self, kind: Kind) -> bool:
        """Whether none can stand below a place of this concrete kind."""
        ends = self._ends.get(id(kind))
        if ends is None:
            ends = not any(map(self.lead_from, kind.children()))
            self._ends[id(kind)] = ends
        return ends

    def are(self, kind: Kind) -> bool:
        """Whether records of this concrete kind are meant."""
        return id(kind) in self._wanted

    def below(self, part: Part, path: Path) -> Iterator[tuple[Path, Part]]:
        """Every such record at a place and below, with its path.

        Args:
            part: to begin with.
            path: where that is.
        """
        waiting = [(path, part)]
        while waiting:
            path, part = waiting.pop()
            if id(part.kind) in self._wanted:
                yield path, part
            if self.end_at(part.kind):
                continue
            found = []
            for step, kind in steps(part):
                if id(kind) in self._leading:
                    inner = child(part, step)
                    if inner is not None:
                        found.append(((*path, step), inner))
            waiting += reversed(found)
