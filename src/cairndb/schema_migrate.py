"""Migrations: an application's own functions, from the data of one version to that of the next.

They see plain data, as it is stored: records and dicts are dicts, lists, sets and tuples are lists,
and times, UUIDs, Decimals and Enums are what `codec` writes for them. So a migration needs none of
the classes as they once were, and stays right when they change again. What it leaves is judged by
the declared types, and nothing of it may get lost there: a key that no field takes is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from cairndb import codec
from cairndb.errors import SchemaError, ValidationError, pointer
from cairndb.schema_compare import families
from cairndb.schema_convert import family_of
from cairndb.schema_text import Fields, Schema, Type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cairndb.kinds import Kind

Function = Callable[[Any], Any]
Migration = Function | Mapping[str, Function]
"""Of the whole tree, or of every record of some types, by their stored names.

It changes what it is given, or returns what is to take its place.
"""


def steps(stored: int, declared: int, migrations: Mapping[int, Migration]) -> list[Migration]:
    """The migrations to run, in order.

    Args:
        stored: the version of the data.
        declared: that of the application.
        migrations: by the version that each starts from.

    Raises:
        SchemaError: one is missing, or the data is of a later version.
    """
    if stored > declared:
        raise SchemaError(
            f"the database is at version {stored}, and this program declares version {declared}: "
            "a later program has written it; use that one"
        )
    missing = [version for version in range(stored, declared) if version not in migrations]
    if missing:
        raise SchemaError(
            f"the database is at version {stored}, and version {declared} is declared: give open a "
            f"migration from version {missing[0]}, migrations={{{missing[0]}: function}}"
        )
    return [migrations[version] for version in range(stored, declared)]


def migrate(state: Raw, stored: Schema, migrations: list[Migration], kind: Kind) -> bytes:
    """Run migrations on a whole state.

    Args:
        state: its bytes.
        stored: what they were written with.
        migrations: to run, in order.
        kind: of the declared root.

    Returns:
        The canonical bytes of the new state.

    Raises:
        SchemaError: what comes out isn't what is declared; with the path.
        Exception: whatever a migration raises.
    """
    whole = False
    for migration in migrations:
        if callable(migration):
            state, whole = Raw(codec.encode(_result(migration, codec.decode(state)))), True
        elif whole:
            raise SchemaError(
                f"a migration of single types ({', '.join(migration)}) comes after one of the "
                "whole tree, which may have moved them: write it for the whole tree too"
            )
        else:
            state = Raw(_Records(stored, migration).visit(stored.root, state))
    try:
        canonical = kind.encode(kind.decode(state))
    except ValidationError as error:
        raise SchemaError(f"what the migrations leave isn't what is declared: {error}") from error
    for path in _lost(codec.decode(state), codec.decode(canonical), ()):
        raise SchemaError(
            f"the migrations leave {pointer(path)}, and no field takes it: delete it there, or "
            "declare it"
        )
    return canonical


def _result(function: Function, data: Any) -> Any:
    result = function(data)
    return data if result is None else result


def _lost(given: Any, taken: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The paths of keys that are in the one and not in the other."""
    if isinstance(given, dict) and isinstance(taken, dict):
        for key, value in given.items():
            if key in taken:
                yield from _lost(value, taken[key], (*path, key))
            else:
                yield (*path, key)
    elif isinstance(given, list) and isinstance(taken, list):
        for position, pair in enumerate(zip(given, taken, strict=False)):
            yield from _lost(*pair, (*path, position))


class _Records:
    """One migration of single types: opens what may hold them, and nothing else.

    Args:
        stored: where records are, and of which type.
        functions: by the stored name of the type.
    """

    def __init__(self, stored: Schema, functions: Mapping[str, Function]) -> None:
        unknown = [name for name in functions if name not in stored.types]
        if unknown:
            known = ", ".join(stored.types) or "none"
            raise SchemaError(
                f"a migration is for {unknown[0]!r}, and no such type is stored; there are: {known}"
            )
        self._types = stored.types
        self._schema = stored
        self._functions = functions
        self._holding = self._holders()

    def _holders(self) -> set[str]:
        """The classes that records to be migrated are, or are in."""
        holding = set(self._functions)
        grown = True
        while grown:
            more = {
                name
                for name, found in self._types.items()
                if isinstance(found, Fields)
                and any(self._holds(part, holding) for part in found.fields.values())
            }
            grown = not more <= holding
            holding |= more
        return holding

    def _holds(self, each: Type, holding: set[str]) -> bool:
        return each.name in holding or any(self._holds(part, holding) for part in each.parts)

    def visit(self, each: Type, data: Raw) -> Raw | bytes:
        """The bytes of a value of a type, with its records migrated, inner ones first."""
        if not self._holds(each, self._holding):
            return data
        members = families(each, self._schema)
        if len(members) > 1:
            member = members.get(family_of(data, members))
            return self.visit(member, data) if member is not None else data
        found = self._types.get(each.name)
        if isinstance(found, Fields):
            return self._visit_record(each.name, found, data)
        if each.name == "dict":
            value = each.parts[1]
            return codec.encode(
                {key: Raw(self.visit(value, item)) for key, item in codec.open_map(data).items()}
            )
        items = codec.open_list(data)
        types = each.parts if each.name == "tuple" else each.parts * len(items)
        return codec.encode(
            [Raw(self.visit(part, item)) for part, item in zip(types, items, strict=True)]
        )

    def _visit_record(self, name: str, found: Fields, data: Raw) -> bytes:
        fields = codec.open_map(data)
        for field, part in found.fields.items():
            fields[field] = Raw(self.visit(part, fields[field]))
        encoded = codec.encode(fields)
        function = self._functions.get(name)
        return codec.encode(_result(function, codec.decode(encoded))) if function else encoded
