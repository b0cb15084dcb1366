"""A program that is a disk: a FUSE file system with one file, which records what is written to it.

    python recording_disk.py IMAGE FOLDER RECORD

The file FOLDER/disk has the content of IMAGE; a loop device on it is a disk of which every write
and every flush is known, in order. Lines that come on the standard input, which say what was
acknowledged, are put in the record where they come in: what made them true had been written, and
flushed, before. It runs until FOLDER is unmounted. Linux, as root. The protocol is that of
include/uapi/linux/fuse.h in the kernel's sources.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import sys
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME: Final = "disk"
_READY: Final = b"ready\n"
_RECORD: Final = struct.Struct("<BQI")
_IN: Final = struct.Struct("<IIQQIIII")
_OUT: Final = struct.Struct("<IiQ")
_INIT: Final = struct.Struct("<IIIIHHIIHHI28x")
_ATTRIBUTES: Final = struct.Struct("<QQQQQQIIIIIIIIII")
_BYTES_MAX: Final = 1 << 20
_BUFFER_BYTES: Final = _BYTES_MAX + (1 << 16)
_BIG_WRITES, _MAX_PAGES, _DIRECT_IO = 1 << 5, 1 << 22, 1


class Call(IntEnum):
    """The requests that need an answer of their own."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    RELEASEDIR = 29
    ACCESS = 34
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42


_UNANSWERED: Final = {Call.FORGET, Call.INTERRUPT, Call.BATCH_FORGET}
_NOTHING_TO_SAY: Final = {Call.RELEASE, Call.FLUSH, Call.RELEASEDIR, Call.ACCESS, Call.DESTROY}


class Kind(IntEnum):
    """What a record is of."""

    WRITE = 1
    FLUSH = 2
    SAID = 3


class Event(NamedTuple):
    """One record: what the disk was told, or what was said."""

    kind: Kind
    offset: int
    data: bytes


def events(record: Path) -> Iterator[Event]:
    """Everything in a record, in order."""
    with record.open("rb") as file:
        while head := file.read(_RECORD.size):
            kind, offset, length = _RECORD.unpack(head)
            yield Event(Kind(kind), offset, file.read(length))


class Disk:
    """Answers what the kernel asks.

    Args:
        image: a descriptor of the content.
        record: where everything is written down.
    """

    def __init__(self, image: int, record: int) -> None:
        self._image = image
        self._record = record
        self._size = os.fstat(image).st_size
        self._answers = {
            Call.INIT: self._init,
            Call.LOOKUP: self._lookup,
            Call.GETATTR: self._getattr,
            Call.SETATTR: self._getattr,
            Call.OPEN: lambda *_: struct.pack("<QII", 0, _DIRECT_IO, 0),
            Call.OPENDIR: lambda *_: struct.pack("<QII", 0, 0, 0),
            Call.READ: self._read,
            Call.WRITE: self._write,
            Call.FSYNC: self._flush,
            Call.STATFS: lambda *_: bytes(80),
        }

    def serve(self, device: int, said: int) -> None:
        """Answer until the file system is unmounted.

        Args:
            device: the kernel's end.
            said: a descriptor of lines to put in the record.
        """
        sources = [said, device]
        while True:
            readable, _, _ = select.select(sources, [], [])
            if said in readable:
                # First: the later it is put down, the less it demands.
                line = os.read(said, 1 << 16)
                if line:
                    self._put(Kind.SAID, 0, line)
                else:
                    sources.remove(said)
            elif not self._serve_one(device):
                return

    def _serve_one(self, device: int) -> bool:
        try:
            request = os.read(device, _BUFFER_BYTES)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            if error.errno in {errno.ENOENT, errno.EAGAIN}:
                return True
            raise
        _, call, unique, node, *_ = _IN.unpack_from(request)
        if call in _UNANSWERED:
            return True
        failure, answer = 0, b""
        if call in self._answers:
            try:
                answer = self._answers[Call(call)](node, request[_IN.size :])
            except OSError as error:
                failure = error.errno or errno.EIO
        elif call not in _NOTHING_TO_SAY:
            failure = errno.ENOSYS
        os.write(device, _OUT.pack(_OUT.size + len(answer), -failure, unique) + answer)
        return True

    def _put(self, kind: Kind, offset: int, data: bytes) -> None:
        os.write(self._record, _RECORD.pack(kind, offset, len(data)) + data)

    def _init(self, _node: int, _body: bytes) -> bytes:
        flags = _BIG_WRITES | _MAX_PAGES
        pages = _BYTES_MAX // 4096
        return _INIT.pack(7, 31, 0, flags, 16, 12, _BYTES_MAX, 1, pages, 0, 0)

    def _attributes(self, node: int) -> bytes:
        mode, size = (stat.S_IFDIR | 0o755, 0) if node == 1 else (stat.S_IFREG | 0o600, self._size)
        return _ATTRIBUTES.pack(
            node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0
        )

    def _lookup(self, _node: int, body: bytes) -> bytes:
        if body.rstrip(b"\0").decode() != NAME:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return struct.pack("<QQQQII", 2, 0, 1000, 1000, 0, 0) + self._attributes(2)

    def _getattr(self, node: int, _body: bytes) -> bytes:
        return struct.pack("<QII", 1000, 0, 0) + self._attributes(node)

    def _read(self, _node: int, body: bytes) -> bytes:
        _, offset, length = struct.unpack_from("<QQI", body)
        return os.pread(self._image, length, offset)

    def _write(self, _node: int, body: bytes) -> bytes:
        _, offset, length = struct.unpack_from("<QQI", body)
        data = body[40 : 40 + length]
        self._put(Kind.WRITE, offset, data)
        os.pwrite(self._image, data, offset)
        return struct.pack("<II", length, 0)

    def _flush(self, _node: int, _body: bytes) -> bytes:
        self._put(Kind.FLUSH, 0, b"")
        return b""


def mount(device: int, folder: Path) -> None:
    """Have the kernel ask that descriptor about everything below a folder."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,max_read={_BYTES_MAX}"
    arguments = (b"recording", os.fsencode(folder), b"fuse", 0, options.encode())
    if libc.mount(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(folder))


def main() -> None:
    """Mount, say so, and serve."""
    image, folder, record = map(Path, sys.argv[1:])
    device = os.open("/dev/fuse", os.O_RDWR)
    mount(device, folder)
    disk = Disk(os.open(image, os.O_RDWR), os.open(record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    os.write(1, _READY)
    disk.serve(device, 0)


if __name__ == "__main__":
    main()
