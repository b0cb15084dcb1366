"""Databases of earlier schemas, written once: every program since opens them, and looks back."""

from __future__ import annotations

from contextlib import closing
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from cairndb.diagnosis import examine
from cairndb.errors import SchemaError, UsageError
from cairndb.files import RealDirectory
from cairndb.recovery import verify
from golden_schemas import PROGRAMS, by_owner, shown, to_cents, unpacked
from test_format import read_database, read_header

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["version-1", "version-2", "version-3", "version-4", "version-5", "rewound", "backup"]


def followed(data: Any, written: int, read: int) -> Any:
    """What becomes of the data of one program in a later one, by hand."""
    data = deepcopy(data)
    for number in range(written + 1, read + 1):
        for each in data.get("accounts", {}).values():
            if number == 1:
                each["open"] = True
            elif number == 2:
                del each["tags"]
            elif number == 3:
                to_cents(each)
        data = by_owner(data) if number == 4 else data
    return data


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wrong_with_them(tmp_path: Path, name: str) -> None:
    """Every checksum is right, and the doctor finds nothing."""
    path, _ = unpacked(name, tmp_path)
    with closing(RealDirectory(str(path))) as directory:
        assert list(verify(directory)) == []
        assert examine(directory).diagnosis.healthy


@pytest.mark.parametrize("name", NAMES)
def test_every_later_program_opens_them(tmp_path: Path, name: str) -> None:
    """Each as the data has become by then; a copy can only be read."""
    for number, program in enumerate(PROGRAMS):
        place = tmp_path / str(number)
        path, states = unpacked(name, place)
        written, data = states[max(states)]
        options = {"read_only": name == "backup"}
        if program.version < PROGRAMS[written].version:
            with pytest.raises(SchemaError, match="a later program has written it"):
                shown(program, path, **options)
        elif number >= written:
            assert shown(program, path, **options) == followed(data, written, number)
            assert shown(program, path, **options) == followed(data, written, number)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_is_seen(tmp_path: Path, name: str) -> None:
    """At each LSN that is kept, as the program of then and as the newest."""
    path, states = unpacked(name, tmp_path)
    seen = 0
    for lsn, (written, data) in states.items():
        try:
            assert shown(PROGRAMS[written], path, at=lsn) == data
        except UsageError:
            continue
        assert shown(PROGRAMS[-1], path, at=lsn) == followed(data, written, len(PROGRAMS) - 1)
        seen += 1
    assert seen >= min(3, int(name[-1]) + 1 if name[-1].isdigit() else 1)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "backup"])
def test_a_reader_by_the_document_finds_barriers(tmp_path: Path, name: str) -> None:
    """FORMAT.md is enough: a segment names the checkpoint of the state that it begins with."""
    path, states = unpacked(name, tmp_path)
    files = {each.name: each.read_bytes() for each in path.iterdir()}
    base, operations, entries = read_database(files)
    assert base + len(entries) == max(states)
    assert operations[0][:2] == [0, []]
    barriers = {
        header.fields["barrier"]
        for each in files
        if each.startswith("log-")
        for header in [read_header(files[each], b"\x89CAIRNL\n")]
        if header.fields.get("barrier")
    }
    checkpoints = [
        read_header(data, b"\x89CAIRNC\n").fields
        for each, data in files.items()
        if each.startswith("checkpoint-")
    ]
    reached = {each["nonce"] for each in checkpoints if each.get("barrier")}
    assert barriers == reached
    assert bool(barriers) == (name != "version-1")
    assert any(each.get("pinned") for each in checkpoints) == (name != "version-1")
