"""A directory that writes down what is done to it, in the words of `tracing`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracing import Operation

if TYPE_CHECKING:
    from cairndb.files import Directory, File


class RecordingFile:
    """See `cairndb.files.File`."""

    def __init__(self, file: File, record: list[Operation]) -> None:
        self.path = file.path
        self._file = file
        self._record = record

    def _did(self, kind: str, number: int = 0, data: bytes = b"") -> None:
        # A renamed file goes by the name that it has now, as in /proc.
        self._record.append(Operation(kind, self.path.rpartition("/")[2], number, data))

    def read(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self._file.write(offset, data)
        self._did("write", offset, bytes(data))

    def sync(self) -> None:
        self._file.sync()
        self._did("sync")

    def allocate(self, length: int) -> None:
        self._file.allocate(length)
        self._did("allocate", length)

    def truncate(self, length: int) -> None:
        self._file.truncate(length)
        self._did("truncate", length)

    def size(self) -> int:
        return self._file.size()

    def hold(self, *, exclusive: bool) -> bool:
        return self._file.hold(exclusive=exclusive)

    def close(self) -> None:
        self._file.close()


class RecordingDirectory:
    """See `cairndb.files.Directory`.

    Args:
        directory: that does the work.
        record: what is done goes to its end.
    """

    def __init__(self, directory: Directory, record: list[Operation]) -> None:
        self.path = directory.path
        self._directory = directory
        self._record = record

    def names(self) -> list[str]:
        return self._directory.names()

    def open(self, name: str, *, write: bool = False) -> RecordingFile:
        return RecordingFile(self._directory.open(name, write=write), self._record)

    def create(self, name: str) -> RecordingFile:
        file = RecordingFile(self._directory.create(name), self._record)
        self._record.append(Operation("create", name))
        return file

    def rename(self, old: str, new: str) -> None:
        self._directory.rename(old, new)
        self._record.append(Operation("rename", old, other=new))

    def remove(self, name: str) -> None:
        self._directory.remove(name)
        self._record.append(Operation("remove", name))

    def sync(self) -> None:
        self._directory.sync()
        self._record.append(Operation("sync directory", ""))

    def lock(self) -> bool:
        return self._directory.lock()

    def free_bytes(self) -> int:
        return self._directory.free_bytes()

    def close(self) -> None:
        self._directory.close()
