"""`cairn doctor` on thousands of damaged and crashed directories: as opening does, none missed."""

from __future__ import annotations

import random
from itertools import combinations, permutations
from typing import TYPE_CHECKING

import pytest

from doctoring import (
    History,
    Oracle,
    Wrecker,
    changed,
    earlier_versions,
    flips,
    image_of,
    judge,
    lived,
    without,
)
from effort import examples
from simulated import Image, World, images

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def history() -> History:
    """A database that nobody changes any more."""
    return lived()


@pytest.mark.slow
def test_every_flipped_bit_is_judged_as_opening_does(
    history: History, evidence: Callable[[str, int], None]
) -> None:
    """Nothing raises or changes; opening does as foretold; each state is right, none is missed."""
    image, oracle, count = history.image(), Oracle(history.image()), 0
    for _, _, flipped in flips(image, max(1, 11 // examples(1))):
        judge(flipped, history.states, least=oracle.reach(flipped))
        count += 1
    assert count > 3000
    evidence("diagnoses", count)


def cut_and_overwritten(image: Image, seed: random.Random, step: int) -> list[Image]:
    """Files cut at every so many bytes; files with zeros, or junk, somewhere."""
    found = []
    for name, content in image:
        cuts = range(seed.randrange(step), len(content), step)
        found += [changed(image, name, content[:cut]) for cut in cuts]
        for size in (1, 8, 64, 512, 4096):
            start = seed.randrange(len(content))
            length = min(size, len(content) - start)
            for junk in (bytes(length), seed.randbytes(length)):
                broken = content[:start] + junk + content[start + length :]
                found.append(changed(image, name, broken))
    return found


@pytest.mark.slow
def test_cut_and_overwritten_files_are_judged_as_opening_does(
    history: History, evidence: Callable[[str, int], None]
) -> None:
    """The same for truncations, zeros and junk."""
    seed = random.Random(7)  # noqa: S311  reproducible, not secret
    image, oracle = history.image(), Oracle(history.image())
    cases = [case for _ in range(examples(2)) for case in cut_and_overwritten(image, seed, 151)]
    for case in cases:
        judge(case, history.states, least=oracle.reach(case))
    evidence("diagnoses", len(cases))


@pytest.mark.slow
def test_lost_swapped_and_mixed_files_are_judged_as_opening_does(
    history: History, evidence: Callable[[str, int], None]
) -> None:
    """The same for removed, swapped, doubled and renamed files, and those of another database."""
    image, other = history.image(), dict(lived(seed="other").image())
    oracle = Oracle(image)
    contents = dict(image)
    cases = [without(image, *names) for count in (1, 2) for names in combinations(contents, count)]
    for one, two in permutations(contents, 2):
        cases.append(changed(changed(image, one, contents[two]), two, contents[one]))
        cases.append(changed(image, one, contents[two]))
    for name, content in image:
        cases.append((*without(image, name), (f"{name}.bak", content)))
        cases.append(changed(image, name, other[name]))
        cases.append(without(changed(image, name, other[name]), "DATABASE"))
    for case in cases:
        judge(case, history.states, least=oracle.reach(case))
    evidence("diagnoses", len(cases))


@pytest.mark.slow
def test_several_damages_at_once_are_judged_as_opening_does(
    evidence: Callable[[str, int], None],
) -> None:
    """The same for up to four kinds at once, earlier versions of files among them."""
    world, seen = World(), []
    world.observe = lambda _: seen.append(image_of(world))
    history = lived(world)
    image = history.image()
    oracle, count = Oracle(image), examples(900)
    wrecker = Wrecker(random.Random(11), earlier_versions(seen))  # noqa: S311  reproducible
    for _ in range(count):
        wreck = wrecker.wreck(image)
        judge(wreck, history.states, least=oracle.reach(wreck))
    evidence("diagnoses", count)


@pytest.mark.slow
def test_crash_images_are_no_damage(evidence: Callable[[str, int], None]) -> None:
    """What a crash leaves at any moment is diagnosed as what opening makes of it: healthy."""
    world, moments = World(), []
    world.observe = lambda _: moments.append(world.moment())
    states = lived(world).states
    seed = random.Random(3)  # noqa: S311  reproducible, not secret
    seen: set[Image] = set()
    for moment in moments[:: max(1, 4 // examples(1))]:
        found = list(images(moment, limit=60))
        seen.update(seed.sample(found, min(len(found), examples(12))))
    for image in seen:
        diagnosis = judge(image, states).diagnosis
        assert diagnosis.healthy or not diagnosis.files, diagnosis.verdict
    assert len(seen) > 300
    evidence("diagnoses", len(seen))
