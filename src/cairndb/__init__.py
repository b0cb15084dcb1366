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
    ConstraintError,
    CorruptError,
    DatabaseFailed,
    DatabaseLocked,
    DiskFull,
    LockTimeout,
    ReadOnlyError,
    SchemaError,
    StaleDraft,
    UsageError,
    ValidationError,
)
from cairndb.index import Entries, Index
from cairndb.opener import open  # noqa: A004  cairndb.open, as gzip.open
from cairndb.record import Record, check, query, update
from cairndb.reference import Ref

__all__ = [
    "CairnError",
    "ConstraintError",
    "CorruptError",
    "Database",
    "DatabaseFailed",
    "DatabaseLocked",
    "DiskFull",
    "Entries",
    "Index",
    "LockTimeout",
    "ReadOnlyError",
    "Record",
    "Ref",
    "SchemaError",
    "StaleDraft",
    "UsageError",
    "ValidationError",
    "check",
    "open",
    "plain",
    "query",
    "update",
]
