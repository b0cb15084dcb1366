"""The splices that turn a list into its draft: pure functions on identities and encoders.

A draft of a list is an order of identities (draft_list.py): those below the base's length are the
base's elements, named by their positions. What of them is in rising order can stay; a longest such
subsequence leaves the least to log (Fredman, "On computing the length of longest increasing
subsequences", 1975: patience sorting, n log n).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Encoder = Callable[[Any], bytes]


class Splice(NamedTuple):
    """Replace `gone` elements from `start` on, of the base, by `values`."""

    start: int
    gone: int
    values: list[Any]


def longest_rising(numbers: Sequence[int]) -> list[int]:
    """A longest strictly increasing subsequence of different numbers."""
    if all(map(int.__lt__, numbers, numbers[1:])):
        return list(numbers)
    tops: list[int] = []  # the smallest number that ends a subsequence of each length
    at: list[int] = []  # where it stands
    before: list[int] = []  # for each number, where the one before it stands
    for place, number in enumerate(numbers):
        length = bisect_left(tops, number)
        before.append(at[length - 1] if length else -1)
        tops[length : length + 1] = [number]
        at[length : length + 1] = [place]
    chain: list[int] = []
    place = at[-1]
    while place >= 0:
        chain.append(numbers[place])
        place = before[place]
    chain.reverse()
    return chain


def splices(
    end: int, tail: list[int], length: int, staying: set[int], value: Callable[[int], Any]
) -> list[Splice]:
    """What differs between a base of this length and the order of identities, from the front.

    Args:
        end: so many elements of the base stand in front.
        tail: the identities after them.
        length: of the base.
        staying: the identities of the tail that stay; they rise.
        value: the value of an identity.

    Returns:
        Splices that don't overlap, by rising positions of the base.
    """
    found: list[Splice] = []
    start = end
    new: list[Any] = []
    for identity in tail:
        if identity not in staying:
            new.append(value(identity))
            continue
        if new or identity > start:
            found.append(Splice(start, identity - start, new))
            new = []
        start = identity + 1
    if new or length > start:
        found.append(Splice(start, length - start, new))
    return found


def trimmed(splice: Splice, base: Sequence[Any], encode: Encoder) -> list[Splice]:
    """The same change without what has equal bytes on both sides.

    That is looked for at the ends, and where a splice replaces one to one also between.
    """
    start, gone, values = splice
    common = min(gone, len(values))
    front = 0
    while front < common and encode(base[start + front]) == encode(values[front]):
        front += 1
    back = 0
    while back < common - front and (
        encode(base[start + gone - 1 - back]) == encode(values[len(values) - 1 - back])
    ):
        back += 1
    start, gone, values = start + front, gone - front - back, values[front : len(values) - back]
    if gone != len(values):
        return [Splice(start, gone, values)]
    return _runs(start, base, values, encode)


def _runs(start: int, base: Sequence[Any], values: list[Any], encode: Encoder) -> list[Splice]:
    """Splices for the runs of positions at which base and values differ."""
    runs: list[Splice] = []
    run: list[Any] = []
    for position, value in enumerate(values, start):
        if encode(base[position]) != encode(value):
            run.append(value)
        elif run:
            runs.append(Splice(position - len(run), len(run), run))
            run = []
    if run:
        runs.append(Splice(start + len(values) - len(run), len(run), run))
    return runs
