"""The `cairn` command, run in this process; see test_cli_process.py and test_cli_values.py."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

import cairndb
from bank import Account, Bank
from cairndb import __main__, cli
from commands import Cairn

Run = Any


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A bank with two accounts, closed: LSN 2."""
    path = tmp_path / "bank.cairn"
    with cairndb.open(path, Bank) as db, db.update() as bank:
        bank.accounts["alice"] = Account("Alice", 100, ["a", "b"])
        bank.accounts["b/o~b"] = Account("Bob\nthe second")
        bank.holidays.update({"monday", "friday"})
    return path


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A database without declared types, closed."""
    path = tmp_path / "notes.cairn"
    with cairndb.open(path) as db, db.update() as root:
        root["first"] = {17: [1.5, None], "bytes": b"\x00\xff", "none": float("nan")}
    return path


@pytest.fixture
def cairn(capsys: pytest.CaptureFixture[str]) -> Cairn:
    """Runs commands in this process."""
    return Cairn(capsys)


def test_get_prints_json(cairn: Cairn, path: Path, notes: Path) -> None:
    """What is at a path comes out as JSON, the root too, with a form for what JSON lacks."""
    assert cairn.json("get", path, "/accounts/alice") == {
        "owner": "Alice",
        "balance": 100,
        "tags": ["a", "b"],
    }
    assert cairn.json("get", path)["holidays"] == ["friday", "monday"]
    assert cairn.json("get", path, "/accounts/alice/tags/-1") == "b"
    assert cairn("get", path, "/accounts/b~1o~0b/owner", "--raw") == "Bob\nthe second\n"
    assert cairn.json("get", notes, "/first/17") == [1.5, None]
    first = cairn.json("get", notes, "/first")
    assert first["bytes"] == {"$bytes": "AP8="}
    assert first["none"] == {"$float": "nan"}
    assert cairn("get", path, "/accounts/alice", "--json").count("\n") == 1


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("/accounts/carol", "/accounts has no key carol"),
        ("/accounts/alice/tags/2", "has no position 2"),
        ("/accounts/alice/balance/x", "is a value"),
    ],
)
def test_nothing_there_is_a_one(cairn: Cairn, path: Path, where: str, reason: str) -> None:
    """A path that leads nowhere says how far it goes and what shows more, and ends with 1."""
    cairn("get", path, where, code=1)
    assert reason in cairn.error
    assert cairn.error.startswith(f"cairn: {path}: ")
    shown = cairn.error.rstrip("'\n").rpartition("'cairn ")[2]
    cairn(*shlex.split(shown))


def test_ls_lists_keys_that_a_path_takes(cairn: Cairn, path: Path) -> None:
    """Each line is a key, as a path needs it, and what is below it."""
    assert cairn("ls", path) == 'accounts\t{2}\nholidays\t[2]\nname\t""\n'
    assert cairn("ls", path, "/accounts") == "alice\t{3}\nb~1o~0b\t{3}\n"
    assert cairn("ls", path, "/accounts", "--limit", 1) == "alice\t{3}\n"
    rows = cairn.json("ls", path, "/accounts/alice", "--json")
    assert rows[0] == {"key": "owner", "kind": "value", "value": "Alice"}
    assert rows[2] == {"key": "tags", "kind": "array", "count": 2}
    cairn("ls", path, "/accounts/alice/owner", code=1)


def test_tree_keeps_to_its_limits(cairn: Cairn, path: Path) -> None:
    """Depth and width are cut off, and it says so."""
    whole = cairn("tree", path, "--depth", 9)
    assert 'owner: "Alice"' in whole
    assert "Bob\\nthe second" in whole
    cut = cairn("tree", path, "/accounts", "--depth", 1, "--limit", 1)
    assert "alice" in cut
    assert "1 more" in cut
    assert "Alice" not in cut


def test_set_writes_typed_values(cairn: Cairn, path: Path) -> None:
    """Fields, positions and elements are set as declared, by an update that lasts."""
    root = ("--root", "bank:Bank")
    assert cairn.json("set", path, "/accounts/alice/balance", 7, *root, "--json") == {"lsn": 3}
    cairn("set", path, "/accounts/carol", '{"owner": "Carol"}', *root)
    cairn("set", path, "/accounts/carol/tags/-", '"x"', *root)
    cairn("set", path, "/holidays/-", '"sunday"', *root)
    with cairndb.open(path, Bank) as db, db.view() as bank:
        assert bank.accounts["alice"].balance == 7
        assert bank.accounts["carol"] == Account("Carol", 0, ["x"])
        assert bank.holidays == {"monday", "friday", "sunday"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("/accounts/alice/balance", "text"), "isn't JSON"),
        (("/accounts/alice/balance", '"text"'), "is declared int"),
        (("/accounts/alice/balance", "-5"), ">= 0"),
        (("/accounts/alice/nothing", "1"), "has no field nothing"),
        (("/accounts/nobody/balance", "1"), "there is nothing at /accounts/nobody"),
        (("/", "{}"), "the root itself"),
    ],
)
def test_set_refuses_what_is_not_declared(
    cairn: Cairn, path: Path, arguments: tuple[str, str], reason: str
) -> None:
    """A wrong value or place changes nothing, and the message says what is expected."""
    code = 1 if "nothing" in reason else 2
    cairn("set", path, *arguments, "--root", "bank:Bank", code=code)
    assert reason in cairn.error
    assert str(path) in cairn.error or "isn't JSON" in cairn.error
    assert cairn.json("stats", path, "--json")["lsn"] == 2


def test_a_typed_database_needs_its_root(cairn: Cairn, path: Path) -> None:
    """Writing without the class, with a wrong name or another class is asked wrongly."""
    cairn("set", path, "/name", '"x"', code=2)
    assert "--root module:Class" in cairn.error
    cairn("set", path, "/name", '"x"', "--root", "bank:Nothing", code=2)
    cairn("set", path, "/name", '"x"', "--root", "bank:Account", code=2)


@pytest.mark.parametrize("name", ["bank", ":Bank", "bank:", "..bank:Bank", "broken:Bank"])
def test_a_root_that_cannot_be_imported(
    cairn: Cairn, path: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that isn't module:Class, or a module that fails, is a line that shows the name."""
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    cairn("set", path, "/name", '"x"', "--root", name, code=2)
    assert name in cairn.error


