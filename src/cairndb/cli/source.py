"""A database's state and log as bytes, read beside its owner and without the application."""

from __future__ import annotations

import itertools
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from cairndb.chain import Chain, Files, Position
from cairndb.checkpoint import parse_checkpoint_name
from cairndb.cli import output
from cairndb.cli.counted import CountedDirectory
from cairndb.errors import CairnError, CorruptError
from cairndb.fold import Fold
from cairndb.frame import HEAD_BYTES, FrameReader
from cairndb.history import read_at
from cairndb.identity import NAME, read_identity
from cairndb.linking import link
from cairndb.log import parse_segment_name, read_segment
from cairndb.patch import Entry, decode_entries, decode_operations
from cairndb.recovery import read_chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from uuid import UUID

    from cairndb.checkpoint import CheckpointHeader
    from cairndb.files import Directory
    from cairndb.history import At
    from cairndb.log import Piece, SegmentHeader

Numbered = tuple[int, Entry]
Progress: TypeAlias = "Callable[[int, int], None]"

ATTEMPTS = 20


class State(NamedTuple):
    """Everything, as of the last durable update."""

    encoded: bytes
    lsn: int
    schema: str
    database: UUID


@contextmanager
def directory_of(database: Path) -> Iterator[CountedDirectory]:
    """The database's directory, open.

    Raises:
        CairnError: there is no database.
    """
    with any_directory(database) as directory:
        names = directory.names()
        if NAME not in names:
            raise CairnError(_without_identity(database, names))
        yield directory


@contextmanager
def any_directory(database: Path) -> Iterator[CountedDirectory]:
    """A directory, open, whatever it holds.

    Raises:
        CairnError: it isn't there, or is none.
    """
    try:
        directory = CountedDirectory(str(database))
    except FileNotFoundError:
        raise CairnError(
            f"there is no database at {database}; cairndb.open makes one, cairn doesn't"
        ) from None
    except NotADirectoryError:
        raise CairnError(
            f"there is no database at {database}: that is a file, a database is a directory"
        ) from None
    with closing(directory):
        yield directory


def _without_identity(database: Path, names: list[str]) -> str:
    for name in names:
        if parse_segment_name(name) or parse_checkpoint_name(name) is not None:
            return (
                f"{database} has a file {name}, but none called {NAME}: either that is lost, "
                "or the creation of the database was interrupted; 'cairn doctor' tells which"
            )
    return f"{database} is a directory, but no database: there is no file {NAME} in it"


def read_state(database: Path, at: At | None = None) -> State:
    """The whole state, folded untyped.

    Args:
        database: its directory.
        at: as of when; None for now.

    Raises:
        CairnError: there is no database, or it is damaged.
    """
    with (
        directory_of(database) as directory,
        output.progress("reading") as progress,
        closing(read_chain(directory) if at is None else read_at(directory, at)) as reading,
    ):
        for text in reading.warnings:
            output.say_error(f"warning: {text}")
        total = bytes_of(directory)
        fold, read = loaded(directory, reading.checkpoint_frames(), progress, total)
        for piece in reading.log_frames():
            replay(directory, fold, piece, reading.lsn)
            read += len(piece.payload)
            progress(read, total)
        if not reading.lsn:
            raise CairnError(f"{database} has no content yet: its creation was interrupted")
        database_id = read_identity(directory).database
        return State(fold.encode(), reading.lsn, reading.schema, database_id)


def loaded(
    directory: Directory,
    frames: Iterable[tuple[int, bytes]],
    progress: Progress,
    total: int,
) -> tuple[Fold, int]:
    """The fold of a checkpoint's frames, and how many bytes they are.

    Raises:
        CorruptError: the operations don't fit together, though their checksums are right.
    """
    fold, read = Fold(), 0
    try:
        for count, payload in frames:
            for operation in decode_operations(payload, count):
                fold.apply([operation])
            read += len(payload)
            progress(read, total)
    except ValueError as error:
        raise CorruptError(directory.path, 0, f"a checkpoint can't be folded: {error}") from error
    return fold, read


