"""What a crash may leave of a simulated disk: every image, or some picked at random.

Of a file's changes since its last sync survive: none, all, every prefix, all but one, one alone;
and one of them torn, with those before it, or with all others:

- its sectors (512 bytes, and blocks of 4 KiB): the first ones, all but one, one alone;
- its first bytes, at every length of a small write's multiples of 8, and at some of a large one's;
- in units of 16 bytes inside a sector: all but one, the others as they were before;
- zeros or garbage in place of what was written, in whole or after its first half: the size came
  through, the data didn't. So also for room that was allocated.

A size behind the data is the same as its first bytes. Names: every set of creations, renamings and
removals in which those that touch each other keep their order. Names and contents are combined
completely while there are few combinations; beyond that one file varies at a time, with nothing or
everything of the others; and some of the rest, where each sector is drawn for itself, are picked by
a random generator whose seed is what they are picked from: the same in every run.

Of a file with a temporary name only what was synced is in an image. Nothing may depend on more:
whoever finds such a file at open can't read it, see `simulated.SimulatedFile`.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, combinations, pairwise, product
from random import Random
from zlib import crc32

from disk import Change, Changes, Image, Moment, applied

SECTOR = 512
BLOCK = 4096
UNIT = 16
MIXTURES = 12


def is_hidden(name: str) -> bool:
    """Whether a file has a name under which nobody reads it after a crash."""
    return ".tmp-" in name


def images(moment: Moment, *, limit: int = 400) -> Iterator[Image]:
    """What may be on disk after a crash at this moment; complete while there are few combinations.

    Args:
        moment: of the crash.
        limit: of combinations of contents per state of the directory; beyond it one file at a time
            varies, with the others as they were synced, and with the others complete.
    """
    for names in _directories(moment):
        visible = {name: inode for name, inode in names.items() if not is_hidden(name)}
        variants = [
            contents(moment.contents[inode], moment.changes[inode]) for inode in visible.values()
        ]
        for found in _combined(variants, limit):
            yield _image(moment, names, dict(zip(visible, found, strict=True)))
    if not moment.rooted:
        yield ()


def sampled(moment: Moment, random: Random, count: int) -> Iterator[Image]:
    """Some of what may be on disk: nothing and everything of the unsynced, and random mixtures.

    Args:
        moment: of the crash.
        random: picks.
        count: how many.
    """
    states = list(_directories(moment))
    for number in range(count):
        names = states[0] if number == 0 else random.choice(states)
        names = states[-1] if number == 1 else names
        found = {}
        for name, inode in names.items():
            durable, changes = moment.contents[inode], moment.changes[inode]
            if number < 2:
                found[name] = applied(durable, changes[: number * len(changes)])
            elif changes:
                found[name] = _picked(durable, changes, random)
            else:
                found[name] = durable
        yield _image(moment, names, found)
    if not moment.rooted:
        yield ()


def _image(moment: Moment, names: dict[str, int], found: dict[str, bytes]) -> Image:
    return tuple(
        (name, moment.contents[inode] if is_hidden(name) else found[name])
        for name, inode in sorted(names.items())
    )


def _combined(variants: list[tuple[bytes, ...]], limit: int) -> Iterator[tuple[bytes, ...]]:
    total = math.prod(map(len, variants))
    if total <= limit:
        yield from product(*variants)
        return
    for others in (0, 1):  # nothing, everything
        fixed = [choices[min(others, len(choices) - 1)] for choices in variants]
        for index, choices in enumerate(variants):
            for choice in choices:
                yield (*fixed[:index], choice, *fixed[index + 1 :])
    random = Random(total)  # noqa: S311  reproducible, not secret
    for _ in range(MIXTURES):
        yield tuple(map(random.choice, variants))


def _directories(moment: Moment) -> Iterator[dict[str, int]]:
    """Every state of the directory: subsets that keep the order of what touches each other."""
    namings = moment.namings
    needs = [
        {early for early in range(late) if namings[early].touches(namings[late])}
        for late in range(len(namings))
    ]
    seen = set()
    for chosen in _subsets(len(namings)):
        if all(needs[index] <= chosen for index in chosen):
            names = dict(moment.names)
            for index in sorted(chosen):
                namings[index].apply(names)
            key = frozenset(names.items())
            if key not in seen:
                seen.add(key)
                yield names


def _subsets(count: int) -> Iterator[set[int]]:
    """All subsets of few, smallest first; of many the prefixes, the nearly full and the small."""
    everything = range(count)
    if count <= 8:
        for size in range(count + 1):
            yield from map(set, combinations(everything, size))
        return
    for size in range(count):
        yield set(everything[:size])
    for size in (1, 2):
        for few in combinations(everything, size):
            yield set(few)
            yield set(everything) - set(few)
    random = Random(count)  # noqa: S311  reproducible, not secret
    for _ in range(50):
        yield {index for index in everything if random.random() < 0.6}
    yield set(everything)


@lru_cache(maxsize=512)
def contents(durable: bytes, changes: Changes) -> tuple[bytes, ...]:
    """Every content that the file may have; first nothing of the changes, then all of them."""
    found = {durable: None, applied(durable, changes): None}
    size = len(durable)
    for index, change in enumerate(changes):
        before, after = changes[:index], changes[index + 1 :]
        base = applied(durable, before)
        size = max(size, len(base))
        found[base] = None
        found[applied(base, after)] = None
        found[applied(durable, (change,))] = None
        for torn in _torn(change, size):
            part = applied(base, torn)
            found[part] = None
            found[applied(part, after)] = None
    if len(changes) > 1:
        random = _random_of(durable, changes)
        for _ in range(MIXTURES):
            found[_mixture(durable, changes, random)] = None
    return tuple(found)


def _random_of(durable: bytes, changes: Changes) -> Random:
    seed = crc32(durable)
    for offset, data in changes:
        seed = crc32(data or b"", seed + offset) & 0xFFFFFFFF
    return Random(seed)  # noqa: S311  reproducible, not secret


def _mixture(durable: bytes, changes: Changes, random: Random) -> bytes:
    """Of each change nothing, all, or any of its sectors or units, each drawn for itself."""
    content = durable
    for change in changes:
        form = random.randrange(4)
        if form == 0:
            continue
        parts: Changes = (change,)
        if form > 1 and change.data:
            cuts = _cut(change, random.choice((SECTOR, UNIT, UNIT)))
            parts = tuple(part for part in cuts if random.random() < 0.6)
        content = applied(content, parts)
    return content


def _picked(durable: bytes, changes: Changes, random: Random) -> bytes:
    if random.random() < 0.5:
        return random.choice(contents(durable, changes))
    return _mixture(durable, changes, random)


def _torn(change: Change, size: int) -> Iterator[Changes]:
    """What of a change may get to the disk, if not all; the file was that long before."""
    offset, data = change
    if data is None:
        if offset > size:
            yield (change, Change(size, _garbage(size, offset - size)))
        return
    if not data:
        return
    length = len(data)
    garbage = _garbage(crc32(data), length)
    half = length // 2
    yield (Change(offset, bytes(length)),)
    yield (Change(offset, garbage),)
    yield (Change(offset, data[:half] + garbage[half:]),)
    yield (Change(offset, garbage[:half] + data[half:]),)
    every = 8 if length <= 128 else length // 6 | 1
    for first in {1, half, length - 1, 24, *range(every, length, every)}:
        yield (Change(offset, data[:first]),)
    for unit in (SECTOR, BLOCK):
        parts = _cut(change, unit)
        if len(parts) > 1:
            for index in _few(len(parts), 12):
                yield parts[:index]
                yield parts[:index] + parts[index + 1 :]
                yield (parts[index],)
    parts = _cut(change, UNIT)
    for index in _few(len(parts), 6):
        yield parts[:index] + parts[index + 1 :]


def _few(count: int, most: int) -> Iterator[int]:
    """All indices of few parts; of many the first, the last, and some between."""
    if count <= most:
        return iter(range(count))
    inner = range(1, count - 1, max(1, (count - 2) // (most - 2)))
    return chain((0,), inner, (count - 1,))


def _cut(change: Change, unit: int) -> Changes:
    """A write in parts that end where a multiple of the unit does."""
    offset, data = change
    assert data is not None
    end = offset + len(data)
    cuts = [offset, *range(offset + unit - offset % unit, end, unit), end]
    return tuple(
        Change(start, data[start - offset : stop - offset]) for start, stop in pairwise(cuts)
    )


@lru_cache(maxsize=256)
def _garbage(seed: int, length: int) -> bytes:
    return Random(seed).randbytes(length)  # noqa: S311  reproducible, not secret
