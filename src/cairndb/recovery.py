"""Recovery: from what is in a directory to a base checkpoint and a chain of segments after it.

The one way to start, also after an orderly end. Nothing is changed here; what has to be done before
the first view is the owner's (`store`). The steps, all of which refuse rather than skip:

1. DATABASE says which database this is.
2. The base is the newest checkpoint that is whole. A damaged one is passed over, with a warning:
   the one before it, and the log between, are kept for that.
3. The newest segment and those it follows must reach back to the base (or to LSN 1).
4. In the newest segment P decides where the log ends: see `chain`.

A reader beside the owner does the same, and starts over if a file vanished on the way, or if what
it saw can be explained by the owner's having gone on meanwhile.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, NamedTuple

from cairndb.chain import Chain, End, Files, Position, log_bytes
from cairndb.checkpoint import Checkpoint, parse_checkpoint_name
from cairndb.errors import CorruptError, UsageError
from cairndb.files import path_in
from cairndb.identity import Identity, check_nothing_lost, files_of, read_backup, read_identity
from cairndb.linking import check_database, link
from cairndb.log import parse_segment_name, publication, read_segment
from cairndb.padding import check_checkpoints, check_identity, check_segments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cairndb.checkpoint import CheckpointHeader
    from cairndb.files import Directory
    from cairndb.log import Piece, Segment, SegmentHeader

READER_ATTEMPTS = 50


class Recovered:
    """What a directory holds.

    Args:
        files: where it is read from; closed by `close`.
        names: what was in the directory.
        identity: which database.
        at_lsn: what is to be read: the state as of then; None for the last one.

    Raises:
        CorruptError: something is damaged or missing.
    """

    def __init__(
        self,
        files: Files,
        names: Sequence[str],
        identity: Identity,
        at_lsn: int | None = None,
    ) -> None:
        self.files = files
        self.identity = identity
        self.warnings: list[str] = []
        self.checkpoint: Checkpoint | None = None
        self.checkpoint_bytes = 0
        self.unreached: list[str] = []
        """Checkpoints of barriers that were interrupted: they count for nothing."""
        checkpoints = sorted(filter(None, (parse_checkpoint_name(name) for name in names)))
        started = time.monotonic()
        proven = self._find_base(names, checkpoints, at_lsn)
        self.base_seconds = time.monotonic() - started
        """What verifying the checkpoint took."""
        base = Position(0, 0)
        if self.checkpoint is not None:
            base = Position(self.checkpoint.header.lsn, self.checkpoint.header.running)
        segments, superseded, damaged = link(files, names, identity.database, base.lsn)
        self.warnings += [str(error) for error in damaged]
        self.proven_lsn = max(proven, *(s.header.first_lsn - 1 for s in (*segments, *superseded)))
        self.chain = Chain(files, segments, superseded, base, self.proven_lsn)
        end = self.chain.newest.good
        self.total_bytes = self.checkpoint_bytes + log_bytes(segments, base.lsn, end)
        """How much there is to read."""

    def _find_base(
        self, names: Sequence[str], checkpoints: Sequence[int], at_lsn: int | None
    ) -> int:
        """Take the newest whole checkpoint; the largest LSN that a checkpoint's header proves."""
        proven = 0
        by_lsn = {parse_checkpoint_name(name): name for name in names}
        for lsn in reversed(checkpoints):
            name = by_lsn[lsn]
            try:
                checkpoint = Checkpoint(self.files.directory, name, self.files.open(name))
                found = checkpoint.header.database
                check_database(found, self.identity.database, checkpoint.path)
                if checkpoint.header.barrier and not self._is_reached(checkpoint, names):
                    self.unreached.append(name)
                    continue
                # A barrier's is published before the entry that it is the state of.
                proven = max(proven, checkpoint.header.lsn - checkpoint.header.barrier)
                if at_lsn is not None and lsn > at_lsn:
                    continue
                checkpoint.verify()
            except CorruptError as error:
                self.warnings.append(f"{error.file}: {error.reason}; an earlier checkpoint is used")
            else:
                self.checkpoint = checkpoint
                self.checkpoint_bytes = self.files.open(name).size()
                break
            finally:
                self.files.done(name)
        return proven

    def _is_reached(self, checkpoint: Checkpoint, names: Sequence[str]) -> bool:
        """Whether the log has got to a barrier, or was interrupted before it."""
        for name in names:
            order = parse_segment_name(name)
            if order is not None and order[1] == checkpoint.header.lsn:
                try:
                    segment = read_segment(self.files.directory, name, self.files.open(name))
                finally:
                    self.files.done(name)
                if segment.header.barrier == checkpoint.header.nonce:
                    return True
        return False

    @property
    def schema(self) -> str:
        """The schema that the newest segment was written with."""
        return self.chain.segments[-1].header.schema

    @property
    def fingerprint(self) -> str:
        """The fingerprint of `schema`."""
        return self.chain.segments[-1].header.fingerprint

    def written_with(self, lsn: int) -> SegmentHeader | CheckpointHeader:
        """The header that says the schema of the state at an LSN."""
        headers = [s.header for s in self.chain.segments if s.header.first_lsn <= lsn]
        if headers:
            return headers[-1]
        return self.checkpoint.header if self.checkpoint else self.chain.segments[0].header

    def checkpoint_frames(self) -> Iterator[tuple[int, bytes]]:
        """(count, operations) of the base; nothing if there is no checkpoint."""
        if self.checkpoint is not None:
            name = self.checkpoint.name
            yield from Checkpoint(self.files.directory, name, self.files.open(name)).frames()
            self.files.done(name)

    def close(self) -> None:
        """Close all files."""
        self.files.close()


