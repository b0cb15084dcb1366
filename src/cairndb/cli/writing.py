"""`set`, `del` and `checkpoint`: what needs the database's lock.

A typed database is opened with its own root class, which judges what is written; that takes the
application's code, named by `--root module:Class`. One without declared types needs no `--root`.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from typer import Argument, Option

import cairndb
from cairndb.cli import maintenance, output, values
from cairndb.cli.reading import Database
from cairndb.errors import ValidationError
from cairndb.kinds import DictKind, Kind, ListKind, RecordKind, SetKind
from cairndb.schema import compile_root

Target = Annotated[str, Argument(metavar="PATH", help="Where: /accounts/alice/balance.")]
RootOption = Annotated[
    str | None,
    Option("--root", metavar="MODULE:CLASS", help="The root class of a typed database."),
]
JsonOption = Annotated[bool, Option("--json", help="Print the update's LSN as a JSON object.")]

_MISSING = object()
_LAST = "-"  # as in JSON Patch (RFC 6902): after the last


class Place(NamedTuple):
    """Where something is written: the node, how to get there, and what stands below it."""

    way: list[tuple[Kind, Any]]
    kind: Kind
    """Declared of what stands there."""
    exists: bool


def set_value(
    database: Database,
    path: Target,
    value: Annotated[str, Argument(metavar="VALUE", help="JSON; - reads it from standard input.")],
    *,
    root: RootOption = None,
    show: JsonOption = False,
) -> None:
    """Put a JSON value at PATH.

    PATH names a field, a key or a position; "-" as its last step appends to a list or set. Takes
    the database's lock.

    Example: cairn set bank.cairn /accounts/alice/balance 100 --root bank:Bank
    """
    try:
        given = values.from_json(json.loads(sys.stdin.read() if value == "-" else value))
    except (ValueError, RecursionError) as error:
        shown = f"{value:.100}" if value != "-" else "standard input"
        raise output.Misuse(
            f"{shown} isn't JSON: {error}. Text needs double quotes: '\"text\"'"
        ) from None
    with opened(database, root) as (db, kind):
        with db.view() as state:
            place = locate(kind, state, path)
        converted = _convert(given, place.kind, path)
        with db.update() as draft:
            put(reach(draft, place), *place.way[-1], converted)
        _done(db, show=show)


def delete(
    database: Database, path: Target, *, root: RootOption = None, show: JsonOption = False
) -> None:
    """Remove the key, position or set element at PATH.

    Takes the database's lock.

    Example: cairn del bank.cairn /accounts/alice --root bank:Bank
    """
    with opened(database, root) as (db, kind):
        with db.view() as state:
            place = locate(kind, state, path)
        owner, step = place.way[-1]
        if isinstance(owner, RecordKind):
            raise output.Misuse(f"{path} is a field, which can't be removed: set another value")
        if not place.exists:
            raise output.Negative(f"there is nothing at {path}")
        with db.update() as draft:
            node = reach(draft, place)
            if isinstance(owner, SetKind):
                node.remove(step)
            else:
                del node[step]
        _done(db, show=show)


def checkpoint(
    database: Database,
    *,
    show: Annotated[bool, Option("--json", help="Print its LSN as a JSON object.")] = False,
) -> None:
    """Write the state to a new checkpoint: opening gets quicker.

    What is older can go then. Needs no application, but the database's lock: a program that has it
    open makes its checkpoints itself.

    Example: cairn checkpoint bank.cairn
    """
    lsn = maintenance.make_checkpoint(database)
    if show:
        output.write_json({"lsn": lsn}, compact=True)
    else:
        output.write(f"checkpoint at LSN {lsn}")


def root_of(database: Path, name: str | None) -> Any:
    """The root type that `--root` names; without, that of an untyped database.

    Raises:
        Misuse: there is no such class, or the database is typed.
    """
    if name is None:
        if maintenance.is_typed(database):
            raise output.Misuse(
                f"{database} has declared types: name its root class, --root module:Class"
            )
        return dict[str, Any]
    return imported("--root", name)


def imported(option: str, name: str) -> Any:
    """What an option names in the application's code, `module:Name`.

    Args:
        option: for messages.
        name: as given.

    Raises:
        Misuse: there is no such thing.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise output.Misuse(f"{option} is module:Name, as bank:Bank, not {name!r}")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise output.Misuse(f"{option} {name}: {error}") from None
    except Exception as error:  # noqa: BLE001  whatever that module does
        raise output.Misuse(f"{option} {name}: {type(error).__name__}: {error}") from None
    return found


