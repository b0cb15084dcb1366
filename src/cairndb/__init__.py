"""Durable Python objects: a typed tree in memory, every update on disk before it returns.

    db = cairndb.open("bank.cairn", Bank)
    with db.update() as bank:
        bank.accounts["alice"] = Account("Alice", 100)

Start with `open`, `Record` and the README.
"""

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
    ResultLost,
    SchemaError,
    StaleDraft,
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
    "ResultLost",
    "SchemaError",
    "StaleDraft",
    "Subscription",
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
