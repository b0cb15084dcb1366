"""What open does about a stored schema that isn't the declared one.

Nothing, where every stored value reads as it was. Where fields are in another order, new ones have
defaults, or dropping is asked for, the state is converted. Where the versions differ, the
migrations between them are run. Everything else is refused, with each difference and what to write.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from cairndb.errors import CorruptError, SchemaError
from cairndb.schema import describe, field_defaults
from cairndb.schema_compare import Comparison, Difference, compare
from cairndb.schema_convert import KEEP
from cairndb.schema_migrate import Migration, Step, steps
from cairndb.schema_text import Schema, parse_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cairndb.kinds import Kind
    from cairndb.schema_convert import Plan


class Evolution(NamedTuple):
    """What an application says of older data; the arguments of `open`."""

    version: int = 1
    migrations: Mapping[int, Migration] = {}
    drop: Collection[str] = ()


SAME = Evolution()
"""There is no older data, or it needs nothing."""


class Change(NamedTuple):
    """How a stored state becomes one of the declared schema."""

    kind: Kind
    stored: Schema
    differences: list[Difference]
    steps: list[Step]
    """The migrations to run."""
    plan: Plan
    """How what is stored becomes what is declared, if there are none."""
    version: int
    drop: Collection[str]

    @property
    def rewrites(self) -> bool:
        """Whether the state's bytes change: else the log goes on as it is."""
        return bool(self.steps) or self.plan.changes


def change_from(text: str, kind: Kind, evolution: Evolution, path: str) -> Change:
    """How to come from what is stored to what is declared.

    Args:
        text: the stored schema.
        kind: of the declared root.
        evolution: what the application says of older data.
        path: of the database, for messages.

    Raises:
        SchemaError: something has to be settled first; with every difference and what to write.
    """
    declared_text = describe(kind, evolution.version)
    try:
        stored = parse_schema(text)
    except ValueError as error:
        raise CorruptError(
            path, 0, f"the stored schema can't be read: {str(error)[:1000]}"
        ) from error
    try:
        found = steps(stored, evolution.version, evolution.migrations)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None
    if text == declared_text:
        return Change(kind, stored, [], [], KEEP, stored.version, ())
    comparison = _compared(stored, kind, declared_text, evolution.drop)
    if comparison.refused and not found:
        lines = "\n".join(f"  {difference}" for difference in comparison.refused)
        gone = [each.drop for each in comparison.refused if each.drop]
        together = f"All that is gone: drop={json.dumps(gone)}. " if len(gone) > 1 else ""
        raise SchemaError(
            f"{path} was written with another schema than the one given to open, and not all of it "
            f"can be read as what it was:\n{lines}\n"
            f"{together}A migration is a function on plain data: "
            f"open(..., version={stored.version + 1}, migrations={{{stored.version}: function}}). "
            "Nothing was changed."
        )
    return Change(
        kind,
        stored,
        comparison.differences,
        found,
        comparison.plan,
        evolution.version,
        evolution.drop,
    )


def difference_list(text: str, kind: Kind) -> list[Difference]:
    """All that isn't as it was.

    Args:
        text: the stored schema.
        kind: of the declared root.
    """
    return _compared(parse_schema(text), kind, describe(kind), ()).differences


def _compared(stored: Schema, kind: Kind, text: str, drop: Collection[str]) -> Comparison:
    return compare(stored, parse_schema(text), defaults=field_defaults(kind), drop=drop)
