"""Durable Python objects: a typed tree in memory, every update on disk before it returns.

    db = cairndb.open("bank.cairn", Bank)
    with db.update() as bank:
        bank.accounts["alice"] = Account("Alice", 100)

Start with `open`, `Record` and the README.
"""

from typing import TYPE_CHECKING, Any

from cairndb.database import Database
from cairndb.draft import plain
from cairndb.errors import (
    CairnError,
    Cancelled,
    Compacted,
    ConstraintError,
    CorruptError,
    DatabaseFailed,
    DatabaseLocked,
    DiskFull,
    FileLocked,
    LockTimeout,
    OutcomeUnknown,
    ReadOnlyError,
    RemoteError,
    ReplicaBehind,
    ResultLost,
    SchemaError,
    StaleDraft,
    Unavailable,
    UnknownPosition,
    UsageError,
    ValidationError,
)
from cairndb.index import Entries, Index
from cairndb.opener import open  # noqa: A004  cairndb.open, as gzip.open
from cairndb.record import Record, check, query, update
from cairndb.reference import Ref
from cairndb.watch import Watch
from cairndb.watch_calls import Subscription
from cairndb.watch_items import Change, ValueChange

__all__ = [
    "CairnError",
    "Cancelled",
    "Change",
    "Compacted",
    "ConstraintError",
    "CorruptError",
    "Database",
    "DatabaseFailed",
    "DatabaseLocked",
    "DiskFull",
    "Entries",
    "FileLocked",
    "Index",
    "LockTimeout",
    "OutcomeUnknown",
    "ReadOnlyError",
    "Record",
    "Ref",
    "RemoteError",
    "ReplicaBehind",
    "ResultLost",
    "SchemaError",
    "StaleDraft",
    "Subscription",
    "Unavailable",
    "UnknownPosition",
    "UsageError",
    "ValidationError",
    "ValueChange",
    "Watch",
    "check",
    "open",
    "plain",
    "query",
    "update",
]

if TYPE_CHECKING:
    from cairndb.client import Client as Client
    from cairndb.client import connect as connect
    from cairndb.replicas import Replica as Replica
    from cairndb.replicas import replica as replica
    from cairndb.server.http import asgi as asgi


def __getattr__(name: str) -> Any:
    # Not imported before it is asked for: it takes longer than all of the above, and needs
    # libraries of an extra.
    if name in {"Client", "connect"}:
        from cairndb import client  # noqa: PLC0415

        return getattr(client, name)
    if name in {"Replica", "replica"}:
        from cairndb import replicas  # noqa: PLC0415

        return getattr(replicas, name)
    if name == "asgi":
        try:
            from cairndb.server.http import asgi  # noqa: PLC0415
        except ModuleNotFoundError as error:
            library = str(error.name).partition(".")[0]
            message = f'{library} is missing: pip install "cairndb[server]"'
            raise ModuleNotFoundError(message, name=error.name) from error
        return asgi
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
