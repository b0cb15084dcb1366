"""A program on a system whose calls fail: each case in a forked process, judged by opening again.

    LD_PRELOAD=failing.so python failing.py LIBRARY FOLDER ACTION ERRNO NUMBER KIND...

For every call of the workload that is of those kinds, in turn (or only for that number, if it isn't
0): a child runs the workload, and that call fails, is shortened, or kills it. What the child is
promised it says on a pipe. Then the database is opened again, with nothing failing, and must hold
exactly what was acknowledged, or that and the one update whose outcome was left open. A line of
JSON per case says how it went.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import shutil
import sys
import traceback
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from cairndb.errors import CairnError, DatabaseFailed, DiskFull, ReadOnlyError
from cairndb.files import RealDirectory, is_temporary
from traced_workload import InlineHousekeeper, idle, open_directory, open_engine, put, state

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.engine import Engine
    from cairndb.housekeeper import Housekeeper

KINDS: Final = (
    *("open", "create", "read", "write", "sync", "allocate", "truncate", "rename", "remove"),
    *("make", "lock", "close", "list"),
)
"""What a call may be about, as the library counts them."""

ACTIONS: Final = ("count", "fail", "fail ever after", "shorten", "shorten and fail", "die")
"""What may happen at a call: nothing; it fails, once or with all that follow; it does only the
first half of its work, and the next one fails or not; the process is killed before it."""

GROUPS: Final = ((5, 700, 600), (20, 300), (40, 50)), ((60,),)
"""The sizes of the updates of two owners, with a checkpoint after each group."""


class Case(msgspec.Struct):
    """How a call failed, and what came of it."""

    number: int
    """Of the call, from 1 on."""
    kind: str
    said: list[str]
    """By the child: see `Life`."""
    killed: bool
    wrong: str
    """What is not as it should be; empty if all is well."""


class Failing:
    """The library that was loaded before libc.

    Args:
        path: of the library.
    """

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)

    def _number(self, name: str) -> ctypes.c_long:
        return ctypes.c_long.in_dll(self._library, f"failing_{name}")

    def watch(self, folder: Path, kinds: list[str]) -> None:
        """Count the calls of these kinds that are about files below a folder."""
        buffer = (ctypes.c_char * 4096).in_dll(self._library, "failing_folder")
        buffer.value = os.fsencode(folder)
        self._number("kinds").value = sum(1 << KINDS.index(kind) for kind in kinds)

    def plan(self, number: int, action: str, code: int) -> None:
        """Have something happen at a call to come."""
        self._number("number").value = number
        self._number("action").value = ACTIONS.index(action)
        self._number("errno").value = code

    def seen(self) -> str:
        """What the calls so far were about; nothing fails from now on."""
        self._number("kinds").value = 0
        seen = (ctypes.c_char * (1 << 16)).in_dll(self._library, "failing_seen").raw
        return " ".join(KINDS[kind] for kind in seen[: self._number("count").value])


class Life:
    """The workload, which looks after each error whether the object is usable or dead.

    It says `+ name size` when it submits an update, `=` when that is acknowledged (or found after
    opening again), `-` when it was refused or isn't there; `! text` for an error.

    Args:
        path: of the database.
        say: is told.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self.state: dict[str, str] = {}
        self._submitted: dict[str, str] = {}
        self._names = count(1)

    def run(self) -> None:
        """Both owners."""
        for seed, groups in zip("ab", GROUPS, strict=True):
            try:
                engine = self._open(seed)
            except (CairnError, OSError) as error:
                self._named(error)
                continue
            keeper = idle(InlineHousekeeper, engine, str(self._path))
            with suppress(DatabaseFailed):
                self._settle(engine)
                for group in groups:
                    for size in group:
                        self._update(engine, keeper, size)
                    self._checkpoint(engine, keeper)
            keeper.stop()
            try:
                engine.close()
            except DatabaseFailed as error:
                self._named(error)

    def _open(self, seed: str) -> Engine:
        directory = open_directory(str(self._path))
        try:
            return open_engine(directory, seed)
        except BaseException:
            with suppress(OSError):
                directory.close()
            raise

    def _settle(self, engine: Engine) -> None:
        """An update whose outcome was open is there or isn't."""
        found = self._view(engine)
        if found == self.state | self._submitted:
            self._say("=")
            self.state = found
        else:
            assert found == self.state
            self._say("-")
        self._submitted = {}

    def _view(self, engine: Engine) -> dict[str, str]:
        try:
            return state(engine)
        except DatabaseFailed as error:
            self._dead(engine, error)
            raise

    def _update(self, engine: Engine, keeper: Housekeeper, size: int) -> None:
        for _ in range(2):  # what was refused is tried once more
            self._submitted = {str(next(self._names)): "x" * size}
            self._say(f"+ {next(iter(self._submitted))} {size}")
            try:
                put(engine, *next(iter(self._submitted.items())))
            except (DiskFull, ReadOnlyError) as error:
                self._named(error)
                self._say("-")
                self._submitted = {}
                assert self._view(engine) == self.state, "refused, and yet something happened"
            except DatabaseFailed as error:
                self._dead(engine, error, keeper)
                raise
            else:
                self._say("=")
                self.state |= self._submitted
                self._submitted = {}
                assert self._view(engine) == self.state
                return

    def _checkpoint(self, engine: Engine, keeper: Housekeeper) -> None:
        try:
            keeper.checkpoint()
        except DatabaseFailed as error:
            self._dead(engine, error, keeper)
            raise
        except (CairnError, OSError) as error:
            self._named(error)
            assert self._view(engine) == self.state

    def _dead(self, engine: Engine, error: Exception, keeper: Housekeeper | None = None) -> None:
        """Every call must say so."""
        self._named(error)
        uses: list[Callable[[], object]] = [
            lambda: put(engine, "x", "y"),
            lambda: state(engine),
            engine.sync,
        ]
        if keeper is not None:
            uses.append(keeper.checkpoint)
        for use in uses:
            try:
                use()
            except DatabaseFailed:
                continue
            raise AssertionError("neither usable nor dead")

    def _named(self, error: Exception) -> None:
        self._say(f"! {type(error).__name__}: {error}")
        assert str(self._path.parent) in str(error), "the error doesn't name the file"


