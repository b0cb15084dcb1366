"""The classic bugs of stores: how each is planted, which harness catches it, and as what.

`known` says who had the bug. ATC 2020 is "Can Applications Recover from fsync Failures?" (Rebello
et al.), FAST 2018 "Protocol-Aware Recovery" (Alagappan et al.).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from planted_engine import (
    acknowledge_first,
    acknowledge_what_came_meanwhile,
    call_damaged_torn,
    call_torn_damaged,
    live_after_failed_sync,
    live_with_holes,
    overlook_the_seal,
    patch_checksum,
    remove_first,
    rotate_unsynced,
    show_what_the_cache_has,
    start_empty,
    trust_end_of_file,
    trust_size,
    without_length,
    without_place,
    write_over_the_torn_tail,
)
from planted_seam import (
    Holed,
    Ignored,
    Late,
    Misdirected,
    Retried,
    Short,
    at_seam,
    ignored_directory_sync,
    lying_directory_sync,
    lying_sync,
)

if TYPE_CHECKING:
    from planted_seam import Plant


class Bug(NamedTuple):
    """One bug, and what must come out of it."""

    name: str
    plant: Plant
    harness: str
    """See `planted.HARNESSES`."""
    kind: str
    """See `planted.CaughtError`; empty if the engine makes it harmless."""
    known: str = ""


BUGS = [
    Bug(
        "a segment isn't synced before it gets its name",
        lying_sync("log-", temporary=True),
        "rotating, mended",
        "refused",
        "applications on ext4 with delayed allocation, 2009: files of length zero",
    ),
    Bug(
        "DATABASE isn't synced before it gets its name",
        lying_sync("DATABASE"),
        "rotating, mended",
        "refused",
    ),
    Bug(
        "a checkpoint isn't synced before it gets its name",
        lying_sync("checkpoint-"),
        "folding, mended",
        "damaged",
    ),
    Bug(
        "the directory isn't synced after a segment is created",
        lying_directory_sync("log-"),
        "rotating, mended",
        "refused",
        "SpacetimeDB, 2026; ClickHouse Keeper",
    ),
    Bug(
        "the directory isn't synced after a checkpoint is renamed: the removal overtakes",
        lying_directory_sync("checkpoint-"),
        "folding, mended",
        "refused",
    ),
    Bug(
        "the directory isn't synced after DATABASE is created",
        lying_directory_sync("DATABASE"),
        "rotating, mended",
        "refused",
    ),
    Bug(
        "acknowledged before the sync",
        acknowledge_first,
        "rotating, mended",
        "lost",
        "NATS 2.12.1 (Jepsen): up to two minutes before",
    ),
    Bug(
        "what is written while a sync runs is acknowledged with it",
        acknowledge_what_came_meanwhile,
        "overtaken",
        "lost",
    ),
    Bug(
        "the buffer is handed over after the sync",
        at_seam(Late),
        "rotating, mended",
        "lost",
    ),
    Bug(
        "a segment is left unsynced for the next",
        rotate_unsynced,
        "rotating, mended",
        "refused",
        "LevelDB, issue 187",
    ),
    Bug(
        "a failed sync is tried again",
        at_seam(Retried),
        "failed",
        "refused",
        "PostgreSQL before 2019; ATC 2020: LMDB, LevelDB, SQLite, Redis",
    ),
    Bug("after a failed sync the next is believed", live_after_failed_sync, "failed", "refused"),
    Bug("a failed sync is ignored", at_seam(Ignored), "failed", "refused", "ATC 2020: Redis"),
    Bug("a failed sync of the directory is ignored", ignored_directory_sync, "failed", "refused"),
    Bug(
        "the result of a short write is ignored",
        at_seam(Short),
        "rotating, mended",
        "lost",
    ),
    Bug("a failed write leaves a hole unseen", at_seam(Holed), "failed", "refused"),
    Bug(
        "a failed write leaves a hole, and it goes on",
        live_with_holes,
        "failed",
        "refused",
        "RocksDB: an undetected hole",
    ),
    Bug("writes are misdirected", at_seam(Misdirected), "rotating, mended", "lost"),
    Bug("no checksum", patch_checksum(lambda _data, _start: 0), "rotating", "wrong"),
    Bug("no checksum, and bits flip", patch_checksum(lambda _data, _start: 0), "damaged", "wrong"),
    Bug(
        "no checksum, and a write is misdirected",
        patch_checksum(lambda _data, _start: 0),
        "misdirected",
        "lost",
    ),
    Bug("the checksum leaves out the length", patch_checksum(without_length), "quoted", "wrong"),
    Bug(
        "the checksum leaves out the length, and bits flip",
        patch_checksum(without_length),
        "damaged",
        "",
    ),
    Bug("the size of a segment is trusted", trust_size, "rotating", "wrong"),
    Bug("the size of a checkpoint is trusted", trust_end_of_file, "damaged", "wrong"),
    Bug(
        "a torn tail is called damage",
        call_torn_damaged,
        "rotating",
        "refused",
        "RocksDB: a false report of corruption",
    ),
    Bug(
        "damage is called a torn tail",
        call_damaged_torn,
        "damaged",
        "lost",
        "FAST 2018: most logs; NATS 2.12.1",
    ),
    Bug(
        "stale bytes in recycled segments aren't told apart",
        patch_checksum(without_place),
        "recycled",
        "later",
        "Pebble, issue 567; RocksDB, pull request 12403",
    ),
    Bug(
        "a torn tail is written over: an old record rises again",
        write_over_the_torn_tail,
        "unsynced",
        "later",
    ),
    Bug("the unproven tail is shown unsynced", show_what_the_cache_has, "reopening", "lost"),
    Bug(
        "it starts empty because DATABASE is missing",
        start_empty,
        "missing",
        "lost",
        "ZooKeeper, ZOOKEEPER-2325",
    ),
    Bug("the newest segment is missing and not missed", overlook_the_seal, "missing", "lost"),
    Bug(
        "the log is removed before the checkpoint",
        remove_first,
        "folding, mended",
        "refused",
    ),
]
