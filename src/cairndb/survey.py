"""What is in the files of a directory, whether it can be opened or not: every good frame.

Recovery stops at the first thing that is wrong. A survey goes on: what it finds is for people to
look at (`diagnosis`), and for a new database to be made of (`salvage`). Nothing is changed.

Files are taken for what their content says, whatever their names are. A segment whose header is
damaged can be read if its nonce is known: the segment after it names it, or it still stands in the
header. Frames verify with the right nonce only.
"""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cairndb.checkpoint import MAGIC as CHECKPOINT_MAGIC
from cairndb.checkpoint import Checkpoint, CheckpointHeader, checkpoint_name, parse_checkpoint_name
from cairndb.errors import CairnError, CorruptError
from cairndb.files import is_temporary, path_in
from cairndb.frame_header import HEADER_ALIGNMENT, MAGIC_BYTES, decode_header
from cairndb.identity import MAGIC as IDENTITY_MAGIC
from cairndb.identity import NAME, Identity, read_identity
from cairndb.linking import check_database
from cairndb.log import MAGIC as SEGMENT_MAGIC
from cairndb.log import SegmentHeader, parse_segment_name, segment_name
from cairndb.survey_frames import Proof, Run, SegmentFile, Surveyed, patient_reader, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from cairndb.chain import Files
    from cairndb.files import File

# What stands in a header before its nonce, and what after it: damage is rarely in both.
_BEFORE_NONCE, _AFTER_NONCE = b"\xa5nonce\xc4\x10", b"\xa9first_lsn"
_NONCE_BYTES = 16


@dataclass
class CheckpointFile(Surveyed):
    """A checkpoint. `error` is about all of it."""

    header: CheckpointHeader | None = None
    operations: int = 0
    whole: bool = False
    """All of its content is good, whatever its name is."""


