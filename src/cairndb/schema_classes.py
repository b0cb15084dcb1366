"""Classes made from the text of a schema, where the application's own aren't at hand.

They decode the bytes that the application's classes decode, and refuse what those refuse: enough to
judge a state that comes from outside. They have no methods and no defaults.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import re
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union

import msgspec

from cairndb.errors import SchemaError
from cairndb.kinds import DictKind
from cairndb.record import Record
from cairndb.schema import compile_root, describe
from cairndb.schema_text import LITERAL, UNION, VARIADIC, Fields, Members, Schema, Type
from cairndb.schema_text import parse_schema as parse

if TYPE_CHECKING:
    from cairndb.kinds import Kind

_NUMBER = re.compile(r"#\d+$")  # which `describe` gives the second class of a name
_FAILURES = (SchemaError, TypeError, KeyError, IndexError, AttributeError, RecursionError)
_SCALARS: Final[dict[str, Any]] = {
    "None": type(None),
    "Any": Any,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "datetime": dt.datetime,
    "date": dt.date,
    "time": dt.time,
    "timedelta": dt.timedelta,
    "UUID": uuid.UUID,
    "Decimal": decimal.Decimal,
}
_CONTAINERS: Final[dict[str, Any]] = {
    "dict": dict,
    "list": list,
    "set": set,
    "frozenset": frozenset,
}


def kind_of_text(text: str) -> Kind:
    """The kind of the root that a schema's text describes; its containers can be changed.

    Args:
        text: by `describe`.

    Raises:
        UnknownType: a type in it isn't described.
        ValueError: it isn't the text of a schema, or not one of which classes can be made.
    """
    schema = parse(text)
    # The root as a value of a dict: there its fields need no defaults.
    holder: Any = dict
    try:
        compiled = compile_root(holder[str, _Maker(schema).annotation(schema.root)], guard=False)
    except _FAILURES as error:
        raise ValueError(f"no classes can be made of this schema: {error}") from error
    assert isinstance(compiled, DictKind)
    if describe(compiled.value, schema.version) != text:
        raise ValueError("the classes that can be made of this schema are described otherwise")
    return compiled.value


class UnknownType(ValueError):  # noqa: N818  a state of the text
    """A schema names a type that neither it nor the library describes: the text is damaged."""


class _Maker:
    """One set of classes."""

    def __init__(self, schema: Schema) -> None:
        self.made: dict[str, Any] = {}
        for name, found in schema.types.items():
            own = _NUMBER.sub("", name)
            self.made[name] = (
                _enum(own, found) if isinstance(found, Members) else _struct(own, found)
            )
        # Not before all of them are there: they name each other.
        for name, found in schema.types.items():
            if isinstance(found, Fields):
                for place, kind in enumerate(found.fields.values()):
                    self.made[name].__annotations__[f"field_{place}"] = self.annotation(kind)

    def annotation(self, kind: Type) -> Any:
        """What a type is to msgspec."""
        plain = self._plain(kind)
        bounds: Any = dict(kind.bounds)
        return Annotated[plain, msgspec.Meta(**bounds)] if bounds else plain

    def _plain(self, kind: Type) -> Any:
        if kind.name in self.made:
            return self.made[kind.name]
        if kind.name == LITERAL:
            return Literal[kind.values]
        parts = tuple(self.annotation(part) for part in kind.parts)
        anything: Any = tuple
        if kind.name == UNION:
            return Union[parts]  # noqa: UP007  computed
        if kind.name == VARIADIC:
            return anything[parts[0], ...]
        if kind.name == "tuple":
            return anything[parts]
        known = _CONTAINERS if parts else _SCALARS
        if kind.name not in known:
            raise UnknownType(f"the schema names {kind.name!r:.100}, and doesn't say what that is")
        return known[kind.name][parts] if parts else known[kind.name]


def _enum(name: str, found: Members) -> Any:
    return enum.Enum(name, found.values)


def _struct(name: str, found: Fields) -> Any:
    stored = {f"field_{place}": field for place, field in enumerate(found.fields)}
    (tag_field, tag), *_ = [*found.tag.items(), (None, None)]
    return msgspec.defstruct(
        name,
        [(field, Any) for field in stored],
        bases=(Record,) if found.is_record else (),
        rename=stored,
        frozen=not found.is_record,
        tag_field=tag_field,
        tag=tag,
        forbid_unknown_fields=True,
    )
