"""Schemas that evolve, and plain data that follows them: a model that knows nothing of the library.

A `Program` is what an application declares at a time: classes, made from descriptions, and what it
says of the data of those before it. Each differs from the one before it by one change, which says
what becomes of the data and what it needs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from msgspec import Meta, defstruct

from cairndb.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

REQUIRED = object()


@dataclass(frozen=True)
class Type:
    """A type: a word, and what it is made of.

    `int` (given: its bounds, or None), `str`, `none`, `Any`; `literal` (its values), `enum` and
    `class` (the name); `dict`, `list`, `set`, `tuple` (of any length), `frozenset`; `|`.
    """

    word: str
    parts: tuple[Type, ...] = ()
    given: Any = None


INT, STR, NONE, ANY = Type("int"), Type("str"), Type("none"), Type("Any")
ITEMS = {"dict", "list", "set", "tuple", "frozenset"}
FROZEN = {"list": "tuple", "set": "frozenset", "tuple": "list", "frozenset": "set"}


@dataclass(frozen=True)
class Class:
    """A record: the types of its fields, the defaults of those that have one, its past names."""

    fields: dict[str, Type]
    defaults: dict[str, Any] = field(default_factory=dict)
    is_tagged: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schema:
    """Classes by their names, `Root` among them, and the values of Enums."""

    classes: dict[str, Class]
    enums: dict[str, tuple[str, ...]]

    def put(self, name: str, changed: Class) -> Schema:
        """The same with another class of a name."""
        return replace(self, classes=self.classes | {name: changed})

    def reached(self) -> list[str]:
        """The names of the classes that the root leads to; inner ones first."""
        found: list[str] = []

        def visit(each: Type) -> None:
            if each.word == "class" and each.given not in found:
                for part in self.classes[each.given].fields.values():
                    visit(part)
                found.append(each.given)
            for part in each.parts:
                visit(part)

        visit(Type("class", given="Root"))
        return found


class Maker:
    """The classes of a schema as an application would have declared them."""

    def __init__(self, schema: Schema) -> None:
        self.enums: dict[str, Any] = {
            name: enum.Enum(name, {value.upper(): value for value in values})
            for name, values in schema.enums.items()
        }
        self.classes: dict[str, Any] = {}
        for name in schema.reached():
            self.classes[name] = self._class(name, schema.classes[name])

    def _class(self, name: str, described: Class) -> Any:
        fields: list[Any] = []
        for key, each in described.fields.items():
            default = described.defaults.get(key, REQUIRED)
            if each.word == "enum" and default is not REQUIRED:
                default = self.enums[each.given](default)
            if each.word in FROZEN and default is not REQUIRED:
                default = {"list": list, "set": set, "tuple": tuple, "frozenset": frozenset}[
                    each.word
                ]()
            fields.append(
                (key, self.annotation(each), *(() if default is REQUIRED else (default,)))
            )
        tag = True if described.is_tagged else None
        return defstruct(name, fields, bases=(Record,), tag=tag, kw_only=True)

    def annotation(self, each: Type) -> Any:  # noqa: PLR0911  one for each word
        """What a type is in Python."""
        parts = [self.annotation(part) for part in each.parts]
        if each.word == "int":
            bounds: Any = each.given
            return int if bounds is None else Annotated[int, Meta(ge=bounds[0], le=bounds[1])]
        if each.word == "class":
            return self.classes[each.given]
        if each.word == "literal":
            return Literal[each.given]
        if each.word == "dict":
            return dict[str, parts[0]]  # type: ignore[valid-type]
        if each.word == "|":
            return Union[tuple(parts)]  # noqa: UP007  computed
        if each.word == "tuple":
            return tuple[parts[0], ...]  # type: ignore[valid-type]
        builtins: dict[str, Any] = {"list": list, "set": set, "frozenset": frozenset}
        if each.word in builtins:
            return builtins[each.word][parts[0]]
        plain: dict[str, Any] = {"str": str, "none": None, "Any": Any}
        return self.enums[each.given] if each.word == "enum" else plain[each.word]


def value(random: Random, schema: Schema, each: Type) -> Any:  # noqa: PLR0911  as above
    """Some plain data of a type."""
    if each.word == "int":
        return random.randint(*(each.given or (-50, 50)))
    if each.word == "str":
        return random.choice("abcxyz")
    if each.word == "none":
        return None
    if each.word == "Any":
        return random.choice([None, 3, "s", [1, "a"], {"k": [2]}])
    if each.word in {"literal", "enum"}:
        return random.choice(each.given if each.word == "literal" else schema.enums[each.given])
    if each.word == "|":
        return value(random, schema, random.choice(each.parts))
    if each.word == "class":
        described = schema.classes[each.given]
        tag = {"type": each.given} if described.is_tagged else {}
        fields = described.fields.items()
        return tag | {key: value(random, schema, part) for key, part in fields}
    count = random.randint(0, 3)
    if each.word in {"set", "frozenset"}:
        return sorted({random.randint(0, 99) for _ in range(count)})  # as their bytes are
    items = [value(random, schema, each.parts[0]) for _ in range(count)]
    return {random.choice("pqrstu"): item for item in items} if each.word == "dict" else items


def normal(schema: Schema, each: Type, data: Any) -> Any:
    """Data with the fields of its records in their order, as they are written."""
    if each.word == "class":
        described = schema.classes[each.given]
        tag = {"type": each.given} if described.is_tagged else {}
        assert data.keys() == tag.keys() | described.fields.keys()
        fields = described.fields.items()
        return tag | {key: normal(schema, part, data[key]) for key, part in fields}
    if each.word == "|":
        return normal(schema, member(schema, each, data), data)
    if each.word == "dict":
        return {key: normal(schema, each.parts[0], item) for key, item in data.items()}
    if each.word in ITEMS:
        return [normal(schema, each.parts[0], item) for item in data]
    return data


def member(schema: Schema, each: Type, data: Any) -> Type:
    """Which member of a union a value is; if none of them has parts, any."""
    for part in each.parts:
        if part.word == "class" and isinstance(data, dict):
            if not schema.classes[part.given].is_tagged or data.get("type") == part.given:
                return part
        elif part.word in ITEMS and isinstance(data, dict if part.word == "dict" else list):
            return part
    return INT


def records(schema: Schema, each: Type, data: Any, name: str) -> Iterator[dict[str, Any]]:
    """The records of a class in some data, which may lack fields of later; inner ones first."""
    if each.word == "class":
        for key, part in schema.classes[each.given].fields.items():
            if key in data:
                yield from records(schema, part, data[key], name)
        if each.given == name:
            yield data
    elif each.word == "|":
        part = member(schema, each, data)
        if part is not INT:
            yield from records(schema, part, data, name)
    elif each.word in ITEMS:
        for item in data.values() if each.word == "dict" else data:
            yield from records(schema, each.parts[0], item, name)


@dataclass(frozen=True, eq=False)
class Program:
    """What an application declares, and how it came from the one before it.

    `needs` is "nothing", "rewriting", "drop" or "migration". `change` is made to each record of the
    class `changed` of the schema before. A migration `is_whole`, or one of that class.
    """

    schema: Schema
    version: int = 1
    previous: Program | None = None
    needs: str = "nothing"
    what: str = ""
    changed: str = ""
    change: Callable[[dict[str, Any]], None] | None = None
    is_whole: bool = False

    def since(self, older: Program) -> list[Program]:
        """The programs after an older one up to this, in order."""
        if self is older:
            return []
        assert self.previous is not None
        return [*self.previous.since(older), self]

    def comes_from(self, older: Program) -> bool:
        """Whether an older program is among those before it, or itself."""
        return self is older or (self.previous is not None and self.previous.comes_from(older))

    def follow(self, data: dict[str, Any]) -> dict[str, Any]:
        """What becomes of the data of the program before."""
        if self.change is not None:
            assert self.previous is not None
            found = records(self.previous.schema, ROOT, data, self.changed)
            for each in list(found):
                self.change(each)
        return data

    def drops(self) -> list[str]:
        """All fields that have been dropped until now, under all names of their classes."""
        if self.previous is None:
            return []
        own: list[str] = []
        if self.needs == "drop":
            names = self.previous.schema.classes[self.changed].names
            own = [f"{name}.{self.what}" for name in (self.changed, *names)]
        return self.previous.drops() + own

    def migrations(self) -> dict[int, Any]:
        """All migrations that there have been."""
        if self.previous is None:
            return {}
        own = {}
        if self.needs == "migration":
            own = {
                self.previous.version: self.follow if self.is_whole else {self.changed: self.change}
            }
        return self.previous.migrations() | own


ROOT = Type("class", given="Root")
