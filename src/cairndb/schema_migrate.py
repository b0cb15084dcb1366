"""Migrations: an application's own functions, from the data of one version to that of the next.

They see plain data, as it is stored: records and dicts are dicts, lists, sets and tuples are lists,
and times, UUIDs, Decimals and Enums are what `codec` writes for them. So a migration needs none of
the classes as they once were, and stays right when they change again. What it leaves is judged by
the declared types, and nothing of it may get lost there: a key that no field takes is an error, if
it isn't one that may go.

A migration of single types finds records by the schema that is stored. What an earlier one has put
elsewhere it doesn't find: where the place is empty it says so, and what it leaves out the declared
types refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from cairndb import codec
from cairndb.errors import SchemaError
from cairndb.kinds import DictKind, FieldsKind, UnionKind
from cairndb.schema_compare import families
from cairndb.schema_convert import KEEP, ChoicePlan, ItemsPlan, MigrationPlan, ValuesPlan, settle
from cairndb.schema_text import Fields, Schema, Type

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from msgspec import Raw

    from cairndb.kinds import Kind
    from cairndb.schema_convert import Plan

Function = Callable[[Any], Any]
Migration = Function | Mapping[str, Function]
"""Of the whole tree, or of every record of some types, by their stored names.

It changes what it is given, or returns what is to take its place.
"""


class Step(NamedTuple):
    """A migration that is to be run."""

    version: int
    """That it starts from."""
    function: Function | None
    """Of the whole tree; None if it is one of single types."""
    plan: Plan = KEEP
    """Of single types."""


def steps(stored: Schema, declared: int, migrations: Mapping[int, Migration]) -> list[Step]:
    """The migrations to run, in order.

    Args:
        stored: the schema of the data.
        declared: the version of the application.
        migrations: by the version that each starts from.

    Raises:
        SchemaError: one is missing, or can't be run, or the data is of a later version.
    """
    first = stored.version
    if first > declared:
        raise SchemaError(
            f"the database is at version {first}, and this program declares version {declared}: "
            "a later program has written it; use that one, or go back with 'cairn rewind'"
        )
    missing = [version for version in range(first, declared) if version not in migrations]
    if missing:
        needed = ", ".join(f"{version}: function" for version in missing)
        raise SchemaError(
            f"the database is at version {first}, and version {declared} is declared: give open a "
            f"migration from version {' and from '.join(map(str, missing))}: "
            f"migrations={{{needed}}}"
        )
    found: list[Step] = []
    for version in range(first, declared):
        migration = migrations[version]
        if isinstance(migration, Mapping):
            _check_functions(stored, version, migration)
            if whole := [step.version for step in found if step.function is not None]:
                raise SchemaError(
                    f"the migration from version {version} is of single types "
                    f"({', '.join(migration)}), and that from version {whole[0]}, of the whole "
                    "tree, may have moved them: write it for the whole tree too"
                )
            found.append(Step(version, None, _planned(stored, migration)))
        elif callable(migration):
            found.append(Step(version, migration))
        else:
            raise SchemaError(
                f"the migration from version {version} is {migration!r:.100}: give a function, or "
                'functions by type, as {"Account": function}'
            )
    return found


def _check_functions(stored: Schema, version: int, functions: Mapping[str, Function]) -> None:
    for name, function in functions.items():
        where = f"the migration from version {version} is for {name!r:.100}"
        known = [each for each, found in stored.types.items() if isinstance(found, Fields)]
        if name not in known:
            hint = (
                f". The data is of version {stored.version}: for a type that came later, write it "
                "for the whole tree"
                if version > stored.version
                else ""
            )
            kind = "no record or frozen class" if name in stored.types else "no such type"
            raise SchemaError(
                f"{where}, and {kind} is stored by that name; there are: "
                f"{', '.join(known) or 'none'}{hint}"
            )
        if not callable(function):
            raise SchemaError(f"{where} with {function!r:.100}, which isn't a function")


def lost(
    kind: Kind, given: Raw, taken: Raw, drop: Collection[str], path: tuple[Any, ...] = ()
) -> Iterator[tuple[Any, ...]]:
    """The paths of what the declared types don't take, and that may not go.

    Args:
        kind: what is declared.
        given: what a migration has left.
        taken: the same as the declared types have read it.
        drop: fields that may go.
        path: where that is.
    """
    if given == taken or not (codec.is_map(given) or codec.is_array(given)):
        return
    if isinstance(kind, UnionKind):
        for member in kind.candidates(given):
            yield from lost(member, given, taken, drop, path)
        return
    others = codec.open_map(taken) if codec.is_map(taken) else _numbered(taken)
    if isinstance(kind, FieldsKind):
        for name in codec.open_map(given):
            known = name in kind.by_encode_name or name in kind.tag
            if not known and f"{kind.name}.{name}" not in drop:
                yield (*path, name)
    elif isinstance(kind, DictKind) and len(others) < codec.header_count(given):
        yield next((*path, key) for key in codec.open_map(given) if key not in others)
    for step, part, data in kind.parts(given):
        if step in others:
            yield from lost(part, data, others[step], drop, (*path, step))


def _numbered(data: Raw) -> dict[Any, Raw]:
    return dict(enumerate(codec.open_list(data)))


def _planned(stored: Schema, functions: Mapping[str, Function]) -> Plan:
    """The plan that has these functions called, and opens what may hold such records only."""
    planner = _Planner(stored, functions)
    plan = planner.visit(stored.root)
    own = {id(each) for each in planner.made.values() if each.function is not None}
    settle(plan, own)
    return plan


class _Planner:
    """One walk of a stored schema, each class once."""

    def __init__(self, stored: Schema, functions: Mapping[str, Function]) -> None:
        self._schema = stored
        self._functions = functions
        self.made: dict[str, MigrationPlan] = {}

    def visit(self, each: Type) -> Plan:
        """The plan of a type."""
        members = families(each, self._schema)
        if len(members) > 1:
            return ChoicePlan({family: self.visit(part) for family, part in members.items()})
        found = self._schema.types.get(each.name)
        if isinstance(found, Fields):
            return self._visit_class(each.name, found)
        if each.name == "dict":
            return ValuesPlan(self.visit(each.parts[1]))
        if each.name == "tuple":
            return ItemsPlan([self.visit(part) for part in each.parts], fixed=True)
        return ItemsPlan([self.visit(each.parts[0])], fixed=False) if each.parts else KEEP

    def _visit_class(self, name: str, found: Fields) -> Plan:
        if name not in self.made:
            plan = self.made[name] = MigrationPlan(self._functions.get(name))
            plan.steps.update((field, self.visit(part)) for field, part in found.fields.items())
        return self.made[name]
