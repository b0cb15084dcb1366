"""An operation that is cancelled at a chosen point of its own code, as a signal handler would.

The operation runs in a thread with a trace function, which counts the points that it comes to in
`cairndb.cancellation`: lines, or instructions. At the chosen one it calls something, there and
then: `token.cancel`, say. A profile function tells when the thread is about to sleep.

Python's collector of cycles must be off: it would call finalizers, which have points too, anywhere.
"""

from __future__ import annotations

import queue
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, Literal

from cairndb import cancellation
from cairndb.cancellation import Cancelled, CancelToken
from threads import LIMIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Points = Literal["line", "opcode"]

# All modules of the family begin so.
_PREFIX: Final = cancellation.__file__.removesuffix(".py")


class Stepped:
    """A call in a thread of its own that comes to points.

    Args:
        call: what is called.
        points: what is counted.
        at: the point to stop at, from 1; 0 for none.
        then: what is called there, in that thread.
    """

    def __init__(
        self,
        call: Callable[[], object],
        points: Points,
        at: int = 0,
        then: Callable[[], object] = lambda: None,
    ) -> None:
        # Set once:
        self._call = call
        self._points = points
        self._at = at
        self._then = then
        # Written by the thread, read when it is over or asleep:
        self.count = 0
        self.result: object = None
        self.error: BaseException | None = None
        self.states: queue.Queue[Literal["sleeping", "over"]] = queue.Queue()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        sys.setprofile(self._profile)
        sys.settrace(self._trace)
        try:
            self.result = self._call()
        except BaseException as error:  # noqa: BLE001  looked at by the test
            # Without its frames, which refer to this object: they would keep things open.
            self.error = error.with_traceback(None)
        finally:
            sys.settrace(None)
            sys.setprofile(None)
            self.states.put("over")

    def _trace(self, frame: FrameType, _event: str, _argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(_PREFIX):
            return None
        frame.f_trace_opcodes = self._points == "opcode"
        return self._step

    def _step(self, _frame: FrameType, event: str, _argument: object) -> Any:
        if event == self._points:
            self.count += 1
            if self.count == self._at:
                self._then()
        return self._step

    def _profile(self, _frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call" and argument.__name__ == "poll":
            self.states.put("sleeping")

    def wait(self) -> Literal["sleeping", "over"]:
        """Until it is about to sleep for the first time, or over."""
        return self.states.get(timeout=LIMIT_SECONDS)

    def join(self) -> None:
        """Until it is over; fails if it isn't soon."""
        self.thread.join(LIMIT_SECONDS)
        assert not self.thread.is_alive(), f"it sleeps on, cancelled at point {self._at}"


def points_until_sleep(operation: Callable[..., object], points: Points) -> int:
    """How many points an operation comes to before it sleeps."""
    token = CancelToken()
    stepped = Stepped(lambda: operation(cancel=token), points)
    assert stepped.wait() == "sleeping"
    count = stepped.count
    token.cancel()
    stepped.join()
    assert isinstance(stepped.error, Cancelled)
    return count


def cancelled_at(operation: Callable[..., object], points: Points, at: int) -> Stepped:
    """Run an operation and cancel it at a point, or when it sleeps without having come there."""
    token = CancelToken()
    stepped = Stepped(lambda: operation(cancel=token), points, at, token.cancel)
    if stepped.wait() == "sleeping" and stepped.count < at:
        token.cancel()
    stepped.join()
    return stepped


def crossed(
    operation: Callable[..., object], points: Points, at: int, cancel_at: int
) -> tuple[Stepped, bool]:
    """Run an operation up to a point, another thread's `cancel` up to a point of its own; go on.

    The operation goes on until it sleeps or is over; only then the other does.

    Args:
        operation: what is ended.
        points: what is counted, in both.
        at: the operation's point.
        cancel_at: the other's.

    Returns:
        The operation, and whether `cancel` came to its point.
    """
    token = CancelToken()
    there, go_on = threading.Event(), threading.Event()
    cancelling: list[Stepped] = []

    def pause() -> None:
        there.set()
        assert go_on.wait(LIMIT_SECONDS)

    def begin() -> None:
        def cancel() -> None:
            token.cancel()
            there.set()

        cancelling.append(Stepped(cancel, points, cancel_at, pause))
        assert there.wait(LIMIT_SECONDS)

    stepped = Stepped(lambda: operation(cancel=token), points, at, begin)
    if stepped.wait() == "sleeping" and not cancelling:
        token.cancel()
    go_on.set()
    stepped.join()
    for each in cancelling:
        each.join()
    return stepped, bool(cancelling) and cancelling[0].count >= cancel_at