def test_absurd_arguments_are_refused(cairn: Cairn, path: Path) -> None:
    """Numbers and nesting beyond what Python reads are asked wrongly, or lead nowhere."""
    cairn("get", path, f"/accounts/alice/tags/{'9' * 5000}", code=1)
    cairn("get", path, f"/accounts/{'[' * 100_000}", code=1)
    cairn("set", path, "/name", "[" * 100_000, "--root", "bank:Bank", code=2)
    assert len(cairn.error) < 1000


def test_an_untyped_database_needs_none(
    cairn: Cairn, notes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """JSON goes in as it is, negative numbers and bytes too; from standard input with -."""
    cairn("set", notes, "/number", "-5")
    cairn("set", notes, "/first/17/0", '{"$bytes": "AA=="}')
    text = tmp_path / "stdin"
    text.write_text('{"a": [1]}', encoding="utf-8")
    with text.open(encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        cairn("set", notes, "/object", "-")
    with cairndb.open(notes) as db, db.view() as root:
        assert root["number"] == -5
        assert root["first"][17][0] == b"\0"
        assert root["object"] == {"a": [1]}


def test_del_removes_keys_and_elements(cairn: Cairn, path: Path) -> None:
    """Keys, positions and set elements go; what isn't there is a no, a field can't go."""
    root = ("--root", "bank:Bank")
    cairn("del", path, "/accounts/b~1o~0b", *root)
    cairn("del", path, "/accounts/alice/tags/0", *root)
    cairn("del", path, "/holidays/monday", *root)
    cairn("del", path, "/holidays/monday", *root, code=1)
    cairn("del", path, "/name", *root, code=2)
    with cairndb.open(path, Bank) as db, db.view() as bank:
        assert bank.accounts == {"alice": Account("Alice", 100, ["b"])}
        assert bank.holidays == {"friday"}


def test_log_shows_each_update(cairn: Cairn, path: Path) -> None:
    """One object a line as JSON; for people the paths and values; picked by LSN and number."""
    with cairndb.open(path, Bank, audit=True) as db:
        db.run(Bank.transfer, "alice", "b/o~b", 5)
    entries = [json.loads(line) for line in cairn("log", path, "--json").splitlines()]
    assert [entry["lsn"] for entry in entries] == [1, 2, 3]
    assert entries[2]["call"] == {
        "name": "Bank.transfer",
        "args": ["alice", "b/o~b", 5],
        "kwargs": {},
    }
    by_path = {operation["path"]: operation for operation in entries[2]["operations"]}
    assert by_path["/accounts/alice/balance"] == {
        "do": "set",
        "path": "/accounts/alice/balance",
        "value": 95,
    }
    assert "/accounts/b~1o~0b/balance = 5" in cairn("log", path, "--limit", 1)
    assert cairn("log", path, "--since", 2, "-n", 1, "--json").startswith('{"lsn":2,')


def test_log_goes_back_beyond_the_checkpoint(cairn: Cairn, path: Path) -> None:
    """What is still on disk is shown, also if the newest checkpoint has it."""
    with cairndb.open(path, Bank) as db:
        db.checkpoint()
        with db.update() as bank:
            bank.name = "first"
    lines = cairn("log", path, "--json").splitlines()
    assert [json.loads(line)["lsn"] for line in lines] == [1, 2, 3]


def test_verify_finds_a_flipped_bit(cairn: Cairn, path: Path) -> None:
    """A whole database has no findings; one changed bit is found, named, and ends with 1."""
    cairn("checkpoint", path)
    report = cairn.json("verify", path, "--json")
    assert report["findings"] == []
    assert "folds up to LSN 2" in cairn("verify", path)
    (checkpoint,) = path.glob("checkpoint-*")
    data = bytearray(checkpoint.read_bytes())
    data[4096 + 30] ^= 1
    checkpoint.write_bytes(data)
    (finding, *_) = cairn.json("verify", path, "--json", code=1)["findings"]
    assert finding["file"] == str(checkpoint)
    assert "checkpoint" in cairn("verify", path, code=1)


def test_stats_counts(cairn: Cairn, path: Path) -> None:
    """Numbers of updates and bytes, and who opened it last."""
    found = cairn.json("stats", path, "--json")
    assert found["lsn"] == found["updates_since_checkpoint"] == 2
    assert found["total_bytes"] > found["log_bytes"] > 0
    shown = cairn("stats", path)
    assert "lsn" in shown
    assert f"({found['total_bytes']:,} bytes)" in shown


def test_checkpoint_needs_no_application(cairn: Cairn, path: Path) -> None:
    """A checkpoint of a typed database is made without its class, and opens as before."""
    assert cairn.json("checkpoint", path, "--json") == {"lsn": 2}
    assert cairn("checkpoint", path) == "checkpoint at LSN 2\n"
    assert len(list(path.glob("checkpoint-*"))) == 1
    with cairndb.open(path, Bank) as db, db.view() as bank:
        assert bank.accounts["alice"].balance == 100
    assert cairn.json("stats", path, "--json")["checkpoint_lsn"] == 2


def test_reading_goes_on_beside_an_owner(cairn: Cairn, path: Path) -> None:
    """Every reading command works while the database is open; writing ones say who has it."""
    with cairndb.open(path, Bank) as db:
        with db.update() as bank:
            bank.name = "first"
        assert cairn.json("get", path, "/name") == "first"
        for command in ("ls", "tree", "log", "verify", "stats"):
            cairn(command, path)
        cairn("checkpoint", path, code=3)
        assert "open for writing" in cairn.error
        assert "lock_timeout" not in cairn.error
        cairn("set", path, "/name", '"x"', "--root", "bank:Bank", code=3)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("get", "nowhere.cairn"), 3),
        (("get", "."), 3),
        (("nonsense",), 2),
        (("get",), 2),
        (("log", "x.cairn", "--limit", "many"), 2),
        (("get", "x.cairn", "--wrong"), 2),
    ],
)
def test_errors_are_one_line_and_a_number(
    cairn: Cairn, arguments: tuple[str, ...], code: int
) -> None:
    """A missing database is its fault, a wrong option is the caller's; neither is a traceback."""
    assert cairn(*arguments, code=code) == ""
    assert cairn.error.startswith("cairn: ")


