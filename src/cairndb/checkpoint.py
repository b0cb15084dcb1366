"""Checkpoints: the folded log up to an LSN, as operations in the frames that the log uses.

    checkpoint = header frame* seal          and nothing after it
    name       = checkpoint-<LSN, 20 digits>.ckpt

In the frames of a checkpoint, operations are counted from 1 where the log has LSNs: a frame's
`first` is the number of its first operation, and the seal's is the number of operations plus 1. So
a checkpoint that lacks a frame, or its end, is told from a whole one.

It is written under a temporary name, by whoever folds; only the owner of the database, having read
it back, gives it its own. It proves its LSN durable.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING
from uuid import UUID  # noqa: TC003  msgspec resolves it at run time

import msgspec

from cairndb.errors import CorruptError
from cairndb.files import NO_ROOM, path_in, temporary_name
from cairndb.frame import SEAL, FrameReader, encode_frame
from cairndb.frame_header import Checksum, Counted, Moment, Nonce, decode_header, encode_header
from cairndb.publishing import disk_full

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cairndb.files import Directory, File

MAGIC = b"\x89CAIRNC\n"
# A checkpoint is synced as it is written, after so many bytes: else the syncs of the log, on the
# same disk, would wait behind all of it.
SYNC_BYTES = 8 << 20
_NAME = re.compile(r"checkpoint-(\d{20})\.ckpt", re.ASCII)


class CheckpointHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a checkpoint says of itself."""

    database: UUID
    nonce: Nonce
    lsn: Counted
    """The last LSN that is folded into it."""
    running: Checksum
    """The running checksum of the log at `lsn`."""
    fingerprint: str
    schema: str
    created: Moment
    """Microseconds since the epoch of Unix time."""
    barrier: bool = False
    """Whether it isn't the fold of the log: it counts if the log has a BARRIER that names it."""
    pinned: bool = False
    """Whether it is kept, as the way back over a barrier, until somebody says that it may go."""


def checkpoint_name(lsn: int) -> str:
    """The file name of a checkpoint."""
    return f"checkpoint-{lsn:020}.ckpt"


def parse_checkpoint_name(name: str) -> int | None:
    """The LSN of a checkpoint's file name; None for others."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def temporary_checkpoint_name(header: CheckpointHeader) -> str:
    """The name that a checkpoint is written under until the owner takes it."""
    return temporary_name(checkpoint_name(header.lsn), header.nonce)


class Writer:
    """Writes a checkpoint, piece by piece.

    Args:
        directory: where.
        temporary: the name to write under, see `temporary_checkpoint_name`.
        header: what it says of itself.

    Raises:
        OSError: a write or the sync failed, or there is no room; give up with `abort`, but for what
            this raises itself.
    """

    def __init__(self, directory: Directory, temporary: str, header: CheckpointHeader) -> None:
        self._directory = directory
        self._temporary = temporary
        self._nonce = header.nonce
        self._next = 1
        head = encode_header(MAGIC, header)
        self._offset = self._synced = len(head)
        self._file = directory.create(temporary)
        try:
            self._file.write(0, head)
        except BaseException:
            self.abort()
            raise

    @property
    def bytes_written(self) -> int:
        """How long the file is by now."""
        return self._offset

    def write(self, count: int, payload: bytes) -> None:
        """Append operations: that many, one after the other in the payload."""
        assert 0 < count < SEAL
        self._frame(count, payload)
        self._next += count

    def finish(self) -> None:
        """Say that this was all, sync and close. The owner can adopt it now."""
        self._frame(SEAL, b"")
        self._file.sync()
        self._file.close()

    def abort(self) -> None:
        """Close and remove the file."""
        self._file.close()
        self._directory.remove(self._temporary)

    def _frame(self, count: int, payload: bytes) -> None:
        frame = encode_frame(self._nonce, self._offset, self._next, count, payload, self._next - 1)
        self._file.write(self._offset, frame)
        self._offset += len(frame)
        if self._offset - self._synced >= SYNC_BYTES:
            self._file.sync()
            self._synced = self._offset


def publish_checkpoint(
    directory: Directory, header: CheckpointHeader, frames: Iterable[tuple[int, bytes]]
) -> int:
    """Write a checkpoint, read it back, and give it its name; durable when this returns.

    Args:
        directory: where; its owner calls this.
        header: what it says of itself.
        frames: (count, operations).

    Returns:
        Its length in bytes.

    Raises:
        DiskFull: there is no room; nothing has happened.
        CorruptError: what is read back isn't what was written; nothing has happened.
        OSError: a step failed.
    """
    temporary, name = temporary_checkpoint_name(header), checkpoint_name(header.lsn)
    writer: Writer | None = None
    try:
        writer = Writer(directory, temporary, header)
        for count, payload in frames:
            writer.write(count, payload)
        writer.finish()
        file = directory.open(temporary)
        try:
            Checkpoint(directory, temporary, file).verify()
        finally:
            file.close()
        directory.rename(temporary, name)
    except BaseException as error:
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.abort()
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            needed = writer.bytes_written if writer is not None else 0
            raise disk_full(directory, name, needed, error) from error
        raise
    directory.sync()
    return writer.bytes_written


class Checkpoint:
    """A checkpoint file to read.

    Args:
        directory: that it is in.
        name: the file's own, or a temporary one.
        file: the open file, which is the caller's to close.
        any_name: don't mind if it is another checkpoint's name.

    Raises:
        CorruptError: the header isn't good.
    """

    def __init__(
        self, directory: Directory, name: str, file: File, *, any_name: bool = False
    ) -> None:
        self.name = name
        self.path = path_in(directory, name)
        self.header, self.begin = decode_header(MAGIC, CheckpointHeader, file.read, self.path)
        self._file = file
        lsn = parse_checkpoint_name(name)
        if lsn is not None and lsn != self.header.lsn and not any_name:
            raise CorruptError(self.path, 0, f"it is a checkpoint of LSN {self.header.lsn}")

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(count, operations) of each frame.

        Raises:
            CorruptError: a frame isn't good, or the end is missing; what came before it was good.
        """
        size = self._file.size()
        reader = FrameReader(self._file.read, self.header.nonce, self.begin, size, 1)
        for frame in reader:
            if frame.count == SEAL:
                if frame.end != size:
                    raise CorruptError(self.path, frame.end, "the file goes on after its end")
                return
            yield frame.count, frame.payload
        reason = reader.reason or "the end of the checkpoint is missing"
        raise CorruptError(self.path, reader.offset, reason)

    def verify(self) -> int:
        """Read all of it.

        Returns:
            How many operations there are.

        Raises:
            CorruptError: it isn't whole.
        """
        return sum(count for count, _ in self.frames())
