"""A backup as a tar archive, as `cairn backup DATABASE -` writes it, read as it comes.

    archive = member* two blocks of zeros, and zeros up to the end
    member  = header content, each padded to blocks of 512 bytes

The first member is BACKUP, which lists the others; they follow in that order. Nothing else is
taken: an archive may come from anywhere, and what isn't on the list, in its place, a regular file
and under a name that a database's file can have, was not written by `cairn backup`. So no path
leads out of the directory, and no link anywhere. What a header says of a length is believed no
further than there is room for it.

tarfile isn't used for reading: it knows a dozen dialects, and reads the values of extended headers
into memory, however long they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn

import msgspec

from cairndb.checkpoint import parse_checkpoint_name
from cairndb.errors import CairnError
from cairndb.identity import BACKUP, NAME, Backup
from cairndb.log import parse_segment_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cairndb.files import Directory

BLOCK_BYTES = 512
CHUNK_BYTES = 1 << 20
SMALL_BYTES_MAX = 1 << 24
"""What is read into memory at once: the list, and what extends a header."""
END_BYTES_MAX = 1 << 20
"""How many zeros may follow: writers pad to 10 KiB, or to what a tape wants."""


class _Header(NamedTuple):
    """What a header says of the member that follows."""

    name: str
    size: int
    kind: bytes


class Archive:
    """An archive that is read once, from its beginning to its end.

    Args:
        read: gives the next so many bytes; fewer at the end only.
        name: of where it comes from, for messages.
    """

    def __init__(self, read: Callable[[int], bytes], name: str) -> None:
        self._read = read
        self._name = name
        self._offset = 0

    def unpack(self, directory: Directory, step: Callable[[int], None]) -> Backup:
        """Put the files of the backup into a directory; they are not synced, nor read back.

        Args:
            directory: empty; what is in it after an error means nothing.
            step: told how many bytes have been written since it was told last.

        Returns:
            What the backup says of itself.

        Raises:
            CairnError: it isn't an archive of a whole backup, or there is no room.
            OSError: the system failed.
        """
        header = self._next()
        if header is None or header.name != BACKUP:
            what = "nothing in it" if header is None else f"{header.name!r:.100} comes first"
            self._refuse(f"it is no backup that 'cairn backup DATABASE -' wrote: {what}")
        report = self._report(header)
        self._write(directory, header, [msgspec.json.encode(report)], step)
        for wanted in report.files:
            header = self._next()
            if header is None:
                self._refuse(f"{wanted} is missing, and the archive ends")
            if header.name != wanted:
                self._refuse(f"{header.name!r:.100} comes where {wanted} should")
            self._write(directory, header, self._content(header), step)
        if (header := self._next()) is not None:
            self._refuse(f"{header.name!r:.100} is no part of the backup")
        self._end()
        return report

    def _report(self, header: _Header) -> Backup:
        content = b"".join(self._content(header, SMALL_BYTES_MAX))
        try:
            report = msgspec.json.decode(content, type=Backup)
        except (msgspec.DecodeError, RecursionError) as error:
            self._refuse(f"BACKUP doesn't say what the backup is: {error}")
        if not report.lsn:
            self._refuse("it is a backup that was never finished")
        names = set(report.files)
        known = all(name == NAME or _is_data(name) for name in names)
        if not known or NAME not in names or len(names) < len(report.files):
            self._refuse("BACKUP lists other files than those of a backup, or one twice")
        return report

    def _write(
        self,
        directory: Directory,
        header: _Header,
        content: Iterator[bytes] | list[bytes],
        step: Callable[[int], None],
    ) -> None:
        free = directory.free_bytes()
        if header.size > free:
            self._refuse(f"{header.name} takes {header.size} bytes, and {free} are free there")
        file = directory.create(header.name)
        try:
            offset = 0
            for data in content:
                file.write(offset, data)
                offset += len(data)
                step(len(data))
        finally:
            file.close()

    def _next(self) -> _Header | None:
        """The header of the next member; None at the end."""
        size: int | None = None
        while True:
            block = self._exactly(BLOCK_BYTES, "a header")
            if not any(block):
                return None
            header = self._parsed(block)
            if header.kind in {b"0", b"\0"}:
                return header if size is None else header._replace(size=size)
            if header.kind != b"x" or size is not None:
                self._refuse(
                    f"{header.name!r:.100} isn't a regular file: 'cairn backup' writes no links, "
                    "directories or devices"
                )
            # What doesn't fit into a header stands before it: lengths from 8 GiB on.
            size = self._extended(b"".join(self._content(header, SMALL_BYTES_MAX)))

    def _parsed(self, block: bytes) -> _Header:
        stored = block[148:156].rstrip(b" \0")
        computed = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
        if block[257:262] != b"ustar" or not _is_octal(stored) or int(stored, 8) != computed:
            self._refuse("it is no tar archive, or it is damaged here")
        name, size = block[:100].rstrip(b"\0"), block[124:136].rstrip(b" \0")
        if block[345:500].strip(b"\0"):
            name = block[345:500].rstrip(b"\0") + b"/" + name
        if not _is_octal(size):
            self._refuse(f"the length of {name!r:.100} is no number")
        return _Header(name.decode("ascii", "backslashreplace"), int(size, 8), block[156:157])

    def _extended(self, records: bytes) -> int:
        """The length of the next member, which is all that may be said of it here."""
        length, _, record = records.partition(b" ")
        key, _, value = record.rstrip(b"\n").partition(b"=")
        right = length == b"%d" % len(records) and record.endswith(b"\n") and len(value) < 20
        if not right or key != b"size" or not value.isdigit():
            self._refuse("a header says more of a file than its length: 'cairn backup' doesn't")
        return int(value)

    def _content(self, header: _Header, limit: int | None = None) -> Iterator[bytes]:
        """What is in a member, a chunk at a time."""
        if limit is not None and header.size > limit:
            self._refuse(f"{header.name!r:.100} is {header.size} bytes long, and no backup's is")
        left = header.size
        while left:
            data = self._exactly(min(left, CHUNK_BYTES), header.name)
            left -= len(data)
            yield data
        if any(self._exactly(-header.size % BLOCK_BYTES, header.name)):
            self._refuse(f"{header.name!r:.100} goes on after its end")

    def _end(self) -> None:
        """See that there are only zeros left, so that whoever writes gets to his end."""
        padding = self._read(END_BYTES_MAX)
        if len(padding) < BLOCK_BYTES:
            self._offset += len(padding)
            self._refuse("it ends before its end is marked: it was cut off")
        if any(padding) or len(padding) == END_BYTES_MAX:
            self._refuse("it goes on after its end")

    def _exactly(self, count: int, what: str) -> bytes:
        data = self._read(count) if count else b""
        self._offset += len(data)
        if len(data) < count:
            self._refuse(f"it ends within {what!s:.100}: it was cut off")
        return data

    def _refuse(self, reason: str) -> NoReturn:
        raise CairnError(
            f"{self._name}: at byte {self._offset}: {reason}. Nothing was restored; a backup in "
            "another archive can be unpacked, and its directory restored"
        )


def _is_data(name: str) -> bool:
    return parse_segment_name(name) is not None or parse_checkpoint_name(name) is not None


def _is_octal(text: bytes) -> bool:
    return bool(text) and all(digit in b"01234567" for digit in text)
