"""Reads what `export` writes, in both forms; whatever is wrong with it names the line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Raw

from cairndb import codec
from cairndb.cli import output
from cairndb.cli.exporting import VERSION, schema_of
from cairndb.cli.lossless import exact_key, from_exact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from cairndb.cli.source import Progress


_HEAD_BYTES: Final = 1000


class Export(NamedTuple):
    """A whole database as it was exported."""

    schema: str
    database: str
    lsn: int
    state: bytes
    """As the text says; whether it fits the schema isn't known yet."""


def read_export(file: BinaryIO, name: str, progress: Progress, total: int) -> Export:
    """Read an export.

    Args:
        file: from its beginning.
        name: of the file, for messages.
        progress: told the bytes read.
        total: how many there are; 0 if that isn't known.

    Raises:
        Misuse: it isn't one, or isn't whole; says where and what.
        OSError: it can't be read.
    """
    try:
        return _read(file, progress, total)
    except RecursionError:
        raise output.Misuse(f"{name} is nested too deeply: nothing was imported") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise output.Misuse(f"{name}: {error}: nothing was imported") from None


def _read(file: BinaryIO, progress: Progress, total: int) -> Export:
    first = file.readline()
    header = _header(first)
    if header is not None and "root" not in header:
        _check(header)
        state = _Lines(len(first), progress, total).read(file)
    else:
        # One document of any layout: an editor or a formatter may have changed it.
        text = first + file.read()
        progress(len(text), total)
        header = _loads(text, "the export") if b'"cairndb"' in text[:_HEAD_BYTES] else None
        if not isinstance(header, dict) or header.get("cairndb") != "export":
            raise ValueError("it isn't an export of cairn: name what wrote it, as --from sqlite3")
        _check(header)
        if "root" not in header:
            raise ValueError("the export has no root, and isn't in lines")
        state = codec.encode(from_exact(header["root"]))
    return _export(header, state)


def _header(line: bytes) -> dict[str, Any] | None:
    """The header of an export in lines, or a whole document on one line; None for all else."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("cairndb") == "export" else None


def _check(header: dict[str, Any]) -> None:
    version = header.get("version")
    if version != VERSION:
        raise ValueError(
            f"it is an export of version {version}, and this cairndb reads version {VERSION}"
        )
    if "schema" not in header:
        raise ValueError("the export has no schema")


def _export(header: dict[str, Any], state: bytes) -> Export:
    lsn = header.get("lsn")
    database = str(header.get("database", ""))
    return Export(schema_of(header["schema"]), database, lsn if isinstance(lsn, int) else 0, state)


def _loads(text: bytes, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} isn't JSON, or is cut off: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different: of two equal ones JSON would drop the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r:.100} twice in an object")
    return found


class _Lines:
    """The lines after the header, put together.

    What can have something below it is a dict or list here; all else stays encoded.
    """

    def __init__(self, read: int, progress: Progress, total: int) -> None:
        self._read = read
        self._progress = progress
        self._total = total
        self._root: Any = None
        self._count = 1

    def read(self, file: BinaryIO) -> bytes:
        """The canonical bytes of the root, if the lines were in canonical order."""
        ended = False
        for number, line in self._numbered(file):
            if ended:
                raise ValueError(f"line {number}: the export goes on after its end")
            content = _loads(line, f"line {number}")
            try:
                ended = self._take(content)
            except (ValueError, OverflowError) as error:
                raise ValueError(f"line {number}: {error}") from None
            self._count += 1
        if not ended:
            raise ValueError('the last line, {"end": ...}, is missing: the export is cut off')
        if self._root is None:
            raise ValueError("the export has no root")
        return codec.encode(self._root)

    def _numbered(self, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
        for number, line in enumerate(file, 2):
            self._read += len(line)
            if number % 256 == 0:
                self._progress(self._read, self._total)
            if line.strip():
                yield number, line

    def _take(self, content: Any) -> bool:
        """One line; whether it was the last."""
        match content:
            case {"path": list(path), "value": value} if len(content) == 2:
                self._put([exact_key(step) for step in path], value)
                return False
            case {"end": int(count)} if len(content) == 1:
                if count != self._count:
                    raise ValueError(
                        f"{count - 1} lines with values were written, and {self._count - 1} are "
                        f'here; if that is meant, write {{"end": {self._count}}}'
                    )
                return True
            case _:
                raise ValueError('expected {"path": [...], "value": ...} or {"end": ...}')

    def _put(self, path: list[Any], given: Any) -> None:
        value = from_exact(given)
        part: Any = value if value in ({}, []) else Raw(codec.encode(value))
        if not path:
            if self._root is not None:
                raise ValueError("the root a second time")
            self._root = part
            return
        if self._root is None:
            raise ValueError("a value before the root")
        node = self._root
        for step in path[:-1]:
            node = _below(node, step)
        _add(node, path[-1], part)


def _below(node: Any, step: Any) -> Any:
    if (isinstance(node, dict) and step in node) or (
        isinstance(node, list) and step in range(len(node))
    ):
        return node[step]
    raise ValueError(f"nothing to go on from has been put before {step!r:.100}")


def _add(node: Any, step: Any, part: Any) -> None:
    if not isinstance(node, dict | list):
        raise ValueError("the path leads into a value that was put whole")  # noqa: TRY004  of a file
    if isinstance(node, list):
        if step != len(node) or isinstance(step, bool):
            raise ValueError(f"position {step!r:.100} where {len(node)} comes next")
        node.append(part)
    elif step in node:
        raise ValueError(f"the key {step!r:.100} a second time")
    else:
        node[step] = part
