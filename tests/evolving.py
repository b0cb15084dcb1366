"""The changes that a `schema_model.Program` can go through, each with what it needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from schema_model import (
    ANY,
    FROZEN,
    INT,
    NONE,
    REQUIRED,
    STR,
    Class,
    Program,
    Schema,
    Type,
    member,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

Place = tuple[str, str, Type]
"""A class, one of its fields, and that one's type."""


def first(random: Random) -> Program:
    """A schema of three classes in each other, and some plain fields."""
    enums: dict[str, tuple[str, ...]] = {"Colour": ("red", "green")}
    plain = [INT, STR, Type("int", given=(0, 20)), Type("literal", given=("a", "b"))]
    plain += [Type("enum", given="Colour"), Type("|", (INT, NONE)), ANY]
    plain += [Type(word, (INT,)) for word in ("list", "set", "tuple", "dict")]
    leaf = Class({"size": INT, "more": random.choice(plain)})
    held = random.choice(
        [Type("class", given="Leaf"), Type("|", (Type("class", given="Leaf"), NONE))]
    )
    branch = Class({"leaves": Type("dict", (held,)), "one": random.choice(plain)})
    fields = {
        "branches": Type("dict", (Type("class", given="Branch"),)),
        "list": Type("list", (Type("class", given="Leaf"),)),
        "count": INT,
        "numbers": Type(random.choice(["list", "set"]), (INT,)),
        "other": random.choice(plain),
    }
    classes = {"Leaf": leaf, "Branch": branch, "Root": Class(fields)}
    schema = Schema(classes, enums)
    defaults = {key: default(schema, each) for key, each in fields.items()}
    return Program(schema.put("Root", replace(classes["Root"], defaults=defaults)))


def default(schema: Schema, each: Type) -> Any:
    """Some constant of a type, and the least value of it."""
    if each.word == "|":
        return default(schema, each.parts[-1])
    if each.word == "enum":
        return schema.enums[each.given][0]
    if each.word == "literal":
        return each.given[0]
    if each.word == "int":
        return 0 if each.given is None else each.given[0]
    found: dict[str, Any] = {"str": "", "none": None, "Any": None, "dict": {}}
    return found.get(each.word, [])


def places(program: Program) -> list[Place]:
    """All fields that the root leads to."""
    schema = program.schema
    return [
        (name, key, each)
        for name in schema.reached()
        for key, each in schema.classes[name].fields.items()
    ]


def with_type(program: Program, place: Place, changed: Type, *, wider: bool = False) -> Schema:
    """The schema with another type of a field, whose default stays if that one takes more."""
    name, key, _ = place
    schema = program.schema
    found = schema.classes[name]
    defaults = dict(found.defaults)
    if key in defaults and not wider:
        defaults[key] = default(schema, changed)
    fields = found.fields | {key: changed}
    return schema.put(name, replace(found, fields=fields, defaults=defaults))


def add(random: Random, program: Program, fresh: str) -> Program:
    """A new field, with a default or, in an inner class, without one."""
    schema = program.schema
    name = random.choice(schema.reached())
    each = random.choice([INT, STR, Type("enum", given="Colour"), Type("list", (INT,))])
    found = schema.classes[name]
    needed = name != "Root" and random.random() < 0.4
    given = value(random, schema, each) if needed else default(schema, each)
    defaults = found.defaults if needed else found.defaults | {fresh: given}
    items = list(found.fields.items())
    items.insert(random.randint(0, len(items)), (fresh, each))
    changed = schema.put(name, replace(found, fields=dict(items), defaults=defaults))

    def fill(record: dict[str, Any]) -> None:
        record[fresh] = list(given) if isinstance(given, list) else given

    needs = "migration" if needed else "rewriting"
    return step(random, program, changed, needs, at=(name, fresh), change=fill)


def step(
    random: Random,
    program: Program,
    schema: Schema,
    needs: str,
    *,
    at: tuple[str, str],
    change: Callable[[dict[str, Any]], None],
) -> Program:
    """A next program that changes the records of a class, for the sake of a field."""
    version = program.version + (needs == "migration")
    is_whole = random.random() < 0.4
    return Program(schema, version, program, needs, at[1], at[0], change, is_whole)


