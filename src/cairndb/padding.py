"""What no checksum covers, and `recovery.verify` looks at all the same.

The padding of headers and frames is zeros. A segment that another one follows ends with a seal,
after which there is nothing. Nothing is read from there at open, so damage of it does no harm as
long as it is alone; but it shows a disk that changes bytes, and a seal is what tells that a segment
is missing.

What is left, where a bit can change and nobody can know: the room after the last frame of the
newest segment, what was superseded (see `chain`), and in the newest segment the last frames, if
nothing proves them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cairndb.checkpoint import Checkpoint, parse_checkpoint_name
from cairndb.errors import CorruptError
from cairndb.files import path_in
from cairndb.frame import CHUNK_BYTES, SEAL, SEAL_BYTES, FrameReader
from cairndb.frame_header import header_bytes
from cairndb.frame_search import frame_at, scan_rest
from cairndb.identity import NAME
from cairndb.log import possible_lsns, publication

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cairndb.chain import Chain
    from cairndb.files import Directory, File
    from cairndb.log import Segment


def check_identity(directory: Directory) -> Iterator[CorruptError]:
    """What is wrong behind the header of DATABASE, which is nothing else."""
    file = directory.open(NAME)
    try:
        part = _Part(file, path_in(directory, NAME))
        yield from _zeros(part, header_bytes(file.read), file.size())
    finally:
        file.close()


def check_checkpoints(
    directory: Directory, names: Sequence[str], chain: Chain
) -> Iterator[CorruptError]:
    """What is wrong with checkpoints whose checksums are right, also those that aren't needed.

    Args:
        directory: where.
        names: what is in it.
        chain: with all segments that are there.
    """
    header = chain.segments[0].header
    running = {s.header.first_lsn - 1: s.header.running for s in chain.segments}
    running[chain.base.lsn] = chain.base.running
    for name in filter(parse_checkpoint_name, names):
        file = directory.open(name)
        try:
            checkpoint = Checkpoint(directory, name, file)
        except CorruptError:
            pass  # which has been told
        else:
            found, path = checkpoint.header, checkpoint.path
            if found.database != header.database:
                yield CorruptError(path, 0, f"it belongs to the database {found.database}")
            if running.get(found.lsn, found.running) != found.running:
                yield CorruptError(path, 0, f"it isn't the fold of this log up to LSN {found.lsn}")
            yield from _zeros(_Part(file, path), header_bytes(file.read), checkpoint.begin)
            yield from _padding(_Part(file, path), found.nonce, checkpoint.begin, file.size(), 1)
        finally:
            file.close()


def check_segments(chain: Chain, *, sealed: bool) -> Iterator[CorruptError]:
    """What is wrong with segments besides what opening notices.

    Args:
        chain: with all segments that are there.
        sealed: whether there are seals: a backup lists its files instead.
    """
    newest = chain.segments[-1]
    # What comes before a segment is sealed before anything in that is acknowledged.
    complete = chain.newest.trusted.position.lsn >= newest.header.first_lsn
    for segment in (*chain.segments, *chain.superseded):
        file = chain.files.open(segment.name)
        part = _Part(file, path_in(chain.files.directory, segment.name))
        header = segment.header
        yield from _zeros(part, header_bytes(file.read), segment.begin)
        after = [s for s in chain.segments if publication(s.name) > publication(segment.name)]
        trusted = segment.begin if after else chain.newest.trusted.offset
        if after and after[0].header.predecessor_nonce == header.nonce:
            trusted = after[0].header.predecessor_end
        # Of what was never proven, a crash may have left the end of a frame, and not its padding.
        yield from _padding(part, header.nonce, segment.begin, trusted, header.first_lsn)
        if after:
            must = sealed and (complete or after[0] is not newest)
            yield from _seal(part, segment, trusted, must=must)
        chain.files.done(segment.name)


class _Part(NamedTuple):
    """A file that is looked at."""

    file: File
    path: str


def _zeros(part: _Part, start: int, end: int) -> Iterator[CorruptError]:
    for offset in range(start, end, CHUNK_BYTES):
        found = part.file.read(offset, min(CHUNK_BYTES, end - offset))
        rest = found.lstrip(b"\0")
        if rest:
            bad = offset + len(found) - len(rest)
            yield CorruptError(part.path, bad, "the padding isn't zeros")
            return


def _padding(
    part: _Part, nonce: bytes, begin: int, end: int, next_lsn: int
) -> Iterator[CorruptError]:
    for frame in FrameReader(part.file.read, nonce, begin, end, next_lsn):
        yield from _zeros(part, frame.content_end, frame.end)


def _seal(part: _Part, segment: Segment, start: int, *, must: bool) -> Iterator[CorruptError]:
    """What is wrong with the seal of a segment that another one follows."""
    read, nonce, size = part.file.read, segment.header.nonce, part.file.size()
    lsns = possible_lsns(segment, size)
    rest = scan_rest(read, nonce, start, size, lsns)
    seal = frame_at(read, nonce, max(rest.used_end - SEAL_BYTES, segment.begin), size, lsns)
    if not rest.sealed and must:
        yield CorruptError(part.path, start, "the seal that should follow isn't there, or is bad")
    elif rest.sealed and (seal is None or seal.count != SEAL):
        yield CorruptError(part.path, rest.used_end, "there is something behind the seal")
    elif seal is not None and must:
        yield from _zeros(part, seal.content_end, seal.end)
