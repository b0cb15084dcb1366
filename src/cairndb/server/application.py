"""What is served, as the command line names it: a root class, or a function that opens it.

    bank:Bank         the type of the root; the daemon opens the database, as its settings say
    bank:open_bank    a function that is called with the database's path and returns it open, for
                      an application that has options of its own, migrations above all
    untyped           a database without declared types

The name is the operator's, from a command line or a file of his: nothing is ever imported by a name
that came over the network or out of a database.
"""

from __future__ import annotations

import importlib
import sys
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cairndb import opener
from cairndb.database import Database
from cairndb.errors import UsageError

if TYPE_CHECKING:
    from cairndb.opening import Progress
    from cairndb.server.settings import Loaded
    from cairndb.service import Middleware

UNTYPED: Final = "untyped"

_OPENING: Final = (
    *("create", "durability", "sync_interval", "restart_target", "retain"),
    *("version", "drop", "audit", "lock_timeout"),
)
"""The settings that are options of `cairndb.open`."""


class Served(NamedTuple):
    """An open database."""

    database: Database[Any]
    root: Any
    """The type of its root."""


def found(name: str, directory: str) -> Any:
    """What the command line names, in the application's code.

    Args:
        name: `module:Name`, or `untyped`.
        directory: where the module is imported from.

    Raises:
        UsageError: there is no such thing.
    """
    if name == UNTYPED:
        return dict[str, Any]
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise UsageError(
            f"what is served is module:Name, as bank:Bank, or 'untyped', not {name!r}: "
            "cairn serve bank:Bank bank.cairn"
        )
    sys.path.insert(0, str(Path(directory).absolute()))
    try:
        thing: Any = importlib.import_module(module)
        for part in attribute.split("."):
            thing = getattr(thing, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{name}: {error} (looked for in {directory} and sys.path)") from None
    return thing


def middleware_of(names: str, directory: str) -> list[Middleware]:
    """The application's own middleware.

    Args:
        names: `module:function,module:function`, the outermost first; empty for none.
        directory: where the modules are imported from.

    Raises:
        UsageError: one of them isn't there, or isn't a function.
    """
    listed = [name for name in names.replace(" ", "").split(",") if name]
    functions = [found(name, directory) for name in listed]
    for name, function in zip(listed, functions, strict=True):
        if not callable(function):
            raise UsageError(f"--middleware {name} isn't a function from a handler to a handler")
    return functions


def opened(thing: Any, loaded: Loaded, progress: Progress | None = None) -> Served:
    """Open the database.

    Args:
        thing: a type of its root, or a function that opens it.
        loaded: the settings.
        progress: as of `cairndb.open`.

    Raises:
        UsageError: it is neither, or settings are given that the function has to know of.
        CairnError: it can't be opened.
    """
    settings = loaded.settings
    if not settings.database:
        raise UsageError("which database? cairn serve bank:Bank bank.cairn")
    if isinstance(thing, type) or typing.get_origin(thing) is not None:
        return Served(_open(thing, loaded, progress), thing)
    if not callable(thing):
        raise UsageError(f"{settings.application} is neither a class nor a function")
    given = [name for name in _OPENING if loaded.given(name)]
    if given:
        raise UsageError(
            f"{settings.application} opens the database by itself: what is given as "
            f"{loaded.origins[given[0]].name} is said there, in its call of cairndb.open"
        )
    database = thing(settings.database)
    if not isinstance(database, Database):
        raise UsageError(
            f"{settings.application} was called with {settings.database!r}, and returned no open "
            f"database but a {type(database).__name__}"
        )
    return Served(database, database._engine.tree.kind.annotation)  # noqa: SLF001  what is served


def _open(root: Any, loaded: Loaded, progress: Progress | None) -> Database[Any]:
    settings = loaded.settings
    database: Database[Any] = opener.open(
        settings.database,
        root,
        create=settings.create,
        durability=settings.durability,
        sync_interval=settings.sync_interval,
        restart_target=settings.restart_target or None,
        lock_timeout=settings.lock_timeout or None,
        audit=settings.audit,
        progress=progress,
        version=settings.version,
        drop=[name for name in settings.drop.replace(" ", "").split(",") if name],
        retain=settings.retain or None,
    )
    return database