def replay(directory: Directory, fold: Fold, piece: Piece, until_lsn: int | None = None) -> None:
    """Apply the entries of a piece of the log.

    Args:
        directory: for messages.
        fold: what they are applied to.
        piece: of the log.
        until_lsn: the last to apply; None for all.

    Raises:
        CorruptError: an entry doesn't fit the state, though its checksum is right.
    """
    lsn = piece.first_lsn
    try:
        for entry in decode_entries(piece.payload, piece.count):
            if until_lsn is not None and lsn > until_lsn:
                return
            fold.apply(entry.operations)
            lsn += 1
    except ValueError as error:
        raise CorruptError(directory.path, 0, f"LSN {lsn} can't be folded: {error}") from error


def bytes_of(directory: Directory) -> int:
    """How large all files of a database are together."""
    return sum(size_of(directory, name) for name in directory.names())


def size_of(directory: Directory, name: str) -> int:
    """How large a file is; 0 if it has just been removed."""
    try:
        with closing(directory.open(name)) as file:
            return file.size()
    except FileNotFoundError:
        return 0


def newest_header(directory: Directory) -> SegmentHeader:
    """What the newest segment says of itself; the schema above all.

    Raises:
        CorruptError: there is none, or it is damaged.
    """
    newest = newest_segment(directory, directory.names())
    with closing(directory.open(newest)) as file:
        return read_segment(directory, newest, file).header


def newest_segment(directory: Directory, names: list[str]) -> str:
    """The name of the segment that was published last.

    Raises:
        CorruptError: there is none.
    """
    newest = max(filter(parse_segment_name, names), key=publication, default=None)
    if newest is None:
        raise CorruptError(directory.path, 0, "there is no log in the directory")
    return newest


def publication(name: str) -> tuple[int, int]:
    """What segments sort by: epoch and first LSN; lowest for other files."""
    return parse_segment_name(name) or (0, 0)


def entries(directory: Directory, since: int) -> Iterator[Numbered]:
    """The updates from an LSN on, as far as they are still there, up to what is durable.

    Args:
        directory: of the database.
        since: the first LSN.
    """
    with closing(read_chain(directory)) as reading:
        if since > reading.base_lsn:
            yield from _numbered(reading.log_frames(), since, reading.lsn)
            return
        # Older than the last checkpoint: the segments between it and the one before are kept.
        with closing(Files(directory, keep=True)) as files:
            chain = chain_from(files, None)
            yield from _numbered(chain.pieces(reading.lsn), since, reading.lsn)


def _numbered(pieces: Iterable[Piece], since: int, until: int) -> Iterator[Numbered]:
    for first_lsn, count, payload in pieces:
        if first_lsn + count <= since:
            continue
        for lsn, entry in enumerate(decode_entries(payload, count), first_lsn):
            if since <= lsn <= until:
                yield lsn, entry


def chain_from(files: Files, base: Position | CheckpointHeader | None) -> Chain:
    """The chain of segments from a position on; None: from the oldest that is there."""
    directory = files.directory
    for attempt in itertools.count(1):
        names = directory.names()
        database = read_identity(directory).database
        far_back = base.lsn if base else max(publication(name)[1] for name in names)
        try:
            segments, superseded, _ = link(files, names, database, far_back)
            for segment in segments:
                files.open(segment.name)
        except FileNotFoundError as error:
            files.close()
            if attempt == ATTEMPTS:
                raise CairnError(f"{error.filename} vanishes whenever it is read") from None
        else:
            first = segments[0].header
            start = Position(first.first_lsn - 1, first.running)
            if base is not None:
                start = Position(base.lsn, base.running)
            return Chain(files, segments, superseded, start, 0)
    raise AssertionError


class Pulse:
    """Tells with one small read whether a log has gone on.

    Args:
        directory: of the database.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._names = directory.names()
        self._name = newest = newest_segment(directory, self._names)
        with closing(directory.open(newest)) as file:
            segment = read_segment(directory, newest, file)
            header = segment.header
            reader = FrameReader(
                file.read, header.nonce, segment.begin, file.size(), header.first_lsn
            )
            for _ in reader:
                pass
            self._offset = reader.offset
            self._head = file.read(self._offset, HEAD_BYTES)

    def changed(self) -> bool:
        """Whether there may be more than when this was made."""
        try:
            with closing(self._directory.open(self._name)) as file:
                head = file.read(self._offset, HEAD_BYTES)
        except FileNotFoundError:
            return True
        return head != self._head or self._directory.names() != self._names
