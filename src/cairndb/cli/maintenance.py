"""What `verify`, `stats` and `checkpoint` do with the files of a database."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from cairndb import checkpointer, forgetting, ownership
from cairndb.chain import Files
from cairndb.checkpoint import Checkpoint, parse_checkpoint_name
from cairndb.cli import output, source
from cairndb.errors import CairnError, CorruptError
from cairndb.forecast import REPLAY_RATE, Forecast, ReplayMeter, Sizes
from cairndb.identity import files_of, read_backup, read_identity
from cairndb.kept import kept, text_of
from cairndb.log import parse_segment_name
from cairndb.recovery import read_chain, verify
from cairndb.schema import compile_root, describe
from cairndb.store import Store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from cairndb.cli.counted import CountedDirectory
    from cairndb.files import Directory
    from cairndb.fold import Fold
    from cairndb.forgetting import Forgotten
    from cairndb.recovery import Reading

MOMENTS = {"created", "last_opened", "reaches_time"}
"""What `statistics` says as ISO 8601."""
# What an owner takes that was told nothing else.
_RESTART_TARGET = 2.0


def check(directory: CountedDirectory) -> dict[str, Any]:
    """Read everything; fold the log from the checkpoint before the last, and compare.

    Args:
        directory: of the database.

    Returns:
        `findings`, each with file, offset and reason; `checked`, lines that say what was looked at.
    """
    size = source.bytes_of(directory)
    with directory.telling("checksums", 2 * size):  # the log is read to find its end, and again
        findings = list(verify(directory))
    checked = [f"checksums: {len(directory.names())} files, {output.size_text(size)}"]
    if not findings:
        try:
            with output.progress("folding the log") as progress:
                checked.append(_check_fold(directory, progress))
        except CorruptError as error:
            findings.append(error)
    return {
        "findings": [{"file": f.file, "offset": f.offset, "reason": f.reason} for f in findings],
        "checked": checked,
    }


def _check_fold(directory: Directory, progress: source.Progress) -> str:
    """Fold the log onto what came before the last checkpoint, and what comes after onto that.

    Returns:
        What was proven.

    Raises:
        CorruptError: the log can't be folded, or gives something else.
    """
    total = source.bytes_of(directory)
    with closing(Files(directory, keep=True)) as files:
        held = _hold(files)
        newest = held[-1] if held else None
        chain = source.chain_from(files, newest.header if newest else None)
        end = chain.newest.good.position.lsn
        fold, read = source.loaded(directory, newest.frames() if newest else (), progress, total)
        proven = ""
        if newest is not None:
            since, read = _prove(files, held, _content(fold), progress, read)
            proven = f"the checkpoint at LSN {newest.header.lsn} is what the log says"
            proven += "; " if since is None else f" since LSN {since}; "
            if since is None:
                proven = "nothing leads to the last checkpoint that it could be made of again; "
        for piece in chain.pieces(end):
            source.replay(directory, fold, piece)
            read += len(piece.payload)
            progress(read, total)
    return f"{proven}the log folds up to LSN {end}"


def _content(fold: Fold) -> bytes:
    """All that a checkpoint is to have: the state, and the answered requests."""
    return b"".join([fold.encode(), *fold.requests.operations()])


def _hold(files: Files) -> list[Checkpoint]:
    """Open the checkpoints so that a running owner keeps them and the log after the oldest."""
    directory = files.directory
    for _ in range(source.ATTEMPTS):
        names = directory.names()
        held = sorted(filter(parse_checkpoint_name, names))[-2:]
        oldest = held or [min(filter(parse_segment_name, names), key=source.publication)]
        try:
            kept = all(files.open(name).hold(exclusive=False) for name in oldest)
            if kept and set(oldest) <= set(directory.names()):
                return [Checkpoint(directory, name, files.open(name)) for name in held]
        except FileNotFoundError:
            pass
        files.close()
    raise CairnError(f"{directory.path}: its files change faster than they can be read")


def _prove(
    files: Files, held: list[Checkpoint], content: bytes, progress: source.Progress, read: int
) -> tuple[int | None, int]:
    """Make the newest checkpoint again from what came before it.

    Returns:
        The LSN that the fold began at, or None if what it needs is gone; the bytes read so far.
    """
    newest, directory = held[-1], files.directory
    total = source.bytes_of(directory)
    older = held[-2] if len(held) > 1 else None
    chain = source.chain_from(files, older.header if older else None)
    replaced = [s.header.first_lsn for s in chain.segments if s.header.barrier]
    if any(chain.base.lsn < lsn <= newest.header.lsn for lsn in replaced):
        return None, read  # no fold leads over a barrier
    if older is None and chain.base.lsn > 0:
        return None, read
    fold, more = source.loaded(directory, older.frames() if older else (), progress, total)
    read += more
    for piece in chain.pieces(newest.header.lsn):
        source.replay(directory, fold, piece)
        read += len(piece.payload)
        progress(read, total)
    if _content(fold) != content:
        reason = f"the log since LSN {chain.base.lsn} gives another state than this checkpoint"
        raise CorruptError(newest.path, 0, reason)
    return chain.base.lsn, read


def statistics(directory: CountedDirectory) -> dict[str, Any]:
    """How much there is, beside a running owner."""
    names = files_of(directory)
    sizes = {name: source.size_of(directory, name) for name in names}
    segments = [name for name in names if parse_segment_name(name)]
    identity = read_identity(directory)
    with (
        directory.telling("reading", sum(sizes.values())),
        closing(read_chain(directory)) as reading,
    ):
        found: dict[str, Any] = {
            "lsn": reading.lsn,
            "checkpoint_lsn": reading.base_lsn,
            "updates_since_checkpoint": reading.lsn - reading.base_lsn,
            "segments": len(segments),
            "total_bytes": sum(sizes.values()),
            "database": str(identity.database),
            "created": text_of(identity.created),
            "schema_fingerprint": reading.fingerprint,
        }
        chain = reading.recovered.chain.segments
        found |= kept(directory, names, chain, reading.lsn)
        found |= _opening(reading, len(segments), is_backup=read_backup(directory) is not None)
    owner = ownership.read_owner(directory)
    if owner is not None:
        found["last_owner"] = f"process {owner.pid} on {owner.host}: {owner.command}"
        found["last_opened"] = owner.since.isoformat()
        found["retain"] = owner.retain
    return found


def _opening(reading: Reading, segments: int, *, is_backup: bool) -> dict[str, Any]:
    """What opening would take, at guessed rates, and whether that makes a checkpoint due."""
    recovered = reading.recovered
    checkpoint_bytes = recovered.checkpoint_bytes
    log_bytes = recovered.total_bytes - checkpoint_bytes
    meter = ReplayMeter(log_bytes / REPLAY_RATE)
    forecast = Forecast(_RESTART_TARGET, None, meter, 0.0)
    sizes = Sizes(checkpoint_bytes, log_bytes, segments)
    load, verdict = forecast.load_seconds(sizes), forecast.verdict(sizes)
    return {
        "checkpoint_bytes": checkpoint_bytes,
        "log_bytes_since_checkpoint": log_bytes,
        "predicted_open_seconds": round(load + meter.total, 3),
        "predicted_load_seconds": round(load, 3),
        "predicted_replay_seconds": round(meter.total, 3),
        "checkpoint_due": verdict.due and not is_backup,
        "checkpoint_reason": "a backup never gets one" if is_backup else verdict.why,
    }


def make_checkpoint(database: Path) -> int:
    """Make a checkpoint of a database that nobody has open, without its application.

    Returns:
        Its LSN.

    Raises:
        DatabaseLocked: somebody has it open.
        CairnError: it is damaged, or has no content yet.
        DiskFull: there is no room.
    """
    with _owned(database) as (directory, store), output.progress("folding") as progress:
        lsn = store.applied.lsn
        if store.checkpoint_lsn != lsn:
            store.seal()
            report = checkpointer.make_checkpoint(directory, lsn, lambda: progress(0, 0))
            store.check_checkpoint(report.file, lsn)
            store.adopt(report.file)
        return lsn


def let_go(database: Path, lsns: Collection[int] | None) -> Forgotten:
    """`forgetting.forget`, of a database that nobody has open, without its application.

    Raises:
        DatabaseLocked: somebody has it open.
        UsageError: one of them isn't pinned, or has to stay.
        CairnError: the database is damaged, or has no content yet.
    """
    with _owned(database) as (_, store):
        return forgetting.forget(store, lsns)


@contextmanager
def _owned(database: Path) -> Iterator[tuple[CountedDirectory, Store]]:
    """A database's directory and store, as its owner."""
    with source.directory_of(database) as directory:
        ownership.acquire(directory, None)
        header = source.newest_header(directory)
        store = Store.open(
            directory,
            schema=header.schema,
            fingerprint=header.fingerprint,
            create=False,
            clock=lambda: time.time_ns() // 1000,
        )
        with closing(store):
            if store.created:
                raise CairnError(f"{database} has no content yet: its creation was interrupted")
            store.start()
            yield directory, store


def is_typed(database: Path) -> bool:
    """Whether a database has a schema of its own: another than `dict[str, Any]`."""
    with source.directory_of(database) as directory:
        stored = source.newest_header(directory).schema
    return stored != describe(compile_root(dict[str, Any], guard=True))
