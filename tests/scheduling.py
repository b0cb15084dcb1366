"""Every order in which a few threads can run through the locks, with a bounded number of switches.

After Musuvathi and Qadeer, "Iterative context bounding for systematic testing of multithreaded
programs" (PLDI 2007): most races need very few preemptions, so all schedules with up to that many
are tried. The threads are real, and one runs at a time: at each line of `locks` and `flusher` it
may be another's turn. Whoever holds a mutex keeps its turn: the mutexes hold nobody up for long,
and what is under them is seen by others only afterwards. Time stands still until nobody can run.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cairndb import flusher, locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    import pytest

_FILES: Final = frozenset({locks.__file__, flusher.__file__})
# It takes no part: no state that threads share.
_PLAIN: Final = "Waiter"
_HANG_SECONDS: Final = 60.0


@dataclass
class _Worker:
    body: Callable[[], None]
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ready: Callable[[], bool] = lambda: True
    until: float | None = None
    done: bool = False
    error: BaseException | None = None


class Choice(NamedTuple):
    """Whose turn it was, of how many whose turn it could have been."""

    options: int
    taken: int


class Schedule:
    """One run of some threads.

    Args:
        prefix: of the choices; after it nobody is preempted.
        bound: how many preemptions there may be.
    """

    def __init__(self, prefix: list[int], bound: int) -> None:
        self.choices: list[Choice] = []
        self._workers: list[_Worker] = []
        self._mutexes: list[threading.Lock] = []
        self._prefix = prefix
        self._preemptions_left = bound
        self._over = threading.Event()
        self._deadlock = False
        self._here = threading.local()
        self._clock = 0.0

    def prepare(self, bodies: list[Callable[[], None]], mutexes: list[threading.Lock]) -> None:
        """Say what is run.

        Args:
            bodies: what each thread does; they may call `pause`.
            mutexes: while one is taken nobody else gets a turn.
        """
        self._workers = [_Worker(body) for body in bodies]
        self._mutexes = mutexes

    def run(self) -> None:
        """Run it; raises what a body raised."""
        for worker in self._workers:
            threading.Thread(target=self._work, args=(worker,), daemon=True).start()
        self._pass_on(None)
        assert self._over.wait(_HANG_SECONDS), "a thread waits for something that is not known here"
        assert not self._deadlock, "nobody can go on"
        for worker in self._workers:
            if worker.error is not None:
                raise worker.error

    def _work(self, worker: _Worker) -> None:
        self._here.worker = worker
        worker.turn.acquire()
        try:
            sys.settrace(self._trace)
            worker.body()
        except BaseException as error:  # noqa: BLE001  raised again by run
            worker.error = error
        finally:
            sys.settrace(None)
            worker.done = True
            self._pass_on(None)

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        code = frame.f_code
        if code.co_filename not in _FILES or code.co_qualname.startswith(_PLAIN):
            return None
        if event == "line":
            self.pause()
        return self._trace

    def pause(self) -> None:
        """Here it may be another's turn."""
        if not any(mutex.locked() for mutex in self._mutexes):
            self._pass_on(self._here.worker)

    def _pass_on(self, me: _Worker | None) -> None:
        chosen = self._choose(me)
        if chosen is not None and chosen is not me:
            chosen.turn.release()
            if me is not None:
                me.turn.acquire()

    def _choose(self, me: _Worker | None) -> _Worker | None:
        waiting = [worker for worker in self._workers if not worker.done]
        able = [worker for worker in waiting if worker.ready()]
        if not able:
            timed = [worker for worker in waiting if worker.until is not None]
            if not timed:
                self._deadlock = bool(waiting)
                self._over.set()
                return None
            able = [min(timed, key=lambda worker: worker.until or 0.0)]
            self._clock = able[0].until or 0.0
        free = me not in able
        if not free:
            able.sort(key=lambda worker: worker is not me)
            if not self._preemptions_left:
                able = able[:1]
        taken = 0
        if len(able) > 1:
            number = len(self.choices)
            taken = self._prefix[number] if number < len(self._prefix) else 0
            self.choices.append(Choice(len(able), taken))
            self._preemptions_left -= taken > 0 and not free
        return able[taken]

    # What `locks` and `flusher` wait with

    def wait_at(self, gate: threading.Lock, until: float | None = None) -> bool:
        """See `locks.wait_at`."""
        worker: _Worker = self._here.worker
        worker.ready, worker.until = lambda: not gate.locked(), until
        self._pass_on(worker)
        worker.ready, worker.until = lambda: True, None
        return gate.acquire(blocking=False)

    def monotonic(self) -> float:
        """The time."""
        return self._clock

    def sleep(self, seconds: float) -> None:
        """Let the others go on."""
        worker: _Worker = self._here.worker
        worker.ready, worker.until = lambda: False, self._clock + seconds
        self._pass_on(worker)
        worker.ready, worker.until = lambda: True, None


Scene = tuple[list["Callable[[], None]"], list[threading.Lock]]


def schedules(
    scene: Callable[[Callable[[], None]], Scene], bound: int, patch: pytest.MonkeyPatch
) -> Iterator[int]:
    """Run a scene in every order; gives the number of each, after it has gone well.

    Args:
        scene: makes the bodies and the mutexes anew; is given what they pause with.
        bound: of preemptions.
        patch: what the threads wait with is replaced while this lasts.
    """
    prefix: list[int] = []
    number = 0
    while True:
        schedule = Schedule(prefix, bound)
        schedule.prepare(*scene(schedule.pause))
        patch.setattr(locks, "wait_at", schedule.wait_at)
        patch.setattr(flusher, "wait_at", schedule.wait_at)
        patch.setattr(locks, "time", schedule)
        schedule.run()
        number += 1
        yield number
        choices = list(schedule.choices)
        while choices and choices[-1].taken == choices[-1].options - 1:
            choices.pop()
        if not choices:
            return
        prefix = [*(choice.taken for choice in choices[:-1]), choices[-1].taken + 1]
