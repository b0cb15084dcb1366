"""`export`: a whole database as JSON, in one of two forms that `import` reads.

    json    {"cairndb": "export", ..., "root": ...}: one document, indented
    jsonl   {"cairndb": "export", ...}                  the same keys, without the root
            {"path": ["accounts"], "value": {}}         each line puts a value at a path,
            {"path": ["accounts", "alice"], "value": {"owner": "Alice"}}      parents first
            {"end": 4}                                  how many lines have come before

How values are written is said in `lossless`. Of the text there is never more than a piece in
memory; the state is, as its bytes.
"""

from __future__ import annotations

import json as jsons
import sys
from contextlib import closing, contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from typer import Argument, Option

from cairndb import codec
from cairndb.cli import output, source, values
from cairndb.cli.lossless import fits_object, to_exact
from cairndb.cli.reading import AtOption, Database, moment
from cairndb.files import RealDirectory
from cairndb.schema_text import Fields, parse_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from msgspec import Raw

    from cairndb.files import RealFile

    Write = Callable[[bytes], object]

VERSION: Final = 1
STANDARD: Final = "-"
LINE_BYTES: Final = 1 << 20

_INLINE_BYTES: Final = 60  # what is shorter stands on one line of the document
_BUFFER_BYTES: Final = 1 << 16
_CONTAINERS: Final = {"dict", "list", "set", "Any"}


class Form(str, Enum):  # noqa: UP042  how Typer shows a StrEnum depends on its version
    """How an export is written."""

    JSON = "json"
    JSONL = "jsonl"


def export(
    database: Database,
    file: Annotated[
        str, Argument(metavar="[FILE]", help="Where to; - is standard output.")
    ] = STANDARD,
    *,
    form: Annotated[
        Form | None,
        Option("--format", help="One document, or a line for each value; by FILE's ending."),
    ] = None,
    at: AtOption = None,
    json: Annotated[bool, Option("--json", help="Say what was done as a JSON object.")] = False,
) -> None:
    """Write everything as JSON, without loss.

    The schema goes with it, for 'cairn import'. Works beside a program that has the database
    open, and refuses to overwrite a file.

    Example: cairn export bank.cairn bank.jsonl
    """
    if json and file == STANDARD:
        raise output.Misuse(
            "--json would mix with the export on standard output: name a file to export to"
        )
    if form is None:
        form = Form.JSONL if file.endswith(".jsonl") else Form.JSON
    with _target(file) as write:
        state = source.read_state(database, moment(at))
        with output.progress("writing") as progress:
            size = write_export(write, state, form, progress)
    if json:
        found = {"database": str(state.database), "lsn": state.lsn, "file": file}
        output.write_json(found | {"format": form.value, "bytes": size}, compact=True)
    elif file != STANDARD:
        output.write(f"exported LSN {state.lsn} to {file}, {output.size_text(size)}")


def write_export(
    write: Write,
    state: source.State,
    form: Form,
    progress: source.Progress,
    *,
    line_bytes: int = LINE_BYTES,
) -> int:
    """Write an export.

    Args:
        write: takes the bytes, piece by piece.
        state: what.
        form: how.
        progress: told the bytes of the state that are done.
        line_bytes: of lines, a value that takes more is cut into those below it.

    Returns:
        How many bytes were written.
    """
    writer = _Writer(write, progress, len(state.encoded))
    if form is Form.JSON:
        _write_document(writer, state)
    else:
        _write_lines(writer, state, line_bytes)
    writer.flush()
    return writer.bytes


@contextmanager
def _target(file: str) -> Iterator[Write]:
    """What writes to a new file, which goes again if the block fails; or to standard output."""
    if file == STANDARD:
        output.flush()
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    path = Path(file).absolute()
    with closing(RealDirectory(str(path.parent))) as directory:
        try:
            created = directory.create(path.name)
        except FileExistsError:
            raise output.Misuse(
                f"{file} is there already, and nothing is overwritten: remove it, or give "
                "another name"
            ) from None
        with closing(created):
            try:
                yield _Appending(created)
                created.sync()
            except BaseException:
                directory.remove(path.name)
                raise
        directory.sync()


class _Appending:
    """Writes at the end of a file."""

    def __init__(self, file: RealFile) -> None:
        self._file = file
        self._offset = 0

    def __call__(self, data: bytes) -> None:
        self._file.write(self._offset, data)
        self._offset += len(data)


