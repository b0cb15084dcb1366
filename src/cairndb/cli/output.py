"""How every command speaks: results to stdout, everything else to stderr, and a number at the end.

    0    done
    1    the answer is no: nothing at that path, findings of `verify`, `doctor`
    2    it was asked wrongly: options, arguments, a value of the wrong type
    3    the database can't: locked, damaged, full, missing
    130  interrupted

An error is one line on stderr. Colour, columns and bars are for terminals; what goes into a pipe or
a file is plain, and with `--json` a contract. `NO_COLOR` makes terminals plain too.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from cairndb.cli import values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

NEGATIVE: Final = 1
USAGE: Final = 2
DATABASE: Final = 3
INTERRUPTED: Final = 130

_PATIENCE_SECONDS: Final = 1.0  # people wait this long without asking what is going on


class Negative(Exception):  # noqa: N818  an answer, not a fault
    """The answer is no; the message says why."""


class Misuse(Exception):  # noqa: N818  whoever asked must ask differently
    """The command can't work as it was given; the message says what to write instead."""


def say_error(message: object) -> None:
    """One line to stderr."""
    line = " ".join(str(message).split())
    sys.stderr.write(f"cairn: {line}\n")


def on_terminal() -> bool:
    """Whether a person reads the results as they come."""
    return sys.stdout.isatty()


def write(text: str) -> None:
    """One line of results."""
    sys.stdout.write(text + "\n")


def size_text(count: int) -> str:
    """A number of bytes as people read it: `1.5 MiB (1,572,864 bytes)`."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} bytes" if unit == "bytes" else f"{size:,.1f} {unit} ({count:,} bytes)"


def flush() -> None:
    """Have what was written seen, though more may come."""
    sys.stdout.flush()


def write_json(value: Any, *, compact: bool = False) -> None:
    """A JSON value: indented, or on one line; coloured for people."""
    text = values.dumps(value, indent=None if compact else 2)
    if on_terminal() and len(text) < 100_000:  # colouring much more takes longer than reading it
        from rich.text import Text  # noqa: PLC0415  not needed in a pipe, and slow to import

        console().print(_highlighted(Text(text)), soft_wrap=True)
    else:
        write(text)


def _highlighted(text: Any) -> Any:
    from rich.highlighter import JSONHighlighter  # noqa: PLC0415  as above

    JSONHighlighter().highlight(text)
    return text


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A Rich console that shows what it is given: no markup, no emoji, no lines cut in a pipe."""
    from rich.console import Console  # noqa: PLC0415  a third of the start-up time

    return Console(
        stderr=stderr,
        width=width,
        # Rich would only leave out the colours, and keep bold.
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=not on_terminal(),
    )


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr for whatever takes over a second, if stderr is a terminal.

    Args:
        what: a word or two that says what takes so long.

    Yields:
        A function to call with how much is done and how much there is in all; 0 if
        that isn't known.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.progress import Progress  # noqa: PLC0415  only where a bar can be seen

    bar = Progress(console=console(stderr=True), transient=True)
    task = bar.add_task(what)
    started = time.monotonic()
    visible = False

    def advance(done: int, total: int) -> None:
        nonlocal visible
        if not visible and time.monotonic() - started > _PATIENCE_SECONDS:
            visible = True
            bar.start()
        if visible:
            bar.update(task, completed=done, total=total or None)

    try:
        yield advance
    finally:
        if visible:
            bar.stop()


@contextmanager
def steps(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """`progress` for work that says how much it has done since it said so last.

    Args:
        what: a word or two that says what takes so long.
        total: how much there is in all.
    """
    done = 0
    with progress(what) as advance:

        def step(count: int) -> None:
            nonlocal done
            done += count
            advance(done, total)

        yield step
