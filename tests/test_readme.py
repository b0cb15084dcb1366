"""The examples of the README and of the `cairn` command's page run, as they stand."""

import io
import re
import runpy
import shlex
from pathlib import Path

import pytest

import cairndb
from bank import Account, filled
from cairndb import cli
from foreign_files import dumb_shelf, run_sql

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
COMMANDS = ROOT / "docs" / "COMMANDS.md"


def python_blocks() -> list[str]:
    """The Python examples of the README, in order."""
    return re.findall(
        r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def run_example(text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a program in the current directory, and return what it prints."""
    program = Path("example.py")
    program.write_text(text, encoding="utf-8")
    runpy.run_path(str(program), run_name="example")
    return capsys.readouterr().out


def test_the_first_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first block runs as it stands, in an empty directory, then once more on what it left."""
    monkeypatch.chdir(tmp_path)
    first = run_example(python_blocks()[0], capsys)
    assert first == "100\n"
    assert run_example(python_blocks()[0], capsys) == first


def test_the_later_examples_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All blocks, one after the other, are a program too."""
    monkeypatch.chdir(tmp_path)
    assert run_example("\n".join(python_blocks()), capsys) == "100\n100\n"


OLD_BANK = """
import cairndb

class Account(cairndb.Record):
    balance: float = 0.0

class Bank(cairndb.Record):
    accounts: dict[str, Account] = {}

with cairndb.open("bank.cairn", Bank) as db, db.update() as bank:
    bank.accounts["alice"] = Account(2.5)
"""
NEW_BANK = """
import cairndb

class Account(cairndb.Record):
    cents: int = 0

class Bank(cairndb.Record):
    accounts: dict[str, Account] = {}
"""


def test_the_example_of_a_migration_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page about the life of a database shows one that brings old data to new types."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "LIFE.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    run_example(OLD_BANK, capsys)
    show = 'with db, db.view() as bank:\n    print(bank.accounts["alice"].cents)\n'
    assert run_example(NEW_BANK + block + show, capsys) == "250\n"


def test_the_example_of_indexes_and_constraints_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page about rules begins with a program."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "RULES.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert run_example(block + "db.close()\n", capsys) == "Ada 2\n['2026-11-25']\n"


WATCHED = """
import cairndb
from bank import Account, Bank

db = cairndb.open("bank.cairn", Bank)
with db.update() as bank:
    bank.accounts["alice"] = Account("Alice", 7)
seen = []
refresh = seen.append
"""


def test_the_examples_of_watching_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loop, which here ends when all has come, and the function that is called."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "WATCH.md").read_text(encoding="utf-8")
    (loop,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (call,) = re.findall(r"^    (subscription = .*\n)", page, re.MULTILINE)
    change = "with db.update() as bank:\n    bank.accounts['alice'].balance = 8\n"
    ended = loop.replace("initial=True", "initial=True, timeout=0")
    program = f"{WATCHED}{ended}{call}{change}db.close()\nprint(len(seen))\n"
    assert run_example(program, capsys) == "2 /accounts/alice/balance None 7\n1\n"


def command_examples() -> list[str]:
    """Every indented line of the page that is a command on a database, in order."""
    text = COMMANDS.read_text(encoding="utf-8")
    return re.findall(r"^    cairn (.* ?[a-z]+\.cairn.*)$", text, re.MULTILINE)


def test_every_command_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the page tells people to type works, on a bank and on notes."""
    monkeypatch.chdir(tmp_path)
    with filled(tmp_path / "bank.cairn") as db, db.update() as bank:
        bank.accounts["alice"] = Account("Alice", 7)
    cairndb.open("notes.cairn").close()
    run_sql(tmp_path / "shop.db", "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
    dumb_shelf(tmp_path / "sessions", {})
    examples = command_examples()
    assert len(examples) > 12
    for example in examples:
        if "--follow" in example:  # until it is interrupted: in test_cli_process.py
            continue
        monkeypatch.setattr("sys.stdin", io.StringIO())
        assert cli.run(shlex.split(example)) == 0, (example, capsys.readouterr().err)
