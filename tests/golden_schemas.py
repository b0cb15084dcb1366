"""Databases written once with each of five schemas, one after the other, and what they hold.

They are in `golden/schemas-1`, each a ZIP of a directory (so that the room that segments have ahead
takes none), with the states that were current at each LSN. Every later version must read them. They
are never written again, but added to; into an empty place:

    PYTHONPATH=src:tests python -c 'import golden_schemas; golden_schemas.write("place")'
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import defstruct

import cairndb
from cairndb import codec
from cairndb.files import RealDirectory
from cairndb.rewinding import rewind

if TYPE_CHECKING:
    from collections.abc import Mapping

GOLDEN = Path(__file__).parent / "golden" / "schemas-1"
STATES = "states.json"


def _record(name: str, *fields: Any) -> Any:
    """A class of that name, whatever else has it: programs change, and keep the names."""
    return defstruct(name, fields, bases=(cairndb.Record,))


def _bank(account: Any, field: str = "accounts") -> Any:
    return _record("Bank", (field, dict[str, account], {}))


_OWNER, _OPEN = ("owner", str), ("open", bool, True)
_TAGS: Any = ("tags", list[str], [])
_MAYBE = ("balance", int | None, 0)
ACCOUNTS = [
    _record("Account", _OWNER, ("balance", int, 0), _TAGS),
    _record("Account", _OWNER, _OPEN, _MAYBE, _TAGS),
    _record("Account", _OWNER, _OPEN, _MAYBE),
    _record("Account", _OWNER, ("cents", int), _OPEN),
    _record("Account", ("cents", int), _OPEN),
]


def to_cents(account: dict[str, Any]) -> None:
    """Version 1 to 2: of each account."""
    account["cents"] = (account.pop("balance") or 0) * 100


def by_owner(bank: dict[str, Any]) -> dict[str, Any]:
    """Version 2 to 3: of the whole tree."""
    return {"owners": {each.pop("owner"): each for each in bank["accounts"].values()}}


class Program(NamedTuple):
    """What an application gives to `open`."""

    root: Any
    version: int = 1
    migrations: Mapping[int, Any] = {}
    drop: list[str] = []

    def open(self, path: Path, **options: Any) -> cairndb.Database[Any]:
        """The database as this program opens it."""
        return cairndb.open(
            path,
            self.root,
            version=self.version,
            migrations=self.migrations,
            drop=self.drop,
            restart_target=None,
            **options,
        )


DROP = ["Account.tags"]
MIGRATIONS: dict[int, Any] = {1: {"Account": to_cents}, 2: by_owner}
PROGRAMS = [
    Program(_bank(ACCOUNTS[0])),
    Program(_bank(ACCOUNTS[1])),
    Program(_bank(ACCOUNTS[2]), drop=DROP),
    Program(_bank(ACCOUNTS[3]), 2, MIGRATIONS, DROP),
    Program(_bank(ACCOUNTS[4], "owners"), 3, MIGRATIONS, DROP),
]


def shown(program: Program, path: Path, **options: Any) -> Any:
    """The state as plain data."""
    with program.open(path, **options) as db, db.view() as root:
        return codec.decode(codec.encode(cairndb.plain(root)))


def write(place: str) -> None:
    """Make them all."""
    to = Path(place)
    to.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        path, states = Path(temporary) / "x.cairn", dict[str, Any]()
        for number, program in enumerate(PROGRAMS, 1):
            _work(path, program, states)
            _keep(path, states, to / f"version-{number}.zip")
            if number == 4:
                with program.open(path) as db:
                    db.backup(Path(temporary) / "copy")
                _keep(Path(temporary) / "copy", states, to / "backup.zip")
        directory = RealDirectory(str(path))
        rewind(directory, 3, lambda _: None)
        directory.close()
        _work(path, PROGRAMS[0], states)
        _keep(path, states, to / "rewound.zip")


def _work(path: Path, program: Program, states: dict[str, Any]) -> None:
    """What each program does, and what was current at each LSN."""
    number = PROGRAMS.index(program)
    account = ACCOUNTS[number]
    with program.open(path, create=True) as db:
        for name in ("", "a", "b"):
            if name:
                with db.update() as root:
                    if number == 4:
                        root.owners[name] = account(cents=db.lsn)
                    else:
                        needed = {"cents": db.lsn} if number == 3 else {}
                        root.accounts[f"{name}{db.lsn}"] = account(owner=f"Owner {name}", **needed)
            with db.view() as root:
                plain = codec.decode(codec.encode(cairndb.plain(root)))
            states[str(db.lsn)] = [number, plain]
            if name == "a":
                db.checkpoint()


def _keep(path: Path, states: dict[str, Any], archive: Path) -> None:
    with zipfile.ZipFile(archive, "x", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        packed.writestr(STATES, json.dumps(states))
        for file in sorted(path.iterdir()):
            if file.name != "LOCK":
                packed.write(file, f"x.cairn/{file.name}")


def unpacked(name: str, place: Path) -> tuple[Path, dict[int, tuple[int, Any]]]:
    """A golden database in a place, and by LSN which program wrote what was current then."""
    with zipfile.ZipFile(GOLDEN / f"{name}.zip") as packed:
        packed.extractall(place)
    states = json.loads((place / STATES).read_text(encoding="utf-8"))
    return place / "x.cairn", {int(lsn): (number, data) for lsn, (number, data) in states.items()}