class _Writer:
    """Text in pieces, to a file."""

    def __init__(self, write: Write, progress: source.Progress, total: int) -> None:
        self.bytes = 0
        self._write = write
        self._progress = progress
        self._total = total
        self._done = 0
        self._pieces: list[bytes] = []
        self._waiting = 0

    def write(self, text: str) -> None:
        """Have a piece written, some time."""
        data = text.encode()
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting >= _BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        self._write(b"".join(self._pieces))
        self.bytes += self._waiting
        self._pieces, self._waiting = [], 0
        self._progress(min(self._done, self._total), self._total)

    def value(self, raw: Raw | bytes) -> str:
        """A value's text; counts it as done."""
        self._done += len(memoryview(raw))
        return values.dumps(to_exact(codec.decode(raw)))


def _header(state: source.State, form: Form) -> dict[str, Any]:
    return {
        "cairndb": "export",
        "version": VERSION,
        "format": form.value,
        "database": str(state.database),
        "lsn": state.lsn,
        "schema": _schema_json(state.schema),
    }


def schema_of(given: Any) -> str:
    """The text of a schema, from what stands in an export for it."""
    return given if isinstance(given, str) else jsons.dumps(given, indent=1, ensure_ascii=False)


def _schema_json(text: str) -> Any:
    content = jsons.loads(text)
    # The text itself counts: where it isn't written as it would be now, it is kept as text.
    return content if schema_of(content) == text else text


def _write_document(writer: _Writer, state: source.State) -> None:
    head = values.dumps(_header(state, Form.JSON), indent=1)
    writer.write(head.removesuffix("\n}"))
    writer.write(',\n "root": ')
    _write_tree(writer, state.encoded, "\n ")
    writer.write("\n}\n")


def _write_tree(writer: _Writer, raw: Raw | bytes, margin: str) -> None:
    """A value, over several lines if it is long."""
    level = values.children(raw) if len(memoryview(raw)) > _INLINE_BYTES else None
    if not level:
        writer.write(writer.value(raw))
        return
    shape = _shape(level)
    between = shape.opening
    for step, item in level.items() if isinstance(level, dict) else enumerate(level):
        name = "" if isinstance(level, list) else values.dumps(to_exact(step))
        writer.write(f"{between}{margin} {shape.before}{name}{shape.after_name}")
        _write_tree(writer, item, f"{margin} ")
        between = f"{shape.after},"
    writer.write(f"{shape.after}{margin}{shape.closing}")


class _Shape(NamedTuple):
    """What stands around the parts of a value."""

    opening: str
    before: str
    after_name: str
    after: str
    closing: str


def _shape(level: values.Level) -> _Shape:
    if isinstance(level, list):
        return _Shape("[", "", "", "", "]")
    if fits_object(level):
        return _Shape("{", "", ": ", "", "}")
    return _Shape('{"$items": [', "[", ", ", "]", "]}")


def _write_lines(writer: _Writer, state: source.State, line_bytes: int) -> None:
    writer.write(values.dumps(_header(state, Form.JSONL)) + "\n")
    lines = _Lines(writer, line_bytes)
    lines.write([], state.encoded, _depth(state.schema))
    writer.write(values.dumps({"end": lines.count}) + "\n")


def _depth(text: str) -> int:
    """How many levels are opened whatever their size: entries of containers get lines, not records.

    In a record at the root each field has entries of its own; so has a dict of dicts.
    """
    schema = parse_schema(text)
    if isinstance(schema.types.get(schema.root.name), Fields):
        return 2
    return 2 if schema.root.parts[1].name in _CONTAINERS else 1


class _Lines:
    """Lines of values, each before those below it."""

    def __init__(self, writer: _Writer, line_bytes: int) -> None:
        self.count = 1
        self._writer = writer
        self._line_bytes = line_bytes

    def write(self, path: list[Any], raw: Raw | bytes, depth: int) -> None:
        """A value, in one line or in one for each of its entries."""
        level = None
        if depth > 0 or len(memoryview(raw)) > self._line_bytes:
            level = values.children(raw)
        text = self._writer.value(raw) if not level else "[]" if isinstance(level, list) else "{}"
        self._writer.write(f'{{"path":{values.dumps(path)},"value":{text}}}\n')
        self.count += 1
        if level:
            for step, item in level.items() if isinstance(level, dict) else enumerate(level):
                self.write([*path, to_exact(step)], item, depth - 1)