class opened:  # noqa: N801  a context manager, used as a function
    """The database open for changing, and the kind of its root."""

    def __init__(self, database: Path, root: str | None) -> None:
        self._type = root_of(database, root)
        self._path = database

    def __enter__(self) -> tuple[cairndb.Database[Any], Kind]:
        kind = compile_root(self._type, guard=True)
        with output.progress("opening") as progress:
            self._db = cairndb.open(self._path, self._type, create=False, progress=progress)
        return self._db, kind

    def __exit__(self, _type: object, error: object, _traceback: object) -> None:
        self._db.close()
        # A refusal names the database, as every error does.
        if isinstance(error, output.Negative):
            raise output.Negative(f"{self._path}: {error}") from None
        if isinstance(error, output.Misuse | ValidationError):
            raise output.Misuse(f"{self._path}: {error}") from None


def locate(kind: Kind, state: Any, path: str) -> Place:
    """Find the node that a path leads to, and the declared type of what it names there.

    Args:
        kind: of the root.
        state: the root, in a view.
        path: as given.

    Raises:
        Negative: something on the way isn't there.
        Misuse: the path is the root, or leads into a value.
    """
    steps = values.parse_path(path)
    if not steps:
        raise output.Misuse("the root itself can't be replaced: name a field or key, as /accounts")
    way: list[tuple[Kind, Any]] = []
    node: Any = state
    for depth, text in enumerate(steps):
        if node is _MISSING:
            shown = values.path_text(steps[:depth])
            raise output.Negative(f"there is nothing at {shown}: set it first")
        kind = kind.member(node)
        step, kind_below, node = _step(kind, node, text, values.path_text(steps[:depth]))
        way.append((kind, step))
        kind = kind_below
    return Place(way, kind, node is not _MISSING)


def _step(kind: Kind, node: Any, text: str, shown: str) -> tuple[Any, Kind, Any]:
    """One step down: the typed step, the kind below, what stands there or _MISSING."""
    match kind:
        case RecordKind():
            field = kind.by_encode_name.get(text)
            if field is None:
                names = ", ".join(kind.by_encode_name)
                raise output.Negative(f"{shown} has no field {text}; it has {names}")
            return field.name, field.kind, getattr(node, field.name)
        case DictKind():
            key = _key(kind.key, node, text)
            return key, kind.value, node.get(key, _MISSING)
        case ListKind():
            if text == _LAST:
                return len(node), kind.item, _MISSING
            try:
                position = values.find_step(node, text)
            except KeyError:
                raise output.Negative(
                    f"{shown} has no position {text}: {len(node)} in it"
                ) from None
            return position, kind.item, node[position]
        case SetKind():
            if text == _LAST:
                return None, kind.item, _MISSING
            element = _key(kind.item, {}, text)
            return element, kind.item, element if element in node else _MISSING
        case _:
            raise output.Misuse(f"{shown} is a value: replace it as a whole")


def _key(kind: Kind, node: Any, text: str) -> Any:
    """A dict's key or a set's element, as declared, from the text of a step."""
    if kind.annotation is Any:
        try:
            return values.find_step(node, text)
        except KeyError:
            return text
    for read in (str, json.loads):
        try:
            return kind.copy(msgspec.convert(read(text), kind.annotation, strict=False), 0)
        except (ValueError, ValidationError):
            continue
    raise output.Misuse(f"{text!r} is no {kind.name}, which is what the keys are")


def _convert(given: Any, kind: Kind, path: str) -> Any:
    """A JSON value as what is declared."""
    try:
        return msgspec.convert(given, kind.annotation, str_keys=True)
    except msgspec.ValidationError as error:
        raise output.Misuse(f"{path} is declared {kind.name}: {error}") from None


def reach(draft: Any, place: Place) -> Any:
    """The draft of the node that the last step starts from."""
    for owner, step in place.way[:-1]:
        draft = getattr(draft, step) if isinstance(owner, RecordKind) else draft[step]
    return draft


def put(node: Any, owner: Kind, step: Any, value: Any) -> None:
    """Put a value where the last step leads."""
    if isinstance(owner, RecordKind):
        setattr(node, step, value)
    elif isinstance(owner, SetKind):
        node.add(value)
    elif isinstance(owner, ListKind) and step == len(node):
        node.append(value)
    else:
        node[step] = value


def _done(db: cairndb.Database[Any], *, show: bool) -> None:
    if show:
        output.write_json({"lsn": db.lsn}, compact=True)
