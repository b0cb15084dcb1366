"""`cairn export` and `cairn import` from database to file to database."""

from __future__ import annotations

import io
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import cairndb
from bank import Account, Bank, balances, filled
from cairndb import cli
from cairndb.cli import building, source
from cairndb.cli.exporting import Form
from cairndb.files import RealDirectory
from cairndb.patch import Call
from cairndb.recovery import read_chain, verify
from cairndb.schema import compile_root, describe
from simulated import SimulatedDirectory, World, images
from test_cli import cairn as cairn_fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from commands import Cairn

cairn = cairn_fixture
ROOT = ["--root", "bank:Bank"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A bank with two accounts, closed: LSN 2."""
    path = tmp_path / "bank.cairn"
    filled(path).close()
    return path


@pytest.mark.parametrize("name", ["bank.json", "bank.jsonl"])
def test_an_imported_database_is_opened_by_its_application(
    cairn: Cairn, path: Path, tmp_path: Path, name: str
) -> None:
    """Schema and state are the same; UUID and LSN are its own, and the log says where from."""
    file, copy = tmp_path / name, tmp_path / "copy.cairn"
    told = cairn.json("export", path, file, "--json")
    original = source.read_state(path)
    assert told == {
        "database": str(original.database),
        "lsn": 2,
        "file": str(file),
        "format": name.partition(".")[2],
        "bytes": file.stat().st_size,
    }
    told = cairn.json("import", copy, file, "--json")
    assert (told["lsn"], told["source"]["lsn"]) == (1, 2)
    state = source.read_state(copy)
    assert (state.encoded, state.schema) == (original.encoded, original.schema)
    assert state.database != original.database
    assert (
        cairn.json("log", copy, "--json")["call"]["kwargs"]["database"]
        == told["source"]["database"]
    )
    with cairndb.open(copy, Bank) as db:
        assert balances(db) == {"alice": 100, "bob": 0}
        db.run(Bank.transfer, "alice", "bob", 30)
    with cairndb.open(copy, Bank) as db:
        assert balances(db) == {"alice": 70, "bob": 30}
    with closing(RealDirectory(str(copy))) as directory:
        assert list(verify(directory)) == []


def test_an_export_is_of_a_moment(cairn: Cairn, path: Path, tmp_path: Path) -> None:
    """Beside an owner it is of what is durable then; with --at, of what was."""
    with cairndb.open(path, Bank) as db:
        db.run(Bank.transfer, "alice", "bob", 30)
        cairn("export", path, tmp_path / "now.json")
        cairn("export", path, tmp_path / "then.json", "--at", 2)
    now, then = (json.loads((tmp_path / f"{name}.json").read_bytes()) for name in ("now", "then"))
    assert (now["lsn"], now["root"]["accounts"]["bob"]["balance"]) == (3, 30)
    assert (then["lsn"], then["root"]["accounts"]["bob"]["balance"]) == (2, 0)


@pytest.mark.parametrize("form", Form)
def test_standard_output_and_input_are_files_too(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    """A pipe from one to the other makes a copy, of whatever text, in UTF-8."""
    with cairndb.open(path, Bank) as db, db.update() as bank:
        bank.name = "Žižkov\u2028bank"
    for arguments in ["export", str(path)], ["export", str(path), "-"]:
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
        assert cli.run([*arguments, "--format", form.value]) == 0
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(out.getvalue())))
    assert cli.run(["import", str(tmp_path / "copy.cairn"), "-"]) == 0
    assert source.read_state(tmp_path / "copy.cairn").encoded == source.read_state(path).encoded


def test_nothing_is_overwritten(cairn: Cairn, path: Path, tmp_path: Path) -> None:
    """Neither a file by an export, nor a database, a file or a link by an import."""
    file = tmp_path / "bank.json"
    cairn("export", path, file)
    before = file.read_bytes()
    cairn("export", path, file, code=2)
    assert "is there already" in cairn.error
    assert file.read_bytes() == before
    (tmp_path / "link").symlink_to("nowhere")
    for taken in path, file, tmp_path / "link":
        cairn("import", taken, file, code=2)
        assert "is there already" in cairn.error
    cairn("import", tmp_path / "no" / "where", file, code=2)
    assert "there is no directory" in cairn.error
    assert file.read_bytes() == before
    cairn("verify", path)


def test_a_failed_export_leaves_no_file(cairn: Cairn, tmp_path: Path) -> None:
    """What can't be read has no export, not even an empty one."""
    cairn("export", tmp_path / "nowhere.cairn", tmp_path / "x.json", code=3)
    assert list(tmp_path.iterdir()) == []
    cairn("export", tmp_path, "--json", code=2)
    assert "name a file" in cairn.error


def test_a_failed_import_leaves_nothing(cairn: Cairn, path: Path, tmp_path: Path) -> None:
    """Neither a database nor a directory beside it."""
    file = tmp_path / "bank.jsonl"
    cairn("export", path, file)
    before = sorted(tmp_path.iterdir())
    file.write_bytes(file.read_bytes().replace(b'"balance":100', b'"balance":-1'))
    cairn("import", tmp_path / "copy.cairn", file, code=2)
    assert "/accounts/alice/balance" in cairn.error
    file.write_bytes(file.read_bytes()[:-10])
    cairn("import", tmp_path / "copy.cairn", file, code=2)
    cairn("import", tmp_path / "copy.cairn", tmp_path / "nowhere.json", code=3)
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture
def entries() -> list[bytes]:
    """Several that lead to a dict of two hundred keys."""
    kind = compile_root(dict[str, Any], guard=False)
    state = kind.encode({f"key {number}": list(range(30)) for number in range(200)})
    found = list(building.entries_of(state, kind, Call("import", [], {}), 1000))
    assert len(found) > 5
    return found


NOTES = describe(compile_root(dict[str, Any], guard=False))


def test_a_large_state_comes_in_several_entries(entries: list[bytes], tmp_path: Path) -> None:
    """Together they are the state, and each has its LSN."""
    path = tmp_path / "notes.cairn"
    assert building.build(path, NOTES, iter(entries)) == len(entries)
    assert source.read_state(path).lsn == len(entries)
    with cairndb.open(path) as db, db.view() as root:
        assert len(root) == 200
        assert root["key 199"] == list(range(30))


def test_an_import_is_durable_before_it_is_named(entries: list[bytes]) -> None:
    """Whatever a power failure leaves of the new directory, it is the whole state."""
    world = World()
    building.fill(SimulatedDirectory(world), NOTES, iter(entries))
    left = list(images(world.moment()))
    assert left
    for image in left:
        with closing(read_chain(SimulatedDirectory(World(image)))) as reading:
            assert b"".join(piece.payload for piece in reading.log_frames()) == b"".join(entries)


def test_a_typed_state_is_cut_where_its_types_let_it(tmp_path: Path) -> None:
    """Records are whole, the dicts and sets in them come in pieces: the state is the same."""
    root = Bank(
        accounts={f"a{number}": Account(f"Owner {number}", number) for number in range(100)},
        holidays={f"day {number}" for number in range(100)},
    )
    kind = compile_root(Bank, guard=False)
    state = kind.encode(kind.copy(root, 0))
    path = tmp_path / "bank.cairn"
    lsn = building.build(
        path, describe(kind), building.entries_of(state, kind, Call("import", [], {}), 500)
    )
    assert lsn > 5
    assert source.read_state(path).encoded == state
    with cairndb.open(path, Bank) as db, db.view() as bank:
        assert len(bank.accounts) == len(bank.holidays) == 100


def _interrupted(entries: list[bytes]) -> Iterator[bytes]:
    yield from entries[:3]
    raise KeyboardInterrupt


def _overtaken(entries: list[bytes], path: Path) -> Iterator[bytes]:
    yield from entries
    filled(path).close()


def test_an_interrupted_import_leaves_nothing(entries: list[bytes], tmp_path: Path) -> None:
    """Ctrl-C while it is written, and there is no database."""
    with pytest.raises(KeyboardInterrupt):
        building.build(tmp_path / "notes.cairn", NOTES, _interrupted(entries))
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_meanwhile_stays_what_it_is(
    entries: list[bytes], tmp_path: Path
) -> None:
    """A database that somebody makes during the import isn't replaced."""
    path = tmp_path / "bank.cairn"
    with pytest.raises(cairndb.CairnError, match="is there by now"):
        building.build(path, NOTES, _overtaken(entries, path))
    assert list(tmp_path.iterdir()) == [path]
    with cairndb.open(path, Bank) as db:
        assert balances(db)["alice"] == 100


def test_into_puts_an_import_at_one_place(cairn: Cairn, path: Path, tmp_path: Path) -> None:
    """In one update, and only where there is nothing, unless told to replace it."""
    file, notes = tmp_path / "bank.json", tmp_path / "notes.cairn"
    cairn("export", path, file)
    with cairndb.open(notes) as db, db.update() as root:
        root["old"] = {"x": 1}
    assert cairn.json("import", notes, file, "--into", "/old/bank", "--json")["lsn"] == 3
    assert cairn.json("get", notes, "/old/bank/accounts/alice/balance") == 100
    cairn("import", notes, file, "--into", "/old", code=2)
    assert "/old is there already: --replace puts the import in its place" in cairn.error
    cairn("import", notes, file, "--into", "/old", "--replace")
    assert list(cairn.json("get", notes, "/old")) == ["accounts", "holidays", "name"]
    cairn("import", notes, file, "--into", "/new/deeper", code=1)
    cairn("import", tmp_path / "nowhere.cairn", file, "--into", "/x", code=3)
    cairn("import", tmp_path / "new.cairn", file, "--replace", code=2)
    assert cairn.json("stats", notes, "--json")["lsn"] == 4


def test_into_a_typed_database_is_judged_by_it(
    cairn: Cairn, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The declared types take what fits them; nothing is dropped that they have no place for."""
    monkeypatch.chdir(Path(__file__).parent)
    file = tmp_path / "more.json"
    more = tmp_path / "more.cairn"
    with cairndb.open(more, dict[str, Account]) as others, others.update() as accounts:
        accounts["carol"] = Account("Carol", 5)
    cairn("export", more, file)
    cairn("import", path, file, "--into", "/accounts", *ROOT, code=2)
    assert "is a field, which has a value already: --replace" in cairn.error
    cairn("import", path, file, "--into", "/accounts", "--replace", *ROOT)
    with cairndb.open(path, Bank) as db:
        assert balances(db) == {"carol": 5}
    cairn("import", path, file, "--into", "/accounts/dave", *ROOT, code=2)
    assert "/accounts/dave: Object missing required field `owner`" in cairn.error
    with cairndb.open(tmp_path / "loose.cairn") as loose, loose.update() as root:
        root |= {"owner": "Dave", "colour": "red"}
    cairn("export", tmp_path / "loose.cairn", tmp_path / "loose.json")
    cairn("import", path, tmp_path / "loose.json", "--into", "/accounts/dave", *ROOT, code=2)
    assert "Account has no place for /colour of the import" in cairn.error
    cairn("verify", path)
