"""Tables kept up by a log's operations, where no draft says what was written: see `replica`.

An operation tells where it changes something. Two sorts of records may get other keys by it: those
that contain the place, and those at and below it, before and after. Each of them is asked for its
keys before the operations are applied, since that changes it in place, and again afterwards; what
differs is entered. A record that stands in another place of its list has moved, which is the same
as having gone there and come here. So a follower pays for what an update changes, as the owner did.

Keys can be asked for here only when the state has changed, so what a key function raises comes too
late: whoever applies can't go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cairndb import codec
from cairndb.codec import ADD, DISCARD, MERGE, REQUEST, SPLICE
from cairndb.index_table import Delta
from cairndb.kinds import DictKind, ListKind
from cairndb.rules_tree import child, find, kind_below, plain_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cairndb.codec import Operation
    from cairndb.errors import Path
    from cairndb.index_table import Keys, Place
    from cairndb.rules import Rules
    from cairndb.rules_keys import KeyRule
    from cairndb.rules_tree import Part

Spot = tuple["KeyRule", "Path", "Place"]
"""A place in the table of a rule and an owner."""


class Region:
    """Where an operation may change records.

    Args:
        path: of what contains all of it; records on the way there are concerned, too.
        steps: where below that; None for all that is there, an empty list for nothing.
        start: of a list: only positions from here on.
    """

    __slots__ = ("path", "start", "steps")

    def __init__(self, path: Path, steps: list[Any] | None, start: int = 0) -> None:
        self.path = path
        self.steps = steps
        self.start = start


class Following:
    """One entry, from before it is applied until the tables are right again.

    Args:
        rules: whose tables; nobody else reads or changes them meanwhile.
        root: the state as it is.
        operations: of the entry; they don't set the root.

    Raises:
        ConstraintError: a key function raises.
    """

    def __init__(self, rules: Rules, root: Any, operations: Sequence[Operation]) -> None:
        self._rules = rules
        self._declared = rules.declared
        top = plain_part(self._declared.root, root)
        self._regions = [_region(top, each) for each in operations if each.code < REQUEST]
        self._records: dict[Path, None] = {}
        self._before: dict[Spot, Keys] = {}
        self._collect(top, self._before)

    def enter(self, root: Any) -> None:
        """Bring the tables up to the state.

        Args:
            root: the state, with the operations applied.

        Raises:
            ConstraintError: a key function raises.
            TypeError: a key can't be compared with those that are there.
        """
        after: dict[Spot, Keys] = {}
        self._collect(plain_part(self._declared.root, root), after)
        deltas: dict[tuple[KeyRule, Path], Delta] = {}
        before = self._before
        for spot in before | after if before.keys() != after.keys() else before:
            had, has = before.get(spot, ()), after.get(spot, ())
            if had == has:
                continue
            rule, owner, place = spot
            delta = deltas.get((rule, owner))
            if delta is None:
                delta = Delta(self._rules.table(rule, owner), ordered=rule.ordered)
                deltas[rule, owner] = delta
            delta.put(place, had, has)
        self._rules.enter(deltas, root, self._records)

    def _collect(self, top: Part, found: dict[Spot, Keys]) -> None:
        """The keys of all records that are concerned, as they are now."""
        seen: set[Path] = set()
        for region in self._regions:
            for path, part in _concerned(top, region, self._declared.records):
                if path not in seen:
                    seen.add(path)
                    self._records[path] = None
                    self._ask(path, part, top, found)

    def _ask(self, path: Path, part: Part, top: Part, found: dict[Spot, Keys]) -> None:
        for rule in self._declared.by_kind[id(part.kind)].keys:
            for owner, place in rule.places(path):
                if not rule.root_only:
                    holder = find(top, owner)
                    if holder is None or id(holder.kind) not in rule.owners:
                        continue
                keys = rule.keys(part.value, path)
                if keys:
                    found[rule, owner, place] = keys


def _region(top: Part, operation: Operation) -> Region:
    """Where an operation may change records; keys in paths are as they stand in the state."""
    code = operation.code
    if code == MERGE:
        path, node = _walk(top, operation.path)
        assert node is not None
        assert isinstance(node.kind, DictKind)
        key_of = node.kind.key.key_of
        return Region(path, [key_of(key) for key in codec.open_map(operation.argument)])
    if code == SPLICE:
        path, _ = _walk(top, operation.path)
        start = codec.decode(codec.open_list(operation.argument)[0])
        return Region(path, None, start)
    if code in {ADD, DISCARD}:  # of a set, which has no records in it
        path, _ = _walk(top, operation.path)
        return Region(path, [])
    path, node = _walk(top, operation.path[:-1])
    assert node is not None
    return Region(path, [_step(node, operation.path[-1])])


def _walk(top: Part, path: Iterable[Any]) -> tuple[Path, Part | None]:
    steps: list[Any] = []
    part: Part | None = top
    for each in path:
        if part is None:
            break
        step = _step(part, each)
        steps.append(step)
        part = child(part, step)
    return tuple(steps), part


def _step(part: Part, step: Any) -> Any:
    return part.kind.key.key_of(step) if isinstance(part.kind, DictKind) else step


def _concerned(top: Part, region: Region, records: Any) -> Iterator[tuple[Path, Part]]:
    """The records that contain a region, and those in it."""
    part: Part | None = top
    path: Path = ()
    for step in region.path:
        assert part is not None
        if records.are(part.kind):
            yield path, part
        part = child(part, step)
        path = (*path, step)
        if part is None:
            return
    assert part is not None
    if records.are(part.kind):
        yield path, part
    for step in _positions(part, region.start) if region.steps is None else region.steps:
        below = kind_below(part.kind, step)
        if below is not None and records.lead_from(below):
            inner = child(part, step)
            if inner is not None:
                yield from records.below(inner, (*path, step))


def _positions(part: Part, start: int) -> Iterable[int]:
    return range(start, len(part.value)) if isinstance(part.kind, ListKind) else ()
