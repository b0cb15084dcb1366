"""How long opening would take, and whether a checkpoint is due: numbers in, a verdict out.

    time to open = load + replay        of the newest checkpoint, and of the log after it

**Load** is the checkpoint's bytes over the rate at which this machine loaded it last, or a cautious
guess. **Replay** is metered: what a commit does to find its own entry good is what replay does with
it, so that of one small commit in sixteen, and of each large one, is timed. Of the log that was
there at opening it is known what it took.

**The trigger looks ahead.** The log grows while the helper works, so what counts is not opening
now, but opening when a checkpoint that is begun now will be done:

    due    if  load + replay + growth x helper > target   and   replay >= share x load

where *growth* is the seconds of replay that were logged per second lately, *helper* the seconds
that a checkpoint takes, by how long the last one took, and *share* is a quarter; a half where
loading alone takes longer than the target, since then nothing is held and only disk is worn. Logs
under 1 MiB never count. Where a checkpoint takes as long as the last one, or less, opening stays
under the target, as far as loading leaves room for that; and whatever happens, while checkpoints
can be made at all:

    time to open  <=  max(target, (1 + share) x load, load + growth x helper) + growth x helper

(The third where the helper has to begin anew as soon as it is done.) And however quick its replay,
the log after the newest checkpoint is kept under the larger of 256 MiB and twice the checkpoint,
but for what is appended while the helper works.
"""

from __future__ import annotations

from typing import Final, NamedTuple

# Bytes per second, until this machine has been measured: about half of what a small computer does.
LOAD_RATE: Final = 30e6
REPLAY_RATE: Final = 5e6
"""Of the log, for those who have no meter."""
# A log shorter than this is replayed in a moment, whatever the target.
LOG_BYTES_MIN: Final = 1 << 20
# A longer one is folded however quick its replay, unless the checkpoint is of the same size.
LOG_BYTES_MAX: Final = 1 << 28
# Every opening that writes begins a segment: a tool run again and again makes many small ones.
SEGMENTS_MAX: Final = 64
# Replay applies the entry too, and reads its frame, but of hundreds at once, which the processor's
# caches like: in all 0.2 to 0.6 times what is counted here for hot entries, up to 1.2 for others,
# and a nanosecond or two for each byte. The rest is caution, and makes up for a helper that folds
# slower than replay by more than the factor below: with 1.0 openings came to exceed the target.
_REPLAY_FACTOR: Final = 2.0
_SECONDS_A_BYTE: Final = 3e-9
_ENTRY_BYTES_LARGE: Final = 4096
_SAMPLED: Final = 16
_GROWTH_SECONDS: Final = 0.2
# A helper starts, loads, folds and writes untyped, and is read back.
_HELPER_START_SECONDS: Final = 0.3
_HELPER_FACTOR: Final = 1.5


class ReplayMeter:
    """The seconds that replaying the log after the newest checkpoint would take.

    Written under the update lock, by commits; read by anybody.

    Args:
        seconds: what the log that was there at opening took.
    """

    __slots__ = ("_forgotten", "total")

    def __init__(self, seconds: float = 0.0) -> None:
        self.total = seconds
        """Of all since opening; never falls."""
        self._forgotten = 0.0

    @staticmethod
    def wants(lsn: int, entry_bytes: int) -> bool:
        """Whether to time an entry: a large one counts for itself, a small one for sixteen."""
        return not lsn % _SAMPLED or entry_bytes > _ENTRY_BYTES_LARGE

    def add(self, entry_bytes: int, seconds: float) -> None:
        """Count an entry that was wanted.

        Args:
            entry_bytes: its length.
            seconds: of processor time that decoding and resolving it took.
        """
        count = 1 if entry_bytes > _ENTRY_BYTES_LARGE else _SAMPLED
        self.total += count * (_REPLAY_FACTOR * seconds + _SECONDS_A_BYTE * entry_bytes)

    def forget(self, total: float) -> None:
        """There is a checkpoint of the moment at which `total` was that."""
        self._forgotten = total

    @property
    def since_checkpoint(self) -> float:
        """Seconds."""
        return self.total - self._forgotten


