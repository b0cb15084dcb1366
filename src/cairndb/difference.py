"""What differs between two states, by path, found in their bytes: equal bytes are equal values.

Only what differs is opened. In arrays, elements that stay are told from those that came or went as
diff tells lines (`difflib`, after Ratcliff and Obershelp); a changed element counts as one change
where it stands between the same neighbours.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, NamedTuple

from cairndb import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from msgspec import Raw

    from cairndb.errors import Path


class Difference(NamedTuple):
    """One path whose value isn't the same."""

    path: Path
    """In the later state; of what is gone, in the earlier one."""
    before: Raw | None
    """None: it wasn't there."""
    after: Raw | None
    """None: it is gone."""


def differences(before: Raw, after: Raw, path: Path = ()) -> Iterator[Difference]:
    """Every path that was added, removed or changed, as deep as possible.

    Args:
        before: the earlier state, or part of it, encoded.
        after: the later one.
        path: where both are.
    """
    if before == after:
        return
    if codec.is_map(before) and codec.is_map(after):
        yield from _in_maps(codec.open_map(before), codec.open_map(after), path)
    elif codec.is_array(before) and codec.is_array(after):
        yield from array_differences(codec.open_list(before), codec.open_list(after), path)
    else:
        yield Difference(path, before, after)


def _in_maps(before: dict[Any, Raw], after: dict[Any, Raw], path: Path) -> Iterator[Difference]:
    for key, value in before.items():
        if key not in after:
            yield Difference((*path, key), value, None)
    for key, value in after.items():
        if key in before:
            yield from differences(before[key], value, (*path, key))
        else:
            yield Difference((*path, key), None, value)


def array_differences(
    before: list[Raw],
    after: list[Raw],
    path: Path,
    first: int = 0,
    differ: Callable[[Raw, Raw, Path], Iterator[Difference]] = differences,
) -> Iterator[Difference]:
    """As `differences`, of arrays.

    Args:
        before: the earlier elements.
        after: the later ones.
        path: of the array.
        first: the position of the first of these elements; those before it are equal.
        differ: tells what differs in two elements.
    """
    old, new = list(map(bytes, before)), list(map(bytes, after))
    # What is equal at both ends stays, wherever else it would match: a single element that changed
    # is told where it stands. And the matcher takes long where much is equal.
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    matcher = SequenceMatcher(
        None, old[head : len(old) - tail], new[head : len(new) - tail], autojunk=False
    )
    for what, start, stop, begin, end in matcher.get_opcodes():
        ones = range(head + start, head + stop)
        others = range(head + begin, head + end)
        if what == "replace" and len(ones) == len(others):
            for one, other in zip(ones, others, strict=True):
                yield from differ(before[one], after[other], (*path, first + other))
        elif what != "equal":
            for one in ones:
                yield Difference((*path, first + one), before[one], None)
            for other in others:
                yield Difference((*path, first + other), None, after[other])


def _common(old: list[bytes], new: list[bytes]) -> int:
    """How many elements are equal at the beginning."""
    pairs = zip(old, new, strict=False)
    return next(
        (i for i, (one, other) in enumerate(pairs) if one != other), min(len(old), len(new))
    )
