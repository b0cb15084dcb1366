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
    from collections.abc import Iterator

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
        yield from _in_arrays(codec.open_list(before), codec.open_list(after), path)
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


def _in_arrays(before: list[Raw], after: list[Raw], path: Path) -> Iterator[Difference]:
    old, new = list(map(bytes, before)), list(map(bytes, after))
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for what, first, last, begin, end in matcher.get_opcodes():
        if what == "replace" and last - first == end - begin:
            for one, other in zip(range(first, last), range(begin, end), strict=True):
                yield from differences(before[one], after[other], (*path, other))
        elif what != "equal":
            for position in range(first, last):
                yield Difference((*path, position), before[position], None)
            for position in range(begin, end):
                yield Difference((*path, position), None, after[position])
