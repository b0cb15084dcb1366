"""Ctrl-C at every place where Python can notice it: tracing by bytecode instructions.

CPython runs signal handlers where functions start, after calls of C, and at jumps back (the
`eval_breaker` of Python/ceval.c), and there it has no tracer. So the tracer acts right before the
*next* instruction, and only if that has the same handlers as the one before: elsewhere it would
strike where no interrupt can.
"""

from __future__ import annotations

import contextlib
import dis
import gc
import signal
import sys
from functools import cache
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cairndb
from cairndb.locks import current_holder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIBRARY: Final = cairndb.__file__.removesuffix("__init__.py")
_CALLS: Final = frozenset({"CALL", "CALL_KW", "CALL_FUNCTION_EX"})


class Steps(NamedTuple):
    """A function's instructions, by their offsets."""

    names: dict[int, str]
    handlers: dict[int, int]
    """Where an exception at an offset goes on."""


@cache
def steps_of(code: CodeType) -> Steps:
    """The instructions of a function."""
    names = {step.offset: step.opname for step in dis.get_instructions(code)}
    handlers: dict[int, int] = {}
    for entry in dis._parse_exception_table(code):  # type: ignore[attr-defined]
        handlers |= dict.fromkeys(range(entry.start, entry.end, 2), entry.target)
    return Steps(names, handlers)


class Strike:
    """Does something at the n-th place where the library can be interrupted.

    Args:
        number: of the place, from 1.
        deed: what to do there; may raise.
    """

    def __init__(self, number: int, deed: Callable[[], object]) -> None:
        self.left = number
        self.place = ""
        self._deed = deed
        self._thread = current_holder()
        # Per running function the last instruction.
        self._before: dict[FrameType, int] = {}
        # The Python function that returned last, and where to.
        self._returned: tuple[FrameType | None, str] = (None, "")

    @property
    def reached(self) -> bool:
        """Whether there were so many places."""
        return self.left <= 0

    def instruction(self, frame: FrameType, offset: int) -> None:
        """The instruction at an offset is about to run."""
        if self.reached:  # frames that are noted stay alive, and with them what they hold
            return
        last = self._before.get(frame, -1)
        self._before[frame] = offset
        if self._noticed(frame, last, offset):
            self.left -= 1
            if self.left == 0:
                self.place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}, {offset}"
                self._before.clear()  # or it would keep alive what is let go with its frame
                self._returned = (None, "")
                self._deed()

    def returning(self, frame: FrameType) -> None:
        """A function returns."""
        if self.reached:
            return
        self._before.pop(frame, None)
        self._returned = (frame.f_back, frame.f_code.co_name)

    def _noticed(self, frame: FrameType, last: int, now: int) -> bool:
        if last < 0:
            return True  # the function has just started
        steps = steps_of(frame.f_code)
        if steps.handlers.get(last) != steps.handlers.get(now):
            return False
        name = steps.names[last]
        if name in _CALLS:
            # A call of Python that was inlined doesn't look when it returns; one through C does.
            caller, callee = self._returned
            self._returned = (None, "")
            return caller is not frame or callee == "__init__"
        return name.startswith("JUMP_BACKWARD")

    # How Python 3.11 traces

    def __call__(self, frame: FrameType, event: str, _argument: object) -> Any:
        """Trace a function of the library; the interface of `sys.settrace`."""
        if not frame.f_code.co_filename.startswith(LIBRARY):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.instruction(frame, frame.f_lasti)
        elif event == "return":
            self.returning(frame)
        return self

    # How later ones do: there `f_trace_opcodes` is without effect on a function under way.

    def on_instruction(self, _code: CodeType, offset: int) -> None:
        """The interface of `sys.monitoring`."""
        if current_holder() == self._thread:
            self.instruction(sys._getframe(1), offset)

    def on_return(self, _code: CodeType, _offset: int, _value: object) -> None:
        """The interface of `sys.monitoring`."""
        if current_holder() == self._thread:
            self.returning(sys._getframe(1))


def _library_code() -> Iterator[CodeType]:
    gc.unfreeze()  # what an opening of this process has set aside isn't among the objects
    waiting = [each.__code__ for each in gc.get_objects() if isinstance(each, FunctionType)]
    waiting = [code for code in waiting if code.co_filename.startswith(LIBRARY)]
    while waiting:
        code = waiting.pop()
        yield code
        waiting += [each for each in code.co_consts if isinstance(each, CodeType)]


@contextlib.contextmanager
def instrumented() -> Iterator[None]:
    """While this lasts, `traced` sees the instructions of the library.

    Nothing is collected meanwhile: in the `__del__` of what an earlier interrupt left an interrupt
    can only be printed, as in any `__del__`.
    """
    gc.collect()
    gc.disable()
    try:
        with _monitored():
            yield
    finally:
        gc.enable()


@contextlib.contextmanager
def _monitored() -> Iterator[None]:
    if sys.version_info < (3, 12):
        yield
        return
    monitoring = sys.monitoring
    tool = monitoring.DEBUGGER_ID
    events = monitoring.events.INSTRUCTION | monitoring.events.PY_RETURN
    codes = set(_library_code())
    monitoring.use_tool_id(tool, "interrupting")
    try:
        for code in codes:
            monitoring.set_local_events(tool, code, events)
        yield
    finally:
        for code in codes:
            monitoring.set_local_events(tool, code, 0)
        monitoring.free_tool_id(tool)


@contextlib.contextmanager
def traced(strike: Strike) -> Iterator[None]:
    """Strike in this thread, in the block."""
    if sys.version_info < (3, 12):
        before = sys.gettrace()
        sys.settrace(strike)
        try:
            yield
        finally:
            sys.settrace(before)
        return
    monitoring, events = sys.monitoring, sys.monitoring.events
    tool = monitoring.DEBUGGER_ID
    monitoring.register_callback(tool, events.INSTRUCTION, strike.on_instruction)
    monitoring.register_callback(tool, events.PY_RETURN, strike.on_return)
    try:
        yield
    finally:
        monitoring.register_callback(tool, events.INSTRUCTION, None)
        monitoring.register_callback(tool, events.PY_RETURN, None)


def interrupt() -> None:
    """What Ctrl-C does to the main thread."""
    signal.raise_signal(signal.SIGINT)
