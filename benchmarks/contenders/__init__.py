"""Who takes part in the table of all peers, by name; a module for each, loaded when it's needed.

A peer whose package isn't installed, or whose server isn't on the path, is left out, with a note.
"""

import importlib
from typing import Final

from contenders.work import Contender

CAIRN: Final = "cairndb"
UNGUARDED: Final = "cairndb, guard=False"
PLAIN: Final = "plain objects"
DEVICE: Final = "raw device"

PLACES: Final = {
    CAIRN: ("contenders.cairn", "Cairn"),
    UNGUARDED: ("contenders.cairn", "Unguarded"),
    PLAIN: ("contenders.plain", "Plain"),
    DEVICE: ("contenders.device", "Device"),
    "sqlite3": ("contenders.sqlite", "Sqlite"),
    "lmdb": ("contenders.lmdb", "Lmdb"),
    "ZODB": ("contenders.zodb", "Zodb"),
    "rocksdict": ("contenders.rocksdict", "Rocks"),
    "diskcache": ("contenders.diskcache", "DiskCache"),
    "sqlitedict": ("contenders.sqlitedict", "SqliteDict"),
    "TinyDB": ("contenders.tinydb", "Tiny"),
    "Redis": ("contenders.redis", "Redis"),
}
# The stores that one would pick instead: neither cairndb nor a limit.
PEERS: Final = tuple(name for name in PLACES if name not in (CAIRN, UNGUARDED, PLAIN, DEVICE))


def contender(name: str) -> type[Contender]:
    """The class of a contender.

    Raises:
        ImportError: its package or its server isn't there; the message says which.
    """
    module, attribute = PLACES[name]
    found: type[Contender] = getattr(importlib.import_module(module), attribute)
    return found
