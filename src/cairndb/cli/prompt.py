"""`shell`: a Python prompt with the database open."""

import code
import signal
import sys
from typing import Annotated

from typer import Option

import cairndb
from cairndb.cli import output, writing
from cairndb.cli.reading import Database


def shell(
    database: Database,
    *,
    root: writing.RootOption = None,
    write: Annotated[bool, Option("--write", help="Open for changing; takes the lock.")] = False,
) -> None:
    """Open a Python prompt with the database as `db`.

    Example: cairn shell bank.cairn --root bank:Bank
    """
    # Programs that are tried out here expect an exception, not the end, from a closed socket.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    root_type = writing.root_of(database, root)
    with (
        output.progress("opening") as progress,
        cairndb.open(
            database, root_type, create=False, read_only=not write, progress=progress
        ) as db,
    ):
        names = {"db": db, "cairndb": cairndb, getattr(root_type, "__name__", "dict"): root_type}
        block = "with db.update() as root:" if write else "with db.view() as root:"
        state = "for changing" if write else "for reading; --write opens it for changing"
        if sys.stdin.isatty():
            _complete(names)
        code.interact(
            banner=f"cairndb: db is {database}, open {state}.\nTry: {block}",
            local=names,
            exitmsg="",
        )


def _complete(names: dict[str, object]) -> None:
    try:
        import readline  # noqa: PLC0415  not on every system
        from rlcompleter import Completer  # noqa: PLC0415
    except ModuleNotFoundError:
        return
    readline.set_completer(Completer(names).complete)
    readline.parse_and_bind("tab: complete")