class Outcome(NamedTuple):
    """What a child said, and how it ended."""

    said: list[str]
    killed: bool


def live_in_child(path: Path, prepare: Callable[[], None], after: Callable[[], str]) -> Outcome:
    """Fork, run the workload, and listen to it.

    Args:
        path: of the database.
        prepare: called first in the child.
        after: called last in the child; it says what comes out.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            prepare()
            Life(path, lambda text: _say(writing, text)).run()
        except BaseException:  # noqa: BLE001  whatever it is, the parent judges it
            _say(writing, "bug: " + traceback.format_exc())
        finally:
            _say(writing, after())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = [json.loads(line) for line in stream]
    _, status = os.waitpid(child, 0)
    return Outcome(said, status != 0)


def _say(descriptor: int, text: str) -> None:
    os.write(descriptor, json.dumps(text).encode() + b"\n")


def promised(said: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What was acknowledged by the end of a life, and what may be there besides."""
    acknowledged: dict[str, str] = {}
    submitted: dict[str, str] = {}
    for text in said:
        if text.startswith("+"):
            _, name, size = text.split()
            submitted = {name: "x" * int(size)}
        elif text in {"=", "-"}:
            acknowledged |= submitted if text == "=" else {}
            submitted = {}
    return acknowledged, submitted


def check(path: Path, said: list[str]) -> None:
    """Open what a life has left, go on with it, and open it again."""
    for text in said:
        assert not text.startswith("bug: "), text
    acknowledged, submitted = promised(said)
    engine = open_engine(open_directory(str(path)), "c")
    found = state(engine)
    assert found in (acknowledged, acknowledged | submitted), (acknowledged, submitted, found)
    assert not any(map(is_temporary, engine.directory.names()))
    put(engine, "after", "all")
    engine.close()
    engine = open_engine(RealDirectory(str(path)), "d", create=False)
    assert state(engine) == found | {"after": "all"}
    engine.close()


class Plan(NamedTuple):
    """What is to happen to which calls."""

    action: str
    code: int
    only: int
    kinds: list[str]


def every_call(failing: Failing, path: Path, plan: Plan) -> None:
    """A case for every call of these kinds."""

    def run(number: int) -> Outcome:
        def prepare() -> None:
            failing.plan(number, plan.action, plan.code)
            failing.watch(path.parent, plan.kinds)

        shutil.rmtree(path, ignore_errors=True)
        return live_in_child(path, prepare, failing.seen)

    gc.freeze()  # or every child copies what its first collection looks at
    said = run(0).said
    check(path, said[:-1])
    for number, kind in enumerate(said[-1].split(), 1):
        if plan.only not in {0, number}:
            continue
        outcome = run(number)
        wrong = ""
        try:
            check(path, outcome.said)
        except (AssertionError, CairnError, OSError):
            wrong = traceback.format_exc()
        case = Case(number, kind, outcome.said, killed=outcome.killed, wrong=wrong)
        sys.stdout.write(msgspec.json.encode(case).decode() + "\n")


def main() -> None:
    """See the module; with a path alone, one life whose calls somebody else lets fail."""
    if len(sys.argv) == 2:
        Life(Path(sys.argv[1]), lambda text: _say(1, text)).run()
    else:
        library, folder, action, code, only, *kinds = sys.argv[1:]
        plan = Plan(action, int(code), int(only), kinds)
        every_call(Failing(library), Path(folder) / "failing.cairn", plan)


if __name__ == "__main__":
    main()