def nothing(program: Program, schema: Schema, what: str) -> Program:
    """A next program whose data is as it was."""
    return Program(schema, program.version, program, what=what)


def widen(random: Random, program: Program, _: str) -> Program | None:
    """A type that takes more, or another that writes the same."""
    place = random.choice(
        [each for each in places(program) if each[2].word not in {"class", "Any"}]
    )
    each = place[2]
    choices: list[Type] = []
    needs = "nothing"
    if each.word in FROZEN and each.parts[0].word == "int":
        choices = [Type(FROZEN[each.word], each.parts)]
        needs = "rewriting" if each.word in {"list", "set"} else needs
    elif each.word == "int" and each.given is not None:
        low, high = each.given
        choices = [INT, Type("int", given=(low - 5, high)), Type("int", given=(low, high + 5))]
    elif each.word == "literal":
        choices = [STR, Type("literal", given=(*each.given, f"c{len(each.given)}"))]
    elif each in {INT, STR}:
        choices = [Type("|", (each, NONE))]
    elif each.word == "|" and not any(part.word == "class" for part in each.parts):
        choices = [ANY]
    if not choices:
        return None
    schema = with_type(program, place, random.choice(choices), wider=True)
    return Program(schema, program.version, program, needs, place[1])


def add_member(random: Random, program: Program, fresh: str) -> Program:
    """One more value of an Enum."""
    del random
    schema = program.schema
    values = (*schema.enums["Colour"], fresh)
    return nothing(program, replace(schema, enums={"Colour": values}), "a member")


def reorder(random: Random, program: Program, _: str) -> Program | None:
    """Another order of fields."""
    schema = program.schema
    name = random.choice(schema.reached())
    found = schema.classes[name]
    items = list(found.fields.items())
    random.shuffle(items)
    if list(found.fields) == [key for key, _ in items]:
        return None
    changed = schema.put(name, replace(found, fields=dict(items)))
    return Program(changed, program.version, program, "rewriting", "order")


def renamed(each: Type, old: str, new: str) -> Type:
    """A type with another name of a class."""
    if each == Type("class", given=old):
        return Type("class", given=new)
    return replace(each, parts=tuple(renamed(part, old, new) for part in each.parts))


def rename(random: Random, program: Program, fresh: str) -> Program | None:
    """Another name of a class that isn't told by it."""
    schema = program.schema
    inner = [n for n in schema.reached() if n != "Root" and not schema.classes[n].is_tagged]
    if not inner:
        return None
    old, new = random.choice(inner), fresh.capitalize()
    classes = {}
    for name, found in schema.classes.items():
        fields = {key: renamed(each, old, new) for key, each in found.fields.items()}
        names = (*found.names, old) if name == old else found.names
        classes[new if name == old else name] = replace(found, fields=fields, names=names)
    return nothing(program, replace(schema, classes=classes), "renamed")


def union_places(program: Program) -> Iterator[tuple[Place, Type]]:
    """The dicts and lists of single classes, each with the class's type."""
    for place in places(program):
        each = place[2]
        is_class = each.word in {"dict", "list"} and each.parts[0].word == "class"
        # A class that was renamed may, where versions are skipped, get its tag at the same time.
        if is_class and not program.schema.classes[each.parts[0].given].names:
            yield place, each.parts[0]


def join(random: Random, program: Program, fresh: str) -> Program | None:
    """A class gets another one beside it, and both are told by their tags."""
    found = list(union_places(program))
    if not found:
        return None
    place, inner = random.choice(found)
    name = inner.given
    both = Type("|", (inner, Type("class", given=fresh.capitalize())))
    schema = with_type(program, place, Type(place[2].word, (both,)))
    is_new = not schema.classes[name].is_tagged
    schema = schema.put(name, replace(schema.classes[name], is_tagged=True))
    schema = schema.put(fresh.capitalize(), Class({"width": INT}, is_tagged=True))

    def tag(record: dict[str, Any]) -> None:
        record["type"] = name

    if not is_new:
        return nothing(program, schema, "one more member")
    return Program(schema, program.version, program, "rewriting", "tag", name, tag)


