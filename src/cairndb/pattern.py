"""Patterns of paths: `/accounts/*/balance`, `/accounts/**`.

A pattern is steps joined by `/`; the slash before the first may be left out.

    *       any one step
    **      any number of steps, none included
    text    that step, as in a path

A step that is text means the text key that it is, and the key whose JSON it is: `17` is the key
"17", the key 17 and position 17, `[1,"a"]` the key (1, "a"). So a key that is called `*` is written
as its JSON, `"*"`, with the quotes. `~1` is a slash, `~0` a tilde (RFC 6901). The moment that a key
is may be written in ISO 8601.

Unlike in a path, nothing is looked up to tell which of them is meant: `-1` isn't the last position,
since that is another one after every append. Keys are told apart as a dict does: 1, 1.0 and True
are one key.

Paths are walked step by step, so that whoever looks for matches in a tree sees early where there
can't be any. What a place stands for in `Walk` are the steps that could come next, all at once, as
in Thompson's construction: no pattern takes longer than its length for each step.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from cairndb import codec
from cairndb.notation import WILDCARDS, escape, key_from_text, parse_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ONE, MANY = WILDCARDS


class Exact(Struct, frozen=True):
    """A step that isn't a wildcard.

    Args:
        text: as given, without escapes.
        meanings: the keys and positions that it may be.
    """

    text: str
    meanings: frozenset[Any]


Step = Exact | str
"""`ONE`, `MANY`, or what it is exactly."""


class Pattern(Struct, frozen=True, dict=True):
    """Which paths are meant.

    Args:
        steps: what each of them may be.
    """

    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """The pattern that a text stands for; every text is one."""
        return cls(tuple(s if s in WILDCARDS else _exact(s) for s in parse_path(text)))

    @cached_property
    def start(self) -> Walk:
        """The root, seen from this pattern."""
        return Walk(self, self.closure([0]))

    @property
    def is_deep(self) -> bool:
        """Whether it ends in `**`: whatever is below a match is one, too."""
        return self.steps[-1:] == (MANY,)

    def matches(self, path: Iterable[Any]) -> bool:
        """Whether a path is meant.

        Args:
            path: of keys and positions, as stored or as Python has them.
        """
        return self.walk(path).matched

    def walk(self, path: Iterable[Any]) -> Walk:
        """A path, seen from this pattern."""
        walk = self.start
        for step in path:
            walk = walk.down(step)
        return walk

    def closure(self, places: Iterable[int]) -> frozenset[int]:
        """The places that are reached from some without a step: `**` may be none."""
        found, waiting = set[int](), list(places)
        while waiting:
            place = waiting.pop()
            found.add(place)
            if self.steps[place : place + 1] == (MANY,):
                waiting.append(place + 1)
        return frozenset(found)

    def __str__(self) -> str:
        steps = (step if isinstance(step, str) else escape(step.text) for step in self.steps)
        return "/" + "/".join(steps)


class Walk:
    """How a path that leads down from the root stands to a pattern.

    Args:
        pattern: which.
        places: the steps of the pattern that may come next; its length is its end.

    Attributes:
        matched: whether the path itself is meant.
        leads_on: whether something below the path may be meant.
        is_over: whether neither the path nor anything below it can be meant.
        wanted: the only keys and positions that can lead on; None where any can.
    """

    __slots__ = (
        "_below",
        "_exact",
        "_places",
        "is_over",
        "leads_on",
        "matched",
        "pattern",
        "wanted",
    )

    def __init__(self, pattern: Pattern, places: frozenset[int]) -> None:
        self.pattern = pattern
        self._places = places
        self.matched = len(pattern.steps) in places
        following = [pattern.steps[place] for place in places if place < len(pattern.steps)]
        self.leads_on = bool(following)
        self.is_over = not places
        self._exact = [step for step in following if isinstance(step, Exact)]
        meanings = frozenset[Any]().union(*(step.meanings for step in self._exact))
        self.wanted = meanings if len(self._exact) == len(following) else None
        # What lies below depends on nothing but which of the exact steps are met: found once, since
        # a state is walked at all its keys.
        self._below: dict[tuple[bool, ...], Walk] = {}

    def down(self, step: Any) -> Walk:
        """The path with one more step.

        Args:
            step: a key or position, as stored or as Python has it.
        """
        exact = self._exact
        met: tuple[bool, ...] = ()
        if exact:
            key = stored_step(step)
            met = tuple([key in each.meanings for each in exact])
        below = self._below.get(met)
        if below is None:
            reached = self._reached(
                {each for each, is_met in zip(exact, met, strict=True) if is_met}
            )
            below = self._below[met] = Walk(self.pattern, self.pattern.closure(reached))
        return below

    def _reached(self, met: set[Exact]) -> Iterator[int]:
        for place in self._places:
            for wanted in self.pattern.steps[place : place + 1]:
                if wanted == MANY:
                    yield place
                elif wanted == ONE or wanted in met:
                    yield place + 1


def _exact(text: str) -> Exact:
    meanings: set[Any] = {text}
    with suppress(ValueError):
        meanings.add(key_from_text(text))
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:  # without, it is stored as the text that it is
            meanings.add(moment)
    return Exact(text, frozenset(meanings))


_AS_STORED: Final = frozenset({str, int, bool, float, bytes})


def stored_step(step: Any) -> Any:
    """A key as it comes out of the bytes it is stored in: a UUID is text, an Enum its value."""
    if type(step) in _AS_STORED or (isinstance(step, datetime) and step.tzinfo is not None):
        return step
    if isinstance(step, list | tuple):
        return tuple(map(stored_step, step))
    return codec.decode(codec.encode(step))
