"""What is measured, in which unit; and what is asked of it: the targets, as ratios in one run."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from contenders import CAIRN, DEVICE, PEERS, PLAIN, UNGUARDED
from contenders.work import (
    AT_ONCE,
    CROWD,
    DURABLE,
    FIRST,
    HOT,
    ITERATE,
    LOAD,
    READ,
    UPDATE,
    VIEW,
)

# By figure and contender: a sample of each round.
Samples = dict[str, dict[str, list[float]]]

Unit = Literal["ns", "µs", "ms", "/s", "MB", "B", "×"]
FACTORS: Final = {"ns": 1e9, "µs": 1e6, "ms": 1e3}


@dataclass(frozen=True)
class Figure:
    """One figure.

    Args:
        title: for people.
        unit: of its samples; where it is a rate more is better, else less.
        durability: the level that the contenders were opened at.
        turn: how much longer its turns are than others'.
    """

    title: str
    unit: Unit
    durability: Literal["commit", "process", ""] = ""
    turn: float = 1.0

    def value(self, amount: float, count: float) -> float:
        """A sample, of seconds or bytes for so many operations."""
        if self.unit == "/s":
            return count / amount
        if self.unit == "MB":
            return amount / 1e6
        return amount / count * FACTORS.get(self.unit, 1.0)

    @property
    def more_is_better(self) -> bool:
        """Whether it is a rate."""
        return self.unit == "/s"


FIGURES: Final = {
    READ: Figure("Read a field of a random account, in a view", "ns"),
    HOT: Figure("Read a field of one of 1,000 hot accounts, in a view", "ns"),
    ITERATE: Figure("Read a field of every account, in a view, each", "ns"),
    VIEW: Figure("An empty view", "ns"),
    UPDATE: Figure("Update of one field, not synced", "µs", "process"),
    DURABLE: Figure("Update of one field, durable, one thread", "µs", "commit", 2.0),
    CROWD: Figure("Updates of one field, durable, 16 threads", "/s", "commit", 2.0),
    AT_ONCE: Figure("Updates of one field, durable, 1,000 tasks of asyncio", "/s", "commit"),
    LOAD: Figure("Load all accounts in one update, each", "µs", "process"),
    FIRST: Figure("From the start of a process to the first read", "ms"),
    "open": Figure("Open from a checkpoint, accounts", "/s"),
    "replay": Figure("Open from the log, updates", "/s"),
    "resident": Figure("Memory that the process grows by", "MB"),
    "objects": Figure("Memory of the objects themselves", "MB"),
    "checkpoint": Figure("Update not synced, the slowest of a thousand (p99.9)", "µs", "process"),
    f"scale {HOT}": Figure("Read of hot accounts, times as long as with few accounts", "×"),
    f"scale {READ}": Figure("Read of random accounts, times as long as with few accounts", "×"),
    f"scale {UPDATE}": Figure("Update not synced, times as long as with few accounts", "×"),
    "log bytes": Figure("Bytes in the log for an update of one field", "B"),
}


class MissingError(Exception):
    """A figure that a target needs hasn't been measured."""


@dataclass(frozen=True)
class Target:
    """What is asked of a figure.

    Args:
        title: which figure, for people.
        asked: the bound in words.
        bound: the bound.
        least: whether it must be reached; else it mustn't be exceeded.
        samples: what is held against it, one for each round.
    """

    title: str
    asked: str
    bound: float
    least: bool
    samples: Callable[[Samples], list[float]]

    def measured(self, samples: Samples) -> float | None:
        """The median; None if it wasn't measured."""
        try:
            found = self.samples(samples)
        except MissingError:
            return None
        return statistics.median(found)

    def met(self, measured: float) -> bool:
        """Whether that is as asked."""
        return measured >= self.bound if self.least else measured <= self.bound


def of(figure: str, who: str) -> Callable[[Samples], list[float]]:
    """The samples of a contender."""

    def found(samples: Samples) -> list[float]:
        try:
            return samples[figure][who]
        except KeyError:
            raise MissingError(figure) from None

    return found


def best(figure: str) -> Callable[[Samples], list[float]]:
    """The samples of the best peer."""

    def found(samples: Samples) -> list[float]:
        peers = [who for who in samples.get(figure, {}) if who in PEERS]
        if not peers:
            raise MissingError(figure)
        choose = max if FIGURES[figure].more_is_better else min
        return samples[figure][
            choose(peers, key=lambda who: statistics.median(samples[figure][who]))
        ]

    return found


def rate(figure: str, who: str) -> Callable[[Samples], list[float]]:
    """The rate, in operations a second, of a figure in microseconds."""
    return lambda samples: [1e6 / value for value in of(figure, who)(samples)]


