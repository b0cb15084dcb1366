"""When what failed is tried again."""

from __future__ import annotations

from cairndb.backoff import MOST_SECONDS, Backoff


def test_pauses_double_up_to_a_limit() -> None:
    """A second, two, four, and in the end five minutes."""
    backoff, now, pauses = Backoff(), 0.0, []
    for _ in range(12):
        backoff.failed("no room", now, now)
        pauses.append(backoff.next_at - now)
        assert backoff.waits(now)
        now = backoff.next_at
        assert not backoff.waits(now)

    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, MOST_SECONDS, MOST_SECONDS, MOST_SECONDS]


def test_a_long_try_makes_a_long_pause() -> None:
    """What took a minute to fail isn't begun again after a second."""
    backoff = Backoff()
    backoff.failed("killed", 0.0, 60.0)

    assert backoff.next_at == 120.0


def test_a_success_begins_anew() -> None:
    """After it nothing is waited for, and the next failure waits a second."""
    backoff = Backoff()
    for _ in range(5):
        backoff.failed("no room", 0.0, 0.0)
    backoff.succeeded()

    assert (backoff.problem, backoff.failures, backoff.waits(0.0)) == (None, 0, False)
    backoff.failed("no room", 0.0, 0.0)
    assert backoff.next_at == 1.0


def test_only_another_problem_is_new() -> None:
    """Numbers and random names in a message don't make it another one; other words do."""
    backoff = Backoff()

    assert backoff.failed("a.tmp-12-0badc0ffee123456: 4096 bytes are needed", 0.0, 0.0)
    assert not backoff.failed("a.tmp-345-fedcba9876543210: 8192 bytes are needed", 0.0, 0.0)
    assert backoff.failed("killed by signal 9", 0.0, 0.0)
    assert backoff.failed("a.tmp-12-0badc0ffee123456: 4096 bytes are needed", 0.0, 0.0)


def test_a_description_says_when_and_why() -> None:
    """How long ago, how often, what, and when next."""
    backoff = Backoff()
    for now in (10.0, 11.0, 13.0):
        backoff.failed("no room", now, now)

    assert (
        backoff.describe(15.0) == "the last try failed 2 s ago (3 in a row): no room; next in 2 s"
    )