def test_what_is_missing_is_named(cairn: Cairn, path: Path, tmp_path: Path) -> None:
    """A file, an empty directory, and one that lost DATABASE or its log are told apart."""
    cairn("get", tmp_path / "nowhere", code=3)
    assert "there is no database at" in cairn.error
    (tmp_path / "file").touch()
    cairn("get", tmp_path / "file", code=3)
    assert "that is a file" in cairn.error
    (tmp_path / "loop").symlink_to("loop")
    cairn("get", tmp_path / "loop", code=3)
    assert cairn.error.startswith(f"cairn: {tmp_path / 'loop'}: ")
    (tmp_path / "empty").mkdir()
    cairn("get", tmp_path / "empty", code=3)
    assert "a directory, but no database" in cairn.error
    (path / "DATABASE").rename(tmp_path / "DATABASE")
    for command in ("get", "verify", "stats", "log", "checkpoint"):
        cairn(command, path, code=3)
        assert "none called DATABASE" in cairn.error
    (tmp_path / "DATABASE").rename(path / "DATABASE")
    for segment in path.glob("*.seg"):
        segment.unlink()
    for command in ("get", "stats", "log", "checkpoint"):
        cairn(command, path, code=3)
        assert "there is no log" in cairn.error
    cairn("log", path, "--follow", code=3)
    cairn("verify", path, code=1)