def ratio(
    over: Callable[[Samples], list[float]], under: Callable[[Samples], list[float]]
) -> Callable[[Samples], list[float]]:
    """Of two, round by round."""
    return lambda samples: [a / b for a, b in zip(over(samples), under(samples), strict=True)]


def at_most(
    title: str, bound: float, of_what: str, samples: Callable[[Samples], list[float]]
) -> Target:
    """A target not to be exceeded."""
    return Target(title, f"≤ {bound:,.10g}{of_what}", bound, least=False, samples=samples)


def at_least(
    title: str, bound: float, of_what: str, samples: Callable[[Samples], list[float]]
) -> Target:
    """A target to be reached."""
    return Target(title, f"≥ {bound:,.10g}{of_what}", bound, least=True, samples=samples)


PLAIN_TIMES: Final = " × plain objects"
DEVICE_TIMES: Final = " × the raw device's rate"
PEER_TIMES: Final = " × the best peer"
QUIET, BESIDE = "cairndb, no checkpoint", "cairndb, beside a checkpoint"


def of_reads(figure: str) -> tuple[Target, ...]:
    """The targets of reading, of hot accounts or of random ones.

    Random ones are waited for: most of the time goes into fetching them from memory, and nothing
    that keeps Python objects can be ten times as fast as a store that keeps bytes.
    """
    word = {HOT: "hot", READ: "random"}[figure]
    plain = of(figure, PLAIN)
    return (
        at_most(
            f"read, {word}, guard=False", 1.1, PLAIN_TIMES, ratio(of(figure, UNGUARDED), plain)
        ),
        at_most(f"read, {word}, guarded", 1.8, PLAIN_TIMES, ratio(of(figure, CAIRN), plain)),
        at_least(
            f"read, {word}: how much faster", 10, PEER_TIMES, ratio(best(figure), of(figure, CAIRN))
        ),
    )


TARGETS: Final = (
    *(target for figure in (HOT, READ) for target in of_reads(figure)),
    at_most("iterate", 1.1, PLAIN_TIMES, ratio(of(ITERATE, CAIRN), of(ITERATE, PLAIN))),
    at_most("empty view", 3, " × `with threading.Lock()`", ratio(of(VIEW, CAIRN), of(VIEW, PLAIN))),
    at_most(
        "update, not synced", 0.5, " × sqlite3", ratio(of(UPDATE, CAIRN), of(UPDATE, "sqlite3"))
    ),
    at_most("update, not synced", 1.0, " × lmdb", ratio(of(UPDATE, CAIRN), of(UPDATE, "lmdb"))),
    at_most(
        "update, durable", 1.15, " × the raw device", ratio(of(DURABLE, CAIRN), of(DURABLE, DEVICE))
    ),
    at_most("update, durable", 0.8, PEER_TIMES, ratio(of(DURABLE, CAIRN), best(DURABLE))),
    at_least("durable, 16 threads", 2, PEER_TIMES, ratio(of(CROWD, CAIRN), best(CROWD))),
    at_least(
        "durable, 16 threads", 3, DEVICE_TIMES, ratio(of(CROWD, CAIRN), rate(DURABLE, DEVICE))
    ),
    at_least(
        "durable, 1,000 tasks", 5, DEVICE_TIMES, ratio(of(AT_ONCE, CAIRN), rate(DURABLE, DEVICE))
    ),
    at_most(
        "bulk load", 1.0, " × sqlite3 executemany", ratio(of(LOAD, CAIRN), of(LOAD, "sqlite3"))
    ),
    at_least("open from a checkpoint", 1.5e6, " records/s", of("open", CAIRN)),
    at_most("start to first read", 1.5, " × Redis", ratio(of(FIRST, CAIRN), of(FIRST, "Redis"))),
    at_least("log replay", 700_000, " updates/s", of("replay", CAIRN)),
    at_most(
        "memory of the process",
        1.15,
        PLAIN_TIMES,
        ratio(of("resident", CAIRN), of("resident", PLAIN)),
    ),
    at_most(
        "memory of the objects",
        1.15,
        PLAIN_TIMES,
        ratio(of("objects", CAIRN), of("objects", PLAIN)),
    ),
    at_most(
        "p99.9 beside a checkpoint",
        2,
        " × that without",
        ratio(of("checkpoint", BESIDE), of("checkpoint", QUIET)),
    ),
    at_most("read, hot", 1.2, " × with 10,000 accounts", of(f"scale {HOT}", CAIRN)),
    at_most("read, random", 1.2, " × with 10,000 accounts", of(f"scale {READ}", CAIRN)),
    at_most("update, not synced", 1.2, " × with 10,000 accounts", of(f"scale {UPDATE}", CAIRN)),
    at_most("log bytes of an update", 64, " bytes", of("log bytes", CAIRN)),
)
