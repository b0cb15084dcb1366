"""`backup` and `restore`: a copy of a database beside its owner, and a database from a copy."""

import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cairndb import backup as backups
from cairndb import restoring
from cairndb.archive import Archive
from cairndb.cli import output, source
from cairndb.cli.reading import AtOption, Database, moment
from cairndb.history import At

_STREAM = "-"


def backup(
    database: Database,
    destination: Annotated[
        str,
        Argument(metavar="DEST", help="A directory; - is a tar archive on standard output."),
    ],
    *,
    json: Annotated[bool, Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Copy a database while it is in use.

    Run again with the same DEST it copies only what is new. What is copied is read back. `cairn
    restore` makes a database of it again; get, log and verify read it as it is.

    Example: cairn backup bank.cairn copy.backup
    """
    if destination == _STREAM:
        _stream(database)
        return
    with (
        source.directory_of(database) as directory,
        output.steps("copying", source.bytes_of(directory)) as step,
    ):
        report = backups.back_up_to(str(database), destination, step)
    if json:
        shown = {"lsn": report.lsn, "bytes_copied": report.bytes_copied, "files": report.files}
        output.write_json(shown, compact=True)
    else:
        copied = output.size_text(report.bytes_copied)
        output.write(f"{destination}: everything up to LSN {report.lsn}; copied {copied}")


def restore(
    database: Annotated[
        Path,
        Argument(
            metavar="SOURCE",
            help="A backup or a database; a tar archive; - is one on standard input.",
            readable=False,
        ),
    ],
    destination: Annotated[Path, Argument(metavar="DEST", help="Where nothing is yet.")],
    *,
    at: AtOption = None,
    json: Annotated[bool, Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Make a database of a backup, or of a database's past.

    It has a checkpoint of that state, an identity of its own, and LSNs that go on. A tar archive
    is one that 'cairn backup DATABASE -' wrote.

    Example: cairn restore copy.backup restored.cairn
    """
    when = moment(at)
    if str(database) == _STREAM or database.is_file():
        lsn = _restore_archive(database, str(destination), when)
    else:
        with (
            source.directory_of(database) as directory,
            output.steps("folding", source.bytes_of(directory)) as step,
        ):
            lsn = restoring.restore(directory, str(destination), when, step)
    if json:
        output.write_json({"lsn": lsn, "database": str(destination)}, compact=True)
    else:
        output.write(f"{destination}: the state of LSN {lsn}")


def _restore_archive(path: Path, destination: str, at: At | None) -> int:
    if str(path) != _STREAM:
        total = 2 * path.stat().st_size
        with path.open("rb") as file, output.steps("unpacking", total) as step:
            archive = Archive(file.read, str(path))
            return restoring.restore_archive(archive, str(path), destination, at, step)
    if sys.stdin.isatty():
        raise output.Misuse("a tar archive isn't typed in: name a file, or use a pipe")
    with output.steps("unpacking", 0) as step:
        archive = Archive(sys.stdin.buffer.read, "standard input")
        return restoring.restore_archive(archive, "standard input", destination, at, step)


def _stream(database: Path) -> None:
    if sys.stdout.isatty():
        raise output.Misuse("a tar archive isn't for a terminal: send it to a file or a pipe")
    with (
        source.directory_of(database) as directory,
        tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in backups.members(directory):
            about = tarfile.TarInfo(member.name)
            about.size = member.size
            archive.addfile(about, _Readable(member.content))


class _Readable:
    """Chunks, as tarfile reads them: by its own measure."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; fewer at the end."""
        assert size >= 0, "tarfile says how much it wants"
        while len(self._rest) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._rest += chunk
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