def test_help_and_version(cairn: Cairn, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command explains itself with an example; without a command the list is shown."""
    assert cairn("--version").startswith("cairndb ")
    for command in cli.application.registered_commands:
        assert "Example: cairn" in cairn(command.name, "--help")
    assert "..." not in cairn("--help").partition("Commands:")[2], "a first line is too long"
    assert cli.run([]) == 2
    assert "verify" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["typer", "rich"])
def test_without_its_libraries_it_says_what_to_install(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command is an extra: what is missing is named, with the line that installs it."""
    monkeypatch.setitem(sys.modules, library, None)
    assert __main__.main() == 2
    assert "pip install 'cairndb[cli]'" in capsys.readouterr().err


def test_shell_has_the_database(
    notes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The prompt knows `db`; nothing can be changed without --write."""
    program = tmp_path / "stdin"
    program.write_text(
        "with db.view() as root: print(sorted(root))\n\n"
        "with db.update() as root: root['x'] = 1\n\n"
        "print(db.lsn)\n",
        encoding="utf-8",
    )
    for options, lsn in (((), 2), (("--write",), 3)):
        with program.open(encoding="utf-8") as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            assert cli.run(["shell", str(notes), *options]) == 0
        with cairndb.open(notes) as db:
            assert db.lsn == lsn


@pytest.mark.slow
def test_damage_is_told_never_a_traceback(cairn: Cairn, path: Path) -> None:
    """Whatever bit is flipped: `verify` says yes or no, `get` shows or refuses, each in its way."""
    cairn("checkpoint", path)
    before = cairn("get", path)
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        for position in range(0, min(len(whole), 4600), 97):
            file.write_bytes(
                whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :]
            )
            found = cli.run(["verify", str(path), "--json"])
            shown = cli.run(["get", str(path)])
            assert found in {0, 1}
            assert shown in {0, 3}
            if found == 0:
                assert cairn("get", path) == before
        file.write_bytes(whole)