def leave_out(random: Random, program: Program, _: str) -> Program | None:
    """A field goes."""
    found = [place for place in places(program) if len(program.schema.classes[place[0]].fields) > 1]
    if not found:
        return None
    name, key, _each = random.choice(found)
    described = program.schema.classes[name]
    fields = {other: each for other, each in described.fields.items() if other != key}
    defaults = {other: each for other, each in described.defaults.items() if other != key}
    schema = program.schema.put(name, replace(described, fields=fields, defaults=defaults))

    def pop(record: dict[str, Any]) -> None:
        record.pop(key, None)

    needs = random.choice(["drop", "drop", "migration"])
    return step(random, program, schema, needs, at=(name, key), change=pop)


def narrow(random: Random, program: Program, _: str) -> Program | None:
    """A type that takes less, or is another one."""
    name, key, each = place = random.choice(places(program))
    convert: Callable[[Any], Any]
    if each in {Type("|", (INT, NONE)), Type("|", (STR, NONE))}:
        changed = each.parts[0]
        least = default(program.schema, changed)
        convert = lambda data: least if data is None else data  # noqa: E731  one of several
    elif each == INT:
        changed = Type("int", given=(-10, 10))
        convert = lambda data: max(-10, min(10, data))  # noqa: E731
    elif each.word == "int":
        changed, convert = STR, str
    elif each.word in {"literal", "enum"} and each.given != ("a",):
        changed = Type("literal", given=("a",))
        convert = lambda _: "a"  # noqa: E731
    else:
        return None

    def replace_value(record: dict[str, Any]) -> None:
        if key in record:
            record[key] = convert(record[key])

    schema = with_type(program, place, changed)
    return step(random, program, schema, "migration", at=(name, key), change=replace_value)


def move(random: Random, program: Program, fresh: str) -> Program:
    """A field gets another name, with a migration."""
    name, key, each = random.choice(places(program))
    described = program.schema.classes[name]
    fields = {fresh if other == key else other: part for other, part in described.fields.items()}
    defaults = {
        fresh if other == key else other: part for other, part in described.defaults.items()
    }
    schema = program.schema.put(name, replace(described, fields=fields, defaults=defaults))

    def put(record: dict[str, Any]) -> None:
        if key in record:
            record[fresh] = record.pop(key)

    del each
    return step(random, program, schema, "migration", at=(name, key), change=put)


CHANGES: list[Callable[[Random, Program, str], Program | None]] = [
    *(add, add, widen, widen, widen, add_member, reorder, rename, join, leave_out, narrow, narrow),
    move,
]


def following(random: Random, program: Program, number: int) -> Program:
    """Some next program; its new names have the number in them."""
    while True:
        found = random.choice(CHANGES)(random, program, f"new{number}")
        if found is not None:
            return found


def edit(random: Random, schema: Schema, each: Type, data: Any) -> tuple[list[Any], Any]:
    """Some place in some data, and what is put there: a path, and a value (REQUIRED: it goes)."""
    deeper: list[tuple[Any, Type]] = []
    if each.word == "class":
        deeper = list(schema.classes[each.given].fields.items())
    elif each.word == "dict":
        deeper = [(key, each.parts[0]) for key in data]
    elif each.word == "list":
        deeper = [(position, each.parts[0]) for position in range(len(data))]
    elif each.word == "|" and member(schema, each, data) is not INT:
        return edit(random, schema, member(schema, each, data), data)
    if deeper and random.random() < 0.8:
        step, part = random.choice(deeper)
        if each.word == "dict" and random.random() < 0.2:
            return [step], REQUIRED
        path, given = edit(random, schema, part, data[step])
        return [step, *path], given
    if each.word == "dict":
        return [random.choice("pqrstu")], value(random, schema, each.parts[0])
    return [], value(random, schema, each)