class Survey:
    """All files of a directory.

    Args:
        files: where; opened one at a time, and not closed.
        names: what is in the directory.
    """

    def __init__(self, files: Files, names: Sequence[str]) -> None:
        self.files = files
        self.vanished = False
        """Whether a file was removed meanwhile."""
        self.identity: Identity | None = None
        self.others: list[Surveyed] = []
        self.segments: list[SegmentFile] = []
        """The last published first."""
        self.checkpoints: list[CheckpointFile] = []
        """The highest first."""
        self.interrupted: list[CheckpointFile] = []
        """Those of barriers that never took effect: no part of any history."""
        for name in names:
            self._look(name)
        self.database = self._database()
        """Which database the directory holds, also if DATABASE is lost."""
        self.segments.sort(key=lambda s: (s.publication, s.kind == "segment"), reverse=True)
        self.checkpoints.sort(key=lambda c: c.header.lsn if c.header else -1, reverse=True)
        self._read_all()
        self.interrupted = list(filter(self._is_interrupted, self.checkpoints))
        self.checkpoints = [c for c in self.checkpoints if c not in self.interrupted]

    def _look(self, name: str) -> None:
        """Read the beginning of a file, and take it for what that says."""
        directory = self.files.directory
        kind = _kind(name)
        found = Surveyed(name, kind)
        try:
            file = self.files.open(name)
            found.size = file.size()
            magic = patient_reader(file)(0, MAGIC_BYTES)
            if magic == SEGMENT_MAGIC or (kind == "segment" and magic != CHECKPOINT_MAGIC):
                found = self._look_at_segment(found, file)
            elif magic == CHECKPOINT_MAGIC or kind == "checkpoint":
                found = self._look_at_checkpoint(found, file)
            elif name == NAME:
                self.identity = read_identity(directory)
                found.database = self.identity.database
            elif magic == IDENTITY_MAGIC:
                found.content = NAME
        except FileNotFoundError:
            self.vanished = True
            return
        except CairnError as error:
            found.error = error
        except OSError as error:
            found.error = _unreadable(path_in(directory, name), error)
        finally:
            self.files.done(name)
        if isinstance(found, SegmentFile):
            self.segments.append(found)
        elif isinstance(found, CheckpointFile):
            self.checkpoints.append(found)
        else:
            self.others.append(found)

    def _look_at_segment(self, found: Surveyed, file: File) -> SegmentFile:
        name, directory = found.name, self.files.directory
        segment = SegmentFile(name, found.kind, found.size)
        segment.publication = parse_segment_name(name) or (0, 0)
        segment.first_lsn = segment.publication[1]
        try:
            path = path_in(directory, name)
            header, begin = decode_header(SEGMENT_MAGIC, SegmentHeader, file.read, path)
            segment.header, segment.begin, segment.nonce = header, begin, header.nonce
            segment.database, segment.first_lsn = header.database, header.first_lsn
            segment.publication = (header.epoch, header.first_lsn)
            segment.content = segment_name(header.first_lsn, header.epoch)
        except CairnError as error:
            segment.error = error
        except OSError as error:
            segment.error = _unreadable(path_in(directory, name), error)
        self._check_name(segment)
        return segment

    def _look_at_checkpoint(self, found: Surveyed, file: File) -> CheckpointFile:
        name, directory = found.name, self.files.directory
        checkpoint = CheckpointFile(name, found.kind, found.size)
        try:
            header = Checkpoint(directory, name, file, any_name=True).header
            checkpoint.header, checkpoint.database = header, header.database
            checkpoint.content = checkpoint_name(header.lsn)
        except CairnError as error:
            checkpoint.error = error
        self._check_name(checkpoint)
        return checkpoint

    def _check_name(self, found: Surveyed) -> None:
        if found.content not in {"", found.name} and found.kind not in {"foreign", "temporary"}:
            path = path_in(self.files.directory, found.name)
            found.error = CorruptError(path, 0, f"it is {found.content!r} under another name")

    def _database(self) -> UUID | None:
        """What DATABASE says; what most of the others say, if it is lost or of none of them."""
        tally = Tally(s.database for s in (*self.segments, *self.checkpoints) if s.database)
        if self.identity is not None and (self.identity.database in tally or not tally):
            return self.identity.database
        return max(tally, key=lambda database: tally[database], default=None)

    def is_ours(self, file: Surveyed) -> bool:
        """Whether a file belongs to the database, as far as can be told."""
        return file.database == self.database and self.database is not None

    def _is_interrupted(self, file: CheckpointFile) -> bool:
        """Whether a checkpoint is of a barrier that the log has certainly not got to.

        Where the end of the log is damaged, or a segment after it is missing, it may have.
        """
        header = file.header
        if header is None or not header.barrier or not self.is_ours(file) or not self.segments:
            return False
        newest = self.segments[0]
        whole = newest.error is None and newest.header is not None and not newest.sealed
        return whole and all(segment.first_lsn < header.lsn for segment in self.segments)

    def _read_all(self) -> None:
        for file in (*self.others, *self.segments, *self.checkpoints):
            if file.database is not None and self.database is not None and not self.is_ours(file):
                try:
                    path = path_in(self.files.directory, file.name)
                    check_database(file.database, self.database, path)
                except CorruptError as error:
                    file.error = error
        for checkpoint in filter(self.is_ours, self.checkpoints):
            self._read(checkpoint, partial(self._verify, checkpoint))
        interesting = {0}
        interesting |= {s.first_lsn - 1 for s in self.segments if not s.header or self.is_ours(s)}
        interesting |= {c.header.lsn for c in self.checkpoints if c.header and self.is_ours(c)}
        for segment in self.segments:
            self._read(segment, partial(self._read_segment, segment, interesting))
        # Once more where copies of the same entries overlap: at the ends of one the other goes on.
        ends = {lsn for s in self.segments for r in s.runs for lsn in (r.first_lsn - 1, r.last_lsn)}
        ends -= interesting
        for segment in self.segments:
            if any(_lacks(run, ends) for run in segment.runs):
                self._read(segment, partial(self._read_segment, segment, interesting | ends))

    def _read(self, found: Surveyed, work: Callable[[File], None]) -> None:
        """Read a file; what goes wrong is kept with it."""
        try:
            work(self.files.open(found.name))
        except FileNotFoundError:
            self.vanished = True
        except OSError as error:
            found.error = _unreadable(path_in(self.files.directory, found.name), error)
        finally:
            self.files.done(found.name)

    def _verify(self, found: CheckpointFile, file: File) -> None:
        checkpoint = Checkpoint(self.files.directory, found.name, file, any_name=True)
        try:
            found.operations = checkpoint.verify()
            found.whole = True
        except CorruptError as error:
            found.error = found.error or error

    def _read_segment(self, segment: SegmentFile, interesting: set[int], file: File) -> None:
        if segment.header is not None:
            if self.is_ours(segment):
                scan(segment, patient_reader(file), interesting)
        elif segment.kind == "segment":
            for nonce in self._nonces(file):
                segment.nonce = nonce
                scan(segment, patient_reader(file), interesting)
                if segment.runs:
                    segment.database = self.database
                    return
            segment.nonce = None

    def _nonces(self, file: File) -> list[bytes]:
        """What the nonce of a segment with a bad header may be."""
        ours = [s.header for s in self.segments if s.header and self.is_ours(s)]
        known = {header.nonce for header in ours} | {b""}
        nonces = [h.predecessor_nonce for h in ours if h.predecessor_nonce not in known]
        head = patient_reader(file)(0, HEADER_ALIGNMENT)
        database = str(self.database).encode()
        half = len(database) // 2
        if database[:half] in head or database[half:] in head:
            found = (
                head.partition(_BEFORE_NONCE)[2][:_NONCE_BYTES],
                head.partition(_AFTER_NONCE)[0][-_NONCE_BYTES:],
            )
            nonces += [nonce for nonce in found if nonce not in known]
        return nonces

    @property
    def proof(self) -> Proof | None:
        """The largest LSN that anything proves durable."""
        proofs = [s.proof for s in self.segments if s.proof]
        for file in (*self.segments, *self.checkpoints):
            if self.is_ours(file) and isinstance(file, SegmentFile | CheckpointFile):
                header = file.header
                if isinstance(header, SegmentHeader):
                    proofs.append(Proof(header.first_lsn - 1, file.name, 0))
                elif header is not None:
                    # A barrier's is published before the entry that it is the state of.
                    proofs.append(Proof(header.lsn - header.barrier, file.name, 0))
        return max(proofs, key=lambda proof: proof.lsn, default=None)


def _kind(name: str) -> str:
    if name == NAME:
        return "identity"
    if name == "LOCK":
        return "lock"
    if parse_segment_name(name):
        return "segment"
    if parse_checkpoint_name(name) is not None:
        return "checkpoint"
    return "temporary" if is_temporary(name) else "foreign"


def _unreadable(path: str, error: OSError) -> CorruptError:
    return CorruptError(path, 0, f"it can't be read: {error.strerror}")


def _lacks(run: Run, lsns: Iterable[int]) -> bool:
    """Whether one of these lies within a run and isn't a stop of it yet."""
    return any(run.first_lsn <= lsn < run.last_lsn and lsn not in run.stops for lsn in lsns)