class Sizes(NamedTuple):
    """What opening reads."""

    checkpoint_bytes: int
    log_bytes: int
    """After the checkpoint."""
    segments: int
    """That begin after it."""
    unproven: float = 0.0
    """The share of the log's entries that nothing proves durable: opening writes them again."""


class Verdict(NamedTuple):
    """Whether a checkpoint is due."""

    due: bool
    why: str
    """One plain sentence."""


class Forecast:
    """What opening would take, now and when a checkpoint is done.

    Args:
        target: seconds that opening may take; None for no limit.
        load_rate: bytes of checkpoint loaded per second at opening; None if that says nothing.
        meter: of the replay.
        now: seconds on some clock that never goes back.
    """

    def __init__(
        self, target: float | None, load_rate: float | None, meter: ReplayMeter, now: float
    ) -> None:
        self.target = target
        self._load_rate = load_rate or LOAD_RATE
        self._meter = meter
        self.growth = 0.0
        """Seconds of replay logged per second, lately."""
        self._looked_at, self._total_then = now, meter.total
        # How much longer than supposed the last checkpoint took to make; before there is one,
        # others may be at work on the machine.
        self._slowness = 2.0

    def look(self, now: float) -> None:
        """See how the log grows; called again and again while it does."""
        passed = now - self._looked_at
        if passed >= _GROWTH_SECONDS:
            grown = (self._meter.total - self._total_then) / passed
            # Falls slowly: a pause between two bursts says nothing of the next.
            self.growth = max(grown, 0.8 * self.growth)
            self._looked_at, self._total_then = now, self._meter.total

    def load_seconds(self, sizes: Sizes) -> float:
        """What loading the checkpoint would take."""
        return sizes.checkpoint_bytes / self._load_rate

    def replay_seconds(self, sizes: Sizes) -> float:
        """What replaying the log after it would take; to write an entry again takes as long."""
        return (1 + sizes.unproven) * self._meter.since_checkpoint

    def helper_seconds(self, load: float, replay: float) -> float:
        """How long a checkpoint would take to make.

        Args:
            load: see `load_seconds`.
            replay: see `replay_seconds`.
        """
        return self._slowness * _supposed_seconds(load, replay)

    def learn(self, load: float, replay: float, seconds: float) -> None:
        """A checkpoint took so long to make; larger surprises are believed at once.

        Args:
            load: see `load_seconds`, of the checkpoint before it.
            replay: of the log that it folded.
            seconds: from the sealing to the name.
        """
        seen = seconds / _supposed_seconds(load, replay)
        self._slowness = max(seen, (self._slowness + seen) / 2)

    def verdict(self, sizes: Sizes) -> Verdict:
        """Whether a checkpoint is due, and why or why not."""
        target = self.target
        if target is None:
            return Verdict(
                due=False, why="restart_target is None: one is only made when it is asked for"
            )
        if sizes.segments > SEGMENTS_MAX:
            return Verdict(due=True, why=f"opening would go through {sizes.segments} segments")
        if sizes.log_bytes < LOG_BYTES_MIN:
            return Verdict(due=False, why="the log is under 1 MiB")
        if sizes.log_bytes > max(LOG_BYTES_MAX, 2 * sizes.checkpoint_bytes):
            return Verdict(due=True, why=f"the log has grown to {sizes.log_bytes >> 20} MiB")
        return self._by_time(target, sizes)

    def _by_time(self, target: float, sizes: Sizes) -> Verdict:
        load, replay = self.load_seconds(sizes), self.replay_seconds(sizes)
        total = load + replay
        growth = (1 + sizes.unproven) * self.growth
        later = total + growth * self.helper_seconds(load, replay)
        text = f"opening would take {total:.1f} s of {target:.1f} s allowed"
        if later <= target:
            return Verdict(due=False, why=text)
        if replay < load * (0.25 if load < target else 0.5):
            more = f"{text}, nearly all of it for loading the checkpoint"
            return Verdict(due=False, why=f"{more}: another would not make it quicker")
        if total <= target:
            text += f", and {later:.1f} s by the time that a checkpoint is made"
        return Verdict(due=True, why=text)


def _supposed_seconds(load: float, replay: float) -> float:
    return _HELPER_START_SECONDS + _HELPER_FACTOR * (load + replay)
