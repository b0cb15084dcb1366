"""Ctrl-C at every line of the library that a view, an update or a wait runs through."""

from __future__ import annotations

import dis
import signal
import sys
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from cairndb.opening import own
from cairndb.schema import compile_root
from cairndb.transaction import Update, View
from simulated import SimulatedDirectory, World
from threads import Aside

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from cairndb.engine import Engine

Root = dict[str, int]
KIND = compile_root(Root, guard=True)
LIBRARY = cairndb.__file__.removesuffix("__init__.py")


@cache
def leaving_a_with(code: CodeType, offset: int) -> bool:
    """Whether the next instruction prepares the call of a block's `__exit__`.

    A tracer is called there; an interrupt can't strike, since the interpreter looks for them where
    functions start, after calls and at jumps back.
    """
    steps = list(dis.get_instructions(code))
    index = next(i for i, step in enumerate(steps) if step.offset == offset)
    names = [step.opname for step in steps[index : index + 3]]
    return names == ["LOAD_CONST"] * 3 and {step.argval for step in steps[index : index + 3]} == {
        None
    }


class InterruptAt:
    """Sends SIGINT to this process when the n-th line of the library is about to run."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: FrameType, event: str, _argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(LIBRARY):
            return None
        if event == "line" and not leaving_a_with(frame.f_code, frame.f_lasti):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return self


def interrupted(act: Callable[[], object], number: int) -> tuple[bool, bool]:
    """Run it with an interrupt at the n-th line: was it reached, and was it raised."""
    trace = InterruptAt(number)
    before = sys.gettrace()
    try:
        sys.settrace(trace)
        act()
    except KeyboardInterrupt:
        return True, True
    finally:
        sys.settrace(before)
    return trace.left <= 0, False


def put(engine: Engine, key: str, value: int) -> None:
    """One update."""
    with Update[Root](engine, 10.0, durable=True) as root:
        root[key] = value
        root["copy"] = value


def look(engine: Engine) -> Root:
    """One view."""
    with View[Root](engine, 10.0, durable=True) as root:
        return dict(root)


def test_an_interrupt_at_any_line_leaves_nothing_or_all() -> None:
    """Whichever line of an update is hit: none of it or all of it, no lock held, nobody hangs."""
    engine = own(SimulatedDirectory(World()), KIND, create=True).engine
    put(engine, "n", 0)
    last = 0
    for number in range(1, 10_000):
        reached, raised = interrupted(partial(put, engine, "n", number), number)
        found = Aside(lambda: look(engine)).result()
        assert found in ({"n": last, "copy": last}, {"n": number, "copy": number})
        assert raised == reached, "an interrupt was swallowed"
        assert not engine.lock.shared
        assert engine.lock._updater is None
        Aside(partial(put, engine, "n", number)).result()
        last = number
        if not reached:
            break
    assert 100 < last < 9_999
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupted_view_holds_nothing() -> None:
    """Whichever line of a view is hit, updates go on."""
    engine = own(SimulatedDirectory(World()), KIND, create=True).engine
    for number in range(1, 1_000):
        reached, raised = interrupted(partial(look, engine), number)
        assert raised == reached, "an interrupt was swallowed"
        assert not engine.lock.shared
        Aside(partial(put, engine, "n", number)).result()
        if not reached:
            break
    assert 10 < number < 999


@pytest.mark.parametrize("name", ["sync", "close"])
def test_an_interrupted_call_can_be_made_again(name: str) -> None:
    """Whichever line of sync or close is hit, calling it again does it."""
    for number in range(1, 1_000):
        world = World()
        engine = own(SimulatedDirectory(world), KIND, create=True).engine
        put(engine, "n", number)
        reached, raised = interrupted(getattr(engine, name), number)
        assert raised == reached, "an interrupt was swallowed"
        getattr(engine, name)()
        if name == "sync":
            put(engine, "m", number)
            engine.close()
        assert not world.locks
        if not reached:
            break
    assert 10 < number < 999
