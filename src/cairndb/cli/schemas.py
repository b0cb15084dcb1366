"""`schema`: what is stored, how it differs from what an application declares, and migrating it."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import Raw
from typer import Option

import cairndb
from cairndb.cli import output, past, source
from cairndb.cli.reading import Database
from cairndb.cli.writing import RootOption, imported, root_of
from cairndb.conversion import convert
from cairndb.difference import Difference, differences
from cairndb.fold import Fold
from cairndb.history import folded
from cairndb.patch import Tree
from cairndb.recovery import read_chain
from cairndb.schema import compile_root
from cairndb.schema_change import Change, Evolution, change_from, difference_list

application = typer.Typer(
    help="The stored schema: show, compare, migrate.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
VersionOption = Annotated[int, Option("--version", min=1, help="The declared version.")]
DropOption = Annotated[
    list[str] | None, Option("--drop", metavar="CLASS.FIELD", help="A field that may go.")
]
JsonOption = Annotated[bool, Option("--json", help="As a JSON object.")]
_SHOWN = 10


@application.command()
def show(database: Database) -> None:
    """Print the schema of the last update, as JSON.

    Example: cairn schema show bank.cairn
    """
    with source.directory_of(database) as directory:
        output.write_json(json.loads(source.newest_header(directory).schema))


@application.command()
def diff(database: Database, *, root: RootOption = None, as_json: JsonOption = False) -> None:
    """Compare the stored schema with the one that a program declares.

    The exit code is 1 if something has to be done before it can be opened so.

    Example: cairn schema diff bank.cairn --root bank:Bank
    """
    kind = compile_root(root_of(database, root), guard=True)
    with source.directory_of(database) as directory:
        found = difference_list(source.newest_header(directory).schema, kind)
    if as_json:
        output.write_json([each._asdict() for each in found])
    else:
        for each in found:
            output.write(str(each))
    if refused := sum(bool(each.remedy) for each in found):
        raise output.Negative(f"{database}: {refused} of these need a migration or a drop")


@application.command()
def migrate(
    database: Database,
    *,
    root: RootOption = None,
    version: VersionOption = 1,
    migrations: Annotated[
        str | None,
        Option("--migrations", metavar="MODULE:NAME", help="The dict that open is given."),
    ] = None,
    drop: DropOption = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Do it in memory, and show what would change.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a database to the schema that a program declares, as opening it there would.

    Example: cairn schema migrate bank.cairn --root bank:Bank --dry-run
    """
    root_type = root_of(database, root)
    functions = imported("--migrations", migrations) if migrations is not None else {}
    evolution = Evolution(version, functions, drop or [])
    if not dry_run:
        before, after = _migrated(database, root_type, evolution)
        if as_json:
            output.write_json({"from": before, "lsn": after}, compact=True)
        else:
            what = f"migrated, as LSN {after}" if after > before else "nothing had to be done"
            output.write(f"{what}; LSN {before} can be gone back to")
        return
    first, changed = _tried(database, root_type, evolution)
    if as_json:
        output.write_json({"changed": changed, "first": [past.as_json(each) for each in first]})
        return
    for each in first:
        output.write(past.as_text(each))
    output.write(f"{changed:,} paths would change")


def _migrated(database: Path, root_type: Any, evolution: Evolution) -> tuple[int, int]:
    """Do it; the LSNs before and after."""
    with source.directory_of(database) as directory, closing(read_chain(directory)) as reading:
        before = reading.lsn
    with (
        output.progress("migrating") as progress,
        cairndb.open(
            database,
            root_type,
            create=False,
            version=evolution.version,
            migrations=evolution.migrations,
            drop=evolution.drop,
            progress=progress,
        ) as db,
    ):
        return before, db.lsn


def _tried(database: Path, root_type: Any, evolution: Evolution) -> tuple[list[Difference], int]:
    """Do it in memory; the first paths that would change, and how many there are in all."""
    kind = compile_root(root_type, guard=False)
    with source.directory_of(database) as directory, closing(read_chain(directory)) as reading:
        change = change_from(reading.schema, kind, evolution, str(database))
        if not change.rewrites:
            return [], 0
        with output.steps("trying", 2 * reading.total_bytes) as step:
            fold = folded(reading, directory.path, step).fold
            before = Raw(fold.encode())
            after = _converted(fold, change, step)
    first: list[Difference] = []
    changed = 0
    with output.progress("comparing") as progress:
        for changed, each in enumerate(differences(before, after), 1):
            if changed <= _SHOWN:
                first.append(each)
            progress(changed, 0)
    return first, changed


def _converted(fold: Fold, change: Change, step: Callable[[int], None]) -> Raw:
    """The bytes of the new state; the tree of it is given up."""
    tree = Tree(change.kind)
    convert(fold, change, tree, step)
    return Raw(change.kind.encode(tree.root))