def recover(directory: Directory, names: Sequence[str]) -> Recovered:
    """Read what a directory holds, as its owner.

    Args:
        directory: locked by the caller.
        names: what is in it.

    Raises:
        FileNotFoundError: there is no DATABASE.
        CorruptError: something is damaged or missing.
    """
    files = Files(directory, keep=False)
    try:
        return Recovered(files, names, read_identity(directory))
    except BaseException:
        files.close()
        raise


class Continuation(NamedTuple):
    """How an owner goes on from what was recovered."""

    segments: list[Segment]
    """The chain that the next segment continues."""
    superseded: list[Segment]
    unsealed: list[tuple[Segment, End]]
    """To be sealed before anything is acknowledged in the next segment, from these places on."""
    predecessor_nonce: bytes
    predecessor_end: int
    position: Position


NOTHING = Continuation([], [], [], b"", 0, Position(0, 0))
"""How the first owner begins."""


def continuation(chain: Chain) -> Continuation:
    """Where the next segment hangs on the chain: behind the last entry that is proven.

    A newest segment of which nothing is proven is superseded: its very name may never get to the
    disk (an owner whose directory sync failed can have left it in the cache), so nothing may hang
    on it.

    Args:
        chain: as recovered.
    """
    newest = chain.segments[-1]
    header, trusted = newest.header, chain.newest.trusted
    segments, superseded = list(chain.segments), list(chain.superseded)
    nonce, end = header.nonce, trusted.offset
    if trusted.position.lsn < header.first_lsn:
        superseded.append(segments.pop())
        nonce, end = header.predecessor_nonce, header.predecessor_end
    # What was published after the last segment with a proven entry may be unsealed; what came
    # before was sealed when that entry was acknowledged.
    unsealed = [(segment, End(end, trusted.position)) for segment in segments[-1:]]
    for segment in superseded:
        if not segments or publication(segment.name) > publication(segments[-1].name):
            before = Position(segment.header.first_lsn - 1, segment.header.running)
            unsealed.append((segment, End(segment.begin, before)))
    return Continuation(segments, superseded, unsealed, nonce, end, trusted.position)


class Reading:
    """A database as it was at a moment, for somebody who doesn't own it.

    Everything it shows is on disk: the newest segment was synced after it was read. The checkpoint
    it began with, or else the first segment, is held: the owner keeps it, and all that follows,
    until `close`.

    Args:
        recovered: with its files open.
        end_lsn: the last LSN to show.
        lsn: an earlier one, as of which the state is wanted.
    """

    def __init__(self, recovered: Recovered, end_lsn: int, lsn: int | None = None) -> None:
        self.recovered = recovered
        self.database = recovered.identity.database
        self.lsn = end_lsn if lsn is None else lsn
        written = recovered.written_with(self.lsn)
        self.schema, self.fingerprint = written.schema, written.fingerprint
        self.warnings = recovered.warnings
        self.total_bytes = recovered.total_bytes
        self.base, self.base_lsn = recovered.chain.base, recovered.chain.base.lsn
        self.running = recovered.chain.position_at(end_lsn).running
        """The running checksum where `log_frames` ends."""
        self._end_lsn = end_lsn

    def checkpoint_frames(self) -> Iterator[tuple[int, bytes]]:
        """(count, operations) of the base checkpoint; nothing if there is none."""
        return self.recovered.checkpoint_frames()

    def log_frames(self) -> Iterator[Piece]:
        """(first LSN, count, entries) after the base checkpoint, up to `lsn`, and those with it."""
        for piece in self.recovered.chain.pieces(self._end_lsn):
            if piece.first_lsn > self.lsn:
                return
            yield piece

    def close(self) -> None:
        """Let go of the files."""
        self.recovered.close()


