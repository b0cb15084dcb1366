"""What of the past is kept: by time, by size, all, or as little as is safe."""

from __future__ import annotations

import pytest

from cairndb.errors import UsageError
from cairndb.retention import ALL, NOTHING, Base, Retention, oldest_to_keep, parse_retention, spare

DAY = 86_400_000_000


def bases(*lsns: int, size: int = 10, log_bytes: int = 100) -> list[Base]:
    """Checkpoints made at noon of the days that their LSNs say."""
    return [Base(lsn, lsn * DAY, size, log_bytes) for lsn in lsns]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, NOTHING),
        ("all", ALL),
        ("7d", Retention(microseconds=7 * DAY)),
        ("1.5h", Retention(microseconds=5_400_000_000)),
        ("10GiB", Retention(bytes=10 << 30)),
        ("500 MB", Retention(bytes=500_000_000)),
    ],
)
def test_texts_are_understood(text: str | None, expected: Retention) -> None:
    """A number and a unit of time or size, or a word."""
    assert parse_retention(text) == expected


@pytest.mark.parametrize("text", ["7d", "90m", "all", "10GiB", "500MB", "1B", "3s", None])
def test_texts_come_back(text: str | None) -> None:
    """What was given is told as it was given."""
    assert parse_retention(text).text() == text


@pytest.mark.parametrize("text", ["", "7", "d", "7 days", "-1d", "7D", "10gib"])
def test_other_texts_are_refused(text: str) -> None:
    """With what can be written instead."""
    with pytest.raises(UsageError, match="10GiB"):
        parse_retention(text)


@pytest.mark.parametrize(
    ("retention", "oldest"),
    [
        (NOTHING, 4),
        (ALL, 0),
        (Retention(microseconds=2 * DAY), 3),
        (Retention(microseconds=DAY // 2), 4),
        (Retention(microseconds=30 * DAY), 0),
        (Retention(bytes=1), 4),
        (Retention(bytes=330), 3),
        (Retention(bytes=439), 3),
        (Retention(bytes=440), 2),
        (Retention(bytes=10_000), 0),
    ],
)
def test_history_begins_at_the_oldest_checkpoint_that_is_asked_for(
    retention: Retention, oldest: int
) -> None:
    """On day five, with a checkpoint a day; never less than the last two."""
    assert oldest_to_keep(retention, bases(0, 1, 2, 3, 4, 5), 5 * DAY) == oldest


def test_checkpoints_take_no_more_room_than_the_log_between() -> None:
    """The first and the last two stay; of the others those that the log since is as large as."""
    assert spare(bases(0, 1, 2, 3, 4, 5, size=100)) == set()
    assert spare(bases(0, 1, 2, 3, 4, 5, 6, size=200)) == {1, 3}
    assert spare(bases(0, 1, 2, 3, 4, 5, size=10_000)) == {1, 2, 3}
    assert spare(bases(4, 5)) == set()
