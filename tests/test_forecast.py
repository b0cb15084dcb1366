"""When a checkpoint is due: what opening would take stays within the stated bounds."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairndb.forecast import (
    LOAD_RATE,
    LOG_BYTES_MAX,
    LOG_BYTES_MIN,
    SEGMENTS_MAX,
    Forecast,
    ReplayMeter,
    Sizes,
)

MIB = 1 << 20


def forecast(target: float | None, replay: float = 0.0, growth: float = 0.0) -> Forecast:
    """A forecast of a machine that loads a MiB in a second, with a log of that many seconds."""
    meter = ReplayMeter(replay)
    found = Forecast(target, MIB, meter, 0.0)
    found.growth = growth
    return found


def sizes(load: float = 0.0, log_bytes: int = 2 * LOG_BYTES_MIN, segments: int = 1) -> Sizes:
    """A checkpoint that takes so many seconds to load, and a log."""
    return Sizes(int(load * MIB), log_bytes, segments)


@pytest.mark.parametrize(
    ("target", "replay", "growth", "size", "due", "why"),
    [
        (2.0, 1.0, 0.0, sizes(0.9), False, "opening would take 1.9 s of 2.0 s allowed"),
        (2.0, 1.2, 0.0, sizes(0.9), True, "2.1 s of 2.0 s"),
        (2.0, 1.0, 0.2, sizes(0.9), True, "by the time that a checkpoint is made"),
        (2.0, 0.6, 0.0, sizes(0.9)._replace(unproven=1.0), True, "2.1 s of 2.0 s"),
        (2.0, 0.4, 0.0, sizes(1.9), False, "nearly all of it for loading"),
        (2.0, 0.5, 0.0, sizes(1.9), True, "2.4 s of 2.0 s"),
        (2.0, 1.4, 0.0, sizes(3.0), False, "nearly all of it for loading"),
        (2.0, 1.6, 0.0, sizes(3.0), True, "4.6 s of 2.0 s"),
        (0.0, 9.0, 0.0, sizes(0.0, LOG_BYTES_MIN - 1), False, "under 1 MiB"),
        (0.0, 0.0, 0.0, sizes(0.0, 10, SEGMENTS_MAX + 1), True, "65 segments"),
        (9.0, 0.1, 0.0, sizes(0.1, LOG_BYTES_MAX + 1), True, "grown to 256 MiB"),
        (999.0, 0.1, 0.0, sizes(200.0, LOG_BYTES_MAX + 1), False, "of 999.0 s allowed"),
        (None, 99.0, 0.0, sizes(9.0), False, "only made when it is asked for"),
    ],
)
def test_a_checkpoint_is_due_for_a_reason(  # noqa: PLR0917  a table
    target: float | None, replay: float, growth: float, size: Sizes, due: object, why: str
) -> None:
    """By time, looking ahead; by share where loading takes the time; by size; by segments."""
    verdict = forecast(target, replay, growth).verdict(size)

    assert verdict.due is due
    assert why in verdict.why


def test_an_unknown_machine_is_guessed_with_caution() -> None:
    """Without a measured rate the guess is taken."""
    assert Forecast(2.0, None, ReplayMeter(), 0.0).load_seconds(Sizes(int(LOAD_RATE), 0, 0)) == 1.0


def test_the_meter_counts_small_entries_by_sample_and_large_ones_each() -> None:
    """One in sixteen small ones stands for all; a checkpoint takes away what was before it."""
    meter = ReplayMeter()
    for lsn in range(160):
        if meter.wants(lsn, 100):
            meter.add(100, 0.001)
    small = meter.total
    for lsn in range(10):
        assert meter.wants(lsn, 5000)
        meter.add(5000, 0.001)

    assert small == pytest.approx(160 * 0.002, rel=0.01)
    assert meter.total - small == pytest.approx(10 * 0.002, rel=0.01)
    meter.forget(small)
    assert meter.since_checkpoint == meter.total - small


def test_growth_is_that_of_the_last_moment_and_falls_slowly() -> None:
    """A burst is seen at once; after it the next look still expects most of it."""
    meter = ReplayMeter()
    found = Forecast(2.0, None, meter, 0.0)
    meter.add(1, 0.1 / 16)
    found.look(1.0)
    burst = found.growth
    found.look(2.0)

    assert burst == pytest.approx(0.2, rel=0.01)
    assert found.growth == 0.8 * burst


class Course(NamedTuple):
    """A simulated owner under a steady load."""

    longest: float
    """The longest that opening would have taken, after the first checkpoint."""
    longest_ever: float
    helper: float
    """How long the longest checkpoint took."""


def course(target: float, load: float, growth: float, slowness: list[float]) -> Course:
    """Run for four minutes, with a look every tenth of a second; checkpoints differ in slowness."""
    meter = ReplayMeter()
    found = Forecast(target, MIB, meter, 0.0)
    size = sizes(load, 100 * LOG_BYTES_MIN)
    longest = longest_ever = helper = 0.0
    began, ends, sealed, made = 0.0, float("inf"), 0.0, 0
    folded = 0.0
    for tick in range(1, 2400):
        now = tick / 10
        meter.total += growth / 10
        found.look(now)
        opening = load + found.replay_seconds(size)
        longest_ever = max(longest_ever, opening)
        longest = max(longest, opening) if made else 0.0
        if now >= ends:
            meter.forget(sealed)
            found.learn(load, folded, now - began)
            ends, made = float("inf"), made + 1
        elif ends == float("inf") and found.verdict(size).due:
            began, sealed, folded = now, meter.total, found.replay_seconds(size)
            ends = now + slowness[made % len(slowness)] * (0.3 + 1.5 * (load + folded))
            helper = max(helper, ends + 0.1 - began)  # also if it is under way at the end
    return Course(longest, longest_ever, helper)


@pytest.mark.slow
@given(
    st.floats(0.5, 5.0), st.floats(0.0, 10.0), st.floats(0.001, 0.2),
    st.lists(st.floats(0.5, 2.5), min_size=1, max_size=5),
)  # fmt: skip
def test_opening_stays_within_the_bound_under_any_load(
    target: float, load: float, growth: float, slowness: list[float]
) -> None:
    """However slow helpers are, from one to the next: time to open is what the module says."""
    seen = course(target, load, growth, slowness)
    share = 0.25 if load < target else 0.5
    beside = growth * (
        seen.helper + 0.2
    )  # a look comes up to a tenth of a second late, and ends so

    assert seen.longest_ever <= max(target, (1 + share) * load, load + beside) + beside


@pytest.mark.slow
@given(st.floats(1.0, 5.0), st.floats(0.01, 0.2), st.floats(0.5, 2.0))
def test_the_target_is_held_where_loading_leaves_room(
    target: float, growth: float, slowness: float
) -> None:
    """Once the first checkpoint has shown how long one takes, opening stays under the target."""
    load = target / 4
    helper = slowness * (0.3 + 1.5 * target)
    seen = course(target, load, growth, [slowness])

    if load + 2 * growth * helper < target:
        assert seen.longest <= target + 0.2 * growth + 0.01


@given(st.integers(0, 1 << 32), st.integers(1 << 20, 1 << 30), st.floats(0.1, 20.0))
def test_the_log_has_a_bound_however_quick_its_replay(
    checkpoint_bytes: int, rate: int, helper: float
) -> None:
    """With a target that is never reached, the log of two checkpoints is what LIFE.md says."""
    found = Forecast(1e9, None, ReplayMeter(), 0.0)
    since = before = most = 0.0
    left = None
    for _ in range(600):  # a look every tenth of a second
        since += rate / 10
        most = max(most, before + since)
        if left is None and found.verdict(Sizes(checkpoint_bytes, int(since), 1)).due:
            left, sealed = helper, since
        elif left is not None:
            left -= 0.1
            if left <= 0:
                before, since, left = sealed, since - sealed, None

    beside = rate * helper
    assert most <= 2 * max(1 << 28, 2 * checkpoint_bytes, beside) + beside + 0.5 * rate