def read_chain(
    directory: Directory,
    *,
    end_lsn: int | None = None,
    at_lsn: int | None = None,
    names: Sequence[str] | None = None,
) -> Reading:
    """Read a database without owning it, beside an owner or without one. Nothing is written.

    A bad tail of the newest segment is "not yet". What looks like damage is looked at again before
    it is called that, for the owner may be writing, rotating or retiring right now.

    Args:
        directory: not locked.
        end_lsn: stop there; the end of some segment but the newest, or of the checkpoint.
        at_lsn: show the state as of then, from the newest checkpoint before it.
        names: of the files to look at; None for those that count.

    Returns:
        What was there; `close` it.

    Raises:
        CorruptError: something is damaged or missing, at every attempt.
        UsageError: there is no database, or it hasn't got to `at_lsn`.
    """
    failure: Exception | None = None
    for _ in range(READER_ATTEMPTS):
        files = Files(directory, keep=True)
        try:
            return _read_once(files, end_lsn, at_lsn, names)
        except (CorruptError, FileNotFoundError) as error:
            files.close()
            if str(error) == str(failure) and isinstance(error, CorruptError):
                raise
            failure = error
        except BaseException:
            files.close()
            raise
    assert failure is not None
    if isinstance(failure, FileNotFoundError):
        raise CorruptError(
            str(failure.filename), 0, "the file vanishes whenever it is read"
        ) from failure
    raise failure


def _read_once(
    files: Files, end_lsn: int | None, at_lsn: int | None, given: Sequence[str] | None
) -> Reading:
    directory = files.directory
    names = given if given is not None else files_of(directory)
    try:
        identity = read_identity(directory)
    except FileNotFoundError:
        check_nothing_lost(directory, names)
        raise UsageError(f"{directory.path} holds no database") from None
    recovered = Recovered(files, names, identity, at_lsn)
    chain = recovered.chain
    needed = [segment.name for segment in chain.needed]
    for name in needed:
        files.open(name)
    held = recovered.checkpoint.name if recovered.checkpoint else needed[0]
    files.keep_only({held, *needed})
    # The owner removes a file while it holds it exclusively, so one of the two sees the other.
    if not (files.open(held).hold(exclusive=False) and held in directory.names()):
        raise FileNotFoundError(errno.ENOENT, "removed by the owner", path_in(directory, held))
    if end_lsn is None:
        # Whatever was read had been written before this call, so it covers all that is shown.
        files.open(chain.segments[-1].name).sync()
        end_lsn = chain.newest.good.position.lsn
        if at_lsn is not None:
            if at_lsn > end_lsn:
                raise UsageError(f"{directory.path} has got to LSN {end_lsn}, not yet to {at_lsn}")
            end_lsn = chain.end_after(at_lsn)
    return Reading(recovered, end_lsn, at_lsn)


def verify(directory: Directory) -> Iterator[CorruptError]:
    """Check every checksum of every file, and that the parts fit together; nothing is changed.

    Beside an owner, files may change while they are read; what vanishes isn't there.

    Args:
        directory: not locked.

    Yields:
        What is wrong; not raised.
    """
    for name in filter(parse_checkpoint_name, files_of(directory)):
        try:
            file = directory.open(name)
            try:
                Checkpoint(directory, name, file).verify()
            finally:
                file.close()
        except FileNotFoundError:
            continue
        except (CorruptError, OSError) as error:
            yield _finding(error, path_in(directory, name))
    try:
        yield from _verify_log(directory)
    except (CorruptError, OSError) as error:
        yield _finding(error, directory.path)


def _finding(error: CorruptError | OSError, path: str) -> CorruptError:
    if isinstance(error, CorruptError):
        return error
    return CorruptError(str(error.filename or path), 0, f"it can't be read: {error.strerror}")


def _verify_log(directory: Directory) -> Iterator[CorruptError]:
    """Check the log as far back as it goes, whatever the checkpoints."""
    reading = read_chain(directory)
    try:
        recovered = reading.recovered
        files, names = recovered.files, files_of(directory)
        base = recovered.chain.base
        segments, superseded, damaged = link(files, names, reading.database, base.lsn)
        yield from damaged
        first = segments[0].header
        oldest = Position(first.first_lsn - 1, first.running)
        chain = Chain(files, segments, superseded, min(oldest, base), recovered.proven_lsn)
        for _ in chain.pieces(chain.newest.good.position.lsn):
            pass
        backup = read_backup(directory)
        if backup is not None and reading.lsn < backup.lsn:
            reason = f"it is a backup up to LSN {backup.lsn}, and ends at LSN {reading.lsn}"
            yield CorruptError(directory.path, 0, reason)
        yield from check_identity(directory)
        yield from check_segments(chain, sealed=backup is None)
        yield from check_checkpoints(directory, names, chain)
    except FileNotFoundError:
        # Retired by the owner meanwhile; what is needed was held, and read.
        pass
    finally:
        reading.close()
