"""`cairndb.open`: what the application asks for, judged, and turned into an open database.

Opening *is* recovery, whether the last owner closed, crashed or was killed: take the directory's
lock, load the newest good checkpoint, replay the log after it through the same door that commits
use, write again what isn't proven durable, and only then let anybody look.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from cairndb import opening
from cairndb.appender_parts import StoreOptions
from cairndb.database import Database
from cairndb.errors import UsageError
from cairndb.housekeeper import Housekeeper
from cairndb.retention import parse_retention
from cairndb.schema import compile_root
from cairndb.schema_change import Evolution

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cairndb.history import At
    from cairndb.opening import Progress
    from cairndb.schema_migrate import Migration

R = TypeVar("R")

Durability = Literal["commit", "interval", "process"]
LEVELS: Final = ("commit", "interval", "process")


@overload
def open(  # noqa: A001  cairndb.open, as gzip.open
    path: str | os.PathLike[str],
    *,
    create: bool = ...,
    read_only: bool = ...,
    at: At | None = ...,
    durability: Durability = ...,
    sync_interval: float = ...,
    guard: bool = ...,
    restart_target: float | None = ...,
    lock_timeout: float | None = ...,
    audit: bool = ...,
    progress: Progress | None = ...,
    version: int = ...,
    migrations: Mapping[int, Migration] | None = ...,
    drop: Collection[str] = ...,
    retain: str | None = ...,
) -> Database[dict[str, Any]]: ...


@overload
def open(  # noqa: A001
    path: str | os.PathLike[str],
    root: type[R],
    *,
    create: bool = ...,
    read_only: bool = ...,
    at: At | None = ...,
    durability: Durability = ...,
    sync_interval: float = ...,
    guard: bool = ...,
    restart_target: float | None = ...,
    lock_timeout: float | None = ...,
    audit: bool = ...,
    progress: Progress | None = ...,
    version: int = ...,
    migrations: Mapping[int, Migration] | None = ...,
    drop: Collection[str] = ...,
    retain: str | None = ...,
) -> Database[R]: ...


def open(  # noqa: A001
    path: str | os.PathLike[str],
    root: Any = dict[str, Any],
    *,
    create: bool = True,
    read_only: bool = False,
    at: At | None = None,
    durability: Durability = "commit",
    sync_interval: float = 0.1,
    guard: bool = True,
    restart_target: float | None = 2.0,
    lock_timeout: float | None = None,
    audit: bool = False,
    progress: Progress | None = None,
    version: int = 1,
    migrations: Mapping[int, Migration] | None = None,
    drop: Collection[str] = (),
    retain: str | None = None,
) -> Database[Any]:
    """Open a database, making it first if it isn't there.

    Args:
        path: the database's directory, `bank.cairn`, say.
        root: the type of the whole: a `Record` class whose fields all have defaults, or a
            `dict[K, V]`.
        create: whether to make a database where there is none.
        read_only: show the state as it is durable now, also beside an owner; it doesn't follow.
        at: show the state as it was at this LSN, or this time (an aware datetime), read-only.
        durability: `"commit"`: an update that has returned is on disk. `"interval"`: it was handed
            to the system, and is synced within `sync_interval`. `"process"`: it was handed to the
            system: it survives the death of this process, not of the machine.
        sync_interval: seconds between the syncs of `"interval"`.
        guard: whether dicts, lists and sets of the state refuse to be changed outside an update;
            without, they are plain builtins, quicker to load, and changing one is a bug nobody
            tells.
        restart_target: seconds that the next opening should take at most; a checkpoint is made in
            the background when it would take longer. None never makes one by itself.
        lock_timeout: seconds to wait for another owner to close; None doesn't wait.
        audit: whether to keep the name and arguments of each `run` with what it changed.
        progress: called while recovering, with the bytes read so far and the bytes to read.
        version: of the data, that the application counts up when it needs a migration.
        migrations: by the version that each starts from: a function of the whole tree as plain
            data, or of every record of some types, `{"Account": function}`. It changes what it is
            given, or returns what takes its place.
        drop: fields that were stored and may go, as `"Account.tags"`.
        retain: how much of the past to keep for `at`: `"7d"`, `"10GiB"`, `"all"`; None keeps what
            safety needs, the last two checkpoints and the log since.

    Raises:
        DatabaseLocked: another process (or this one) has it open for writing.
        SchemaError: `root` can't be kept, or what is stored can't be read as it, and no migration
            or `drop` settles that; nothing was changed.
        CorruptError: a file isn't what was written.
        CairnError: there is no database at `path`, and `create` is False.
    """
    if durability not in LEVELS:
        raise UsageError(f"durability is one of {', '.join(map(repr, LEVELS))}, not {durability!r}")
    reading = read_only or at is not None
    kind = compile_root(root, guard=guard)
    recovered = opening.recover(
        os.fspath(path),
        kind,
        Evolution(version, migrations or {}, drop),
        create=create,
        read_only=reading,
        at=at,
        lock_timeout=lock_timeout,
        sync_at_commit=durability == "commit",
        progress=progress,
        options=StoreOptions(retention=parse_retention(retain)),
    )
    engine = recovered.engine
    housekeeper = None
    if not reading:
        housekeeper = _keep_house(
            recovered, os.fspath(path), durability, sync_interval, restart_target
        )
    database: Database[Any] = Database(engine, housekeeper, os.fspath(path), audit=audit)
    try:
        for text in recovered.warnings:
            warnings.warn(text, RuntimeWarning, stacklevel=2)
    except BaseException:  # where warnings are errors nobody gets the database
        database.close()
        raise
    return database


def _keep_house(
    recovered: opening.Recovered,
    path: str,
    durability: Durability,
    sync_interval: float,
    restart_target: float | None,
) -> Housekeeper:
    """What is done in the background for an owner."""
    housekeeper = Housekeeper(
        recovered.engine,
        path,
        sync_interval=sync_interval,
        sync_soon=durability != "process",
        restart_target=restart_target,
        load_rate=recovered.load_rate,
    )
    recovered.engine.wake = housekeeper.wake
    return housekeeper
