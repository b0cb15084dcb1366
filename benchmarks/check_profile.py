"""Where an operation's time goes, by Python function and by C function."""

import cProfile
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

TOP = 25
TOP_BUILTIN = 10

# A function's name, how often it was called, and its own seconds.
Called = tuple[str, int, float]


def calls(work: Callable[[], object]) -> list[Called]:
    """Profile some work: the functions of this thread, those written in C too, with own time."""
    profile = cProfile.Profile(time.thread_time)
    profile.runcall(work)
    profile.create_stats()
    rows = vars(profile)["stats"].items()
    return [
        (name if file == "~" else named(file, line, name), number, own)
        for (file, line, name), (_, number, own, _, _) in rows
    ]


def bytecodes(work: Callable[[], object]) -> dict[str, int]:
    """How many bytecode instructions each Python function takes: the same in every run.

    Python 3.13 doesn't tell those of the first call: of a loop over operations, none.
    """
    counted: Counter[Any] = Counter()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        elif event == "opcode":
            counted[frame.f_code] += 1
        return trace

    threading.settrace(trace)
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
        threading.settrace(None)
    return {
        named(code.co_filename, code.co_firstlineno, code.co_name): number
        for code, number in counted.items()
    }


def named(file: str, line: int, name: str) -> str:
    """A function, as a reader finds it: file, line, name."""
    return f"{'/'.join(Path(file).parts[-2:])}:{line} {name}"


def by_function(text: str) -> dict[str, int]:
    """The instructions that each C function has taken itself, from what callgrind has written.

    The format: `fn=(ID) NAME` begins a function, its name only the first time; the cost lines that
    follow are its own, but for the one after `calls=`, which is what it has called.
    """
    names: dict[str, str] = {}
    counted: Counter[str] = Counter()
    function, inclusive = "", False
    for line in text.splitlines():
        if line and line[0] in "0123456789+-*":
            if inclusive:
                inclusive = False
            elif function:
                counted[function] += int(line.split()[1])
        elif line.startswith("calls="):
            inclusive = True
        elif line.startswith(("fn=", "cfn=")):
            number, _, name = line.partition("=")[2].partition(" ")
            function_named = names.setdefault(number, name or number)
            if line.startswith("fn="):
                function = function_named
    return dict(counted)


def python_table(found: dict[str, Any], count: int) -> str:
    """The Python functions, and the C functions that they call, per operation.

    Args:
        found: `calls` and `bytecodes`.
        count: how many operations that was.
    """
    steps: dict[str, int] = found["bytecodes"]
    lines = [
        f"{'bytecodes':>10} {'calls':>8} {'own µs':>9}  function, per operation (µs: profiled)"
    ]
    rows = sorted(found["calls"], key=lambda row: (-steps.get(row[0], 0), -row[2]))
    inner = [row for row in rows if row[0] in steps][:TOP]
    outer = sorted((row for row in rows if row[0] not in steps), key=lambda row: -row[2])
    for name, called, own in inner + outer[:TOP_BUILTIN]:
        numbers = f"{steps.get(name, 0) / count:10,.1f} {called / count:8,.2f}"
        lines.append(f"{numbers} {own / count * 1e6:9.3f}  {name}")
    lines.append(f"{sum(steps.values()) / count:10,.1f} {'':8} {'':9}  all\n")
    return "\n".join(lines)


def c_table(functions: dict[str, int], count: int) -> str:
    """The C functions, by the instructions that they take themselves, per operation."""
    total = sum(functions.values())
    lines = ["", f"{'instructions':>12} {'share':>6}  C function, per operation"]
    for name, number in sorted(functions.items(), key=lambda item: -item[1])[:TOP]:
        lines.append(f"{number / count:12,.0f} {number / total:6.1%}  {name}")
    lines.append(f"{total / count:12,.0f} {1:6.1%}  all\n")
    return "\n".join(lines)
