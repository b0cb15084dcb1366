"""What an update changed, of the paths that a pattern means.

An entry's operations say which places it touches; only there can anything differ. So the values at
these places, and at the matches above them, are taken from the fold before and after the entry, and
compared. Nothing else is opened or encoded: the cost is that of what the entry touched and the
pattern means.

A pattern that ends in a step or `*` is answered by the values at the paths that it matches, whole,
where they differ at all. One that ends in `**` means everything below: the answer is the smallest
parts that differ, as `difference` finds them, within the topmost matches.

Paths mean positions as they were before and as they are after: where a list was spliced, what
follows is compared position by position; within a `**`, as `difference` aligns lists. Both give
what comparing the two whole states would give.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from cairndb import codec
from cairndb.codec import MERGE, REQUEST, SPLICE
from cairndb.difference import Difference, array_differences, differences
from cairndb.fold import hashable
from cairndb.fold_nodes import encoded, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from msgspec import Raw

    from cairndb.codec import Operation
    from cairndb.errors import Path
    from cairndb.fold import Fold
    from cairndb.pattern import Pattern, Walk

    Differ = Callable[[Raw, Raw, Path], Iterator[Difference]]


def apply(
    fold: Fold, operations: Sequence[Operation], pattern: Pattern, differ: Differ = differences
) -> list[Difference]:
    """Apply an entry to a fold, and tell what that changed under a pattern.

    Args:
        fold: as before the entry; afterwards as after it.
        operations: of the entry. A BARRIER has none to apply: see `compare`.
        pattern: which paths are asked for.
        differ: tells the smallest parts that differ, for a pattern that ends in `**`.

    Returns:
        Each path whose value differs, in the order of the operations.

    Raises:
        ValueError: no correct writer made this; nothing has changed.
    """
    spots = _spots(operations, pattern)
    before = _Seen(fold.root, spots, pattern)
    fold.apply(operations)
    return list(_compared(before, _Seen(fold.root, spots, pattern), differ))


def compare(
    before: Raw | None, after: Raw | None, pattern: Pattern, differ: Differ = differences
) -> list[Difference]:
    """What differs under a pattern between two whole states.

    Args:
        before: the earlier state, encoded; None where there was none.
        after: the later one.
        pattern: which paths are asked for.
        differ: as for `apply`.
    """
    return list(_between(before, after, pattern.start, (), differ))


class _Spot(Struct):
    """A place on the way to what an entry touches."""

    below: dict[Any, _Spot] = {}
    whole: bool = False
    """Whether anything at it may differ."""
    tail: int | None = None
    """Of a list: anything may differ from this position on."""


def _spots(operations: Iterable[Operation], pattern: Pattern) -> _Spot:
    """All that an entry touches, as far down as the pattern may mean something there."""
    root = _Spot()
    for each in operations:
        if each.code == REQUEST:  # no path leads to what it changes
            continue
        spot, walk = root, pattern.start
        for step in map(hashable, each.path):
            spot = spot.below.setdefault(step, _Spot())
            walk = walk.down(step)
            if not walk.leads_on:
                break
        if each.code == MERGE:
            for key in codec.open_map(each.argument) if walk.leads_on else ():
                spot.below.setdefault(key, _Spot()).whole = True
        elif each.code == SPLICE and walk.leads_on:
            start = codec.open_splice(each.argument, 1 << 63)[0]
            spot.tail = start if spot.tail is None else min(start, spot.tail)
        else:
            spot.whole = True
    return root


class _Seen:
    """What there is at the places that an entry touches, at one moment.

    Args:
        root: of the fold, at that moment.
        spots: the places.
        pattern: which paths are asked for.

    Attributes:
        values: the value at each path where all of it matters; None where there is none.
        tails: the elements of lists from a position on.
    """

    def __init__(self, root: Any, spots: _Spot, pattern: Pattern) -> None:
        self.values: dict[Path, tuple[Walk, bool, Raw | None]] = {}
        self.tails: dict[Path, tuple[Walk, int, list[Raw]]] = {}
        self._is_deep = pattern.is_deep
        self._look(root, spots, pattern.start, ())

    def _look(self, node: Any, spot: _Spot, walk: Walk, path: Path) -> None:
        if walk.is_over:
            return
        if spot.whole or (walk.matched and not self._is_deep):
            self.values[path] = walk, spot.whole, None if node is None else encoded(node)
        if spot.whole or (spot.tail is None and not spot.below):
            return
        parts = opened(node)
        first = self._first_of_tail(spot, walk) if isinstance(parts, list) else None
        if first is not None:
            self.tails[path] = walk, first, [encoded(part) for part in parts[first:]]
        for step, below in spot.below.items():
            if first is None or step < first:
                self._look(_part(parts, step), below, walk.down(step), (*path, step))

    def _first_of_tail(self, spot: _Spot, walk: Walk) -> int | None:
        """The position in a list from which on all elements are compared together."""
        aligned = walk.matched and self._is_deep
        if not aligned or (spot.tail is None and len(spot.below) < 2):
            return spot.tail
        # Whichever of its elements changed could be taken for another that moved.
        touched: list[int] = [*spot.below, *([] if spot.tail is None else [spot.tail])]
        return min(touched)


def _part(parts: dict[Any, Any] | list[Any], step: Any) -> Any:
    """What is there at a step; None if nothing is."""
    if isinstance(parts, dict):
        return parts.get(step)
    return parts[step] if type(step) is int and 0 <= step < len(parts) else None


def _compared(before: _Seen, after: _Seen, differ: Differ) -> Iterator[Difference]:
    for path, (walk, whole, old) in before.values.items():
        new = after.values[path][2]
        if whole:
            yield from _between(old, new, walk, path, differ)
        elif not _same(old, new):
            yield Difference(path, old, new)
    for path, (walk, first, olds) in before.tails.items():
        news = after.tails[path][2]
        if walk.matched and walk.pattern.is_deep:
            yield from array_differences(olds, news, path, first, differ)
            continue
        for position, (old, new) in enumerate(zip_longest(olds, news), first):
            yield from _between(old, new, walk.down(position), (*path, position), differ)


def _between(
    before: Raw | None, after: Raw | None, walk: Walk, path: Path, differ: Differ
) -> Iterator[Difference]:
    """What differs at a path, and below it."""
    if walk.is_over or _same(before, after):
        return
    if walk.matched:
        if walk.pattern.is_deep and before is not None and after is not None:
            yield from differ(before, after, path)
        else:
            yield Difference(path, before, after)
        if walk.pattern.is_deep:
            return
    if walk.leads_on:
        olds, news = _parts(before), _parts(after)
        for step in _steps(olds, news, walk.wanted):
            below = walk.down(step)
            yield from _between(olds.get(step), news.get(step), below, (*path, step), differ)


def _same(before: Raw | None, after: Raw | None) -> bool:
    if before is None or after is None:
        return before is after
    return bytes(before) == bytes(after)


def _parts(value: Raw | None) -> dict[Any, Raw]:
    """What is directly below a value, by key or position."""
    parts = opened(value)
    return dict(enumerate(parts)) if isinstance(parts, list) else parts


def _steps(olds: dict[Any, Raw], news: dict[Any, Raw], wanted: frozenset[Any] | None) -> list[Any]:
    """The keys or positions on either side that may lead to a match, as they are stored."""
    if wanted is None:
        return [*olds, *(step for step in news if step not in olds)]
    found = []
    for step in sorted(wanted, key=repr):
        for side in (olds, news):
            if step in side:
                found.append(codec.stored_key(side, step, step))
                break
    return found
