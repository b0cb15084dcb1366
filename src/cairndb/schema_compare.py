"""What has changed between two schemas, and whether the stored data still fits.

The question for each pair of types is one of bytes: is every value that the stored type has written
one that the declared type reads, as the same value? Where it is, nothing has to be done. Records
and frozen classes may also differ in what can be settled without asking: fields in another order,
and new fields with a default. Everything else is refused, each difference with its path and what to
write: nothing is guessed, and nothing dropped unasked.

A union's members are told apart in bytes by what msgspec allows in one union: one type that is a
string, one that is an int, one array, and so on (`_family`). So each stored member meets at most
one declared one.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Raw

from cairndb.codec import NIL
from cairndb.schema_convert import (
    KEEP,
    ChoicePlan,
    Family,
    FieldsPlan,
    ItemsPlan,
    Plan,
    ValuesPlan,
    settle,
)
from cairndb.schema_text import LITERAL, UNION, VARIADIC, Fields, Members, Schema, Type

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_FAMILIES = {
    **{name: name for name in ("None", "bool", "int", "float", "bytes", "Any")},
    **dict.fromkeys(("str", "datetime", "date", "time", "timedelta", "UUID", "Decimal"), "text"),
    **dict.fromkeys(("list", "set", "frozenset", "tuple", VARIADIC), "array"),
    "dict": "map",
}
_UNDER_ANY = ("None", "bool", "int", "float", "str", "bytes", "list", "dict", UNION, LITERAL, "Any")
"""What reads the same under Any as under its own type, if its parts do."""
_READ_AS = {
    *(("set", "frozenset"), ("frozenset", "set")),
    *((VARIADIC, "list"), ("list", VARIADIC), ("tuple", VARIADIC), ("tuple", "list")),
}


class Difference(NamedTuple):
    """One thing that isn't as it was."""

    path: str
    """As `Bank.accounts[*].owner`."""
    what: str
    remedy: str
    """What to write; empty if nothing has to be."""
    drop: str = ""
    """The field that is gone, as `drop` names it."""

    def __str__(self) -> str:
        """One line."""
        return f"{self.path}: {self.what}" + (f": {self.remedy}" if self.remedy else "")


class Comparison(NamedTuple):
    """All differences between a stored and a declared schema."""

    differences: list[Difference]
    plan: Plan
    """How the root's bytes are converted; good only if nothing is refused."""

    @property
    def refused(self) -> list[Difference]:
        """The differences that a migration, or a `drop`, has to settle."""
        return [difference for difference in self.differences if difference.remedy]


def compare(
    stored: Schema,
    declared: Schema,
    *,
    defaults: Mapping[str, Mapping[str, bytes]],
    drop: Collection[str] = (),
) -> Comparison:
    """Compare what is stored with what is declared now.

    Args:
        stored: from a file.
        declared: what the application gave.
        defaults: by class of the declared schema: the encoded default of each field that has one.
        drop: fields that may go, as `Account.tags`, by their stored names.

    Returns:
        The differences, in the order of the declaration.
    """
    comparer = _Comparer(stored, declared, defaults, drop)
    plan = comparer.meet(stored.root, declared.root, str(declared.root))
    settle(plan, comparer.own)
    return Comparison(comparer.differences, plan)


class _Comparer:
    """One comparison: a walk of both schemas at once, each pair of classes once."""

    def __init__(
        self,
        stored: Schema,
        declared: Schema,
        defaults: Mapping[str, Mapping[str, bytes]],
        drop: Collection[str],
    ) -> None:
        self.stored, self.declared = stored, declared
        self.defaults, self.drop = defaults, drop
        self.differences: list[Difference] = []
        self.own: set[int] = set()
        """The ids of the plans that have something to do themselves."""
        self._met: dict[tuple[str, str], FieldsPlan] = {}

    def meet(self, old: Type, new: Type, path: str) -> Plan:
        """Compare two types that stand in the same place; the plan for the values there."""
        if new.name == "Any":
            self._under_any(old, path)
            return KEEP
        new_members = _members(new)
        plans: dict[Family, Plan] = {}
        for member in _members(old):
            family = _family(member, self.stored)
            fitting = self._fitting(member, family, new_members)
            if fitting is None:
                self._refuse(path, old, new, member)
            else:
                plans[family] = self._meet_single(member, fitting, path)
        if len(plans) == 1 and old.name != UNION:
            return next(iter(plans.values()))
        return ChoicePlan(plans)

    def _fitting(self, old: Type, family: Family, members: list[Type]) -> Type | None:
        """The declared member that reads what a stored one has written."""
        for member in members:
            if _family(member, self.declared) == family:
                return member
        # A class that had no tag gets one when another joins it in a union.
        return next((m for m in members if family == "map" and m.name == old.name), None)

    def _meet_single(self, old: Type, new: Type, path: str) -> Plan:
        """Compare two types of a family."""
        old_class, new_class = self.stored.types.get(old.name), self.declared.types.get(new.name)
        if isinstance(old_class, Fields) and isinstance(new_class, Fields):
            return self._meet_classes((old.name, old_class), (new.name, new_class), path)
        old_values, new_values = _values(old, old_class), _values(new, new_class)
        if old_values is not None:
            self._meet_values(old_values, old, new_values, new, path)
            return KEEP
        same = old.name == new.name or (old.name, new.name) in _READ_AS
        if not same or new_values is not None or old_class or new_class:
            self._refuse(path, old, new)
            return KEEP
        if not _implied(old, new):
            self._narrower(path, old, new)
        plan = self._meet_parts(old, new, path)
        if old.name in {"list", "set"} and new.name in {VARIADIC, "frozenset"}:
            self._frozen(path, plan)
        return plan

    def _meet_parts(self, old: Type, new: Type, path: str) -> Plan:
        if old.name == "dict":
            self.meet(old.parts[0], new.parts[0], f"{path}[key]")
            return ValuesPlan(self.meet(old.parts[1], new.parts[1], f"{path}[*]"))
        if old.name == "tuple":
            declared = new.parts if new.name == "tuple" else new.parts * len(old.parts)
            if len(declared) != len(old.parts):
                self._refuse(path, old, new)
                return KEEP
            pairs = enumerate(zip(old.parts, declared, strict=True))
            items = [self.meet(one, two, f"{path}[{position}]") for position, (one, two) in pairs]
            return ItemsPlan(items, fixed=True)
        if old.parts:
            return ItemsPlan([self.meet(old.parts[0], new.parts[0], f"{path}[*]")], fixed=False)
        return KEEP

    def _meet_classes(self, old: tuple[str, Fields], new: tuple[str, Fields], path: str) -> Plan:
        """Compare two records, or frozen classes, whatever they are called."""
        (old_name, old_class), (new_name, new_class) = old, new
        met = self._met.get((old_name, new_name))
        if met is not None:
            return met
        plan = self._met[old_name, new_name] = FieldsPlan(new_class.tag)
        for name, declared in new_class.fields.items():
            inner = f"{path}.{name}"
            if name in old_class.fields:
                plan.steps[name] = self.meet(old_class.fields[name], declared, inner)
                continue
            default = self.defaults.get(new_name, {}).get(name)
            plan.steps[name] = Raw(default) if default is not None else NIL
            remedy = "" if default is not None else "give it a default, or write a migration"
            self._differs(inner, f"a new field, {declared}", remedy)
        kept = [name for name in old_class.fields if name in new_class.fields]
        for name in old_class.fields:
            if name not in new_class.fields:
                self._gone(f"{path}.{name}", f"{old_name}.{name}")
        if kept != [name for name in new_class.fields if name in old_class.fields]:
            self._differs(path, f"the fields of {new_name} are in another order", "")
        if old_class.is_record and not new_class.is_record:
            self._frozen(path, plan)
        if old_class.tag != new_class.tag or list(old_class.fields) != list(new_class.fields):
            self.own.add(id(plan))
        return plan

    def _meet_values(
        self, old_values: list[Any], old: Type, new_values: list[Any] | None, new: Type, path: str
    ) -> None:
        """Compare a stored Literal or Enum with what reads its values."""
        if new_values is None:
            if new.name not in {"str", "int", "bool", "None"} or new.bounds:
                self._refuse(path, old, new)
            return
        missing = [value for value in old_values if value not in new_values]
        if missing:
            what = f"{old} has lost {', '.join(map(repr, missing))}"
            self._differs(path, what, "write a migration that replaces it, or put it back")

    def _frozen(self, path: str, plan: Plan) -> None:
        """The log changes the insides of what is replaced as a whole now: it must end before."""
        self._differs(path, "it could be changed in place, and is one value now", "")
        self.own.add(id(plan))

    def _under_any(self, old: Type, path: str) -> None:
        """Any reads builtins as they were; what it reads otherwise isn't the same value."""
        if old.name not in _UNDER_ANY:
            self._refuse(path, old, Type("Any"))
        for part in old.parts:
            self._under_any(part, path)

    def _gone(self, path: str, field: str) -> None:
        if field in self.drop:
            self._differs(path, "dropped, as told", "")
        else:
            remedy = f'write a migration, or drop=["{field}"]'
            self.differences.append(Difference(path, "the field is gone", remedy, field))

    def _narrower(self, path: str, old: Type, new: Type) -> None:
        what = f"{new} allows less than {old}, which is stored"
        self._differs(path, what, "write a migration, or keep the bound as it was")

    def _refuse(self, path: str, old: Type, new: Type, member: Type | None = None) -> None:
        what = f"{old} is stored, {new} is declared"
        if member is not None and member != old:
            what += f", which doesn't take {member}"
        self._differs(path, what, "write a migration")

    def _differs(self, path: str, what: str, remedy: str) -> None:
        self.differences.append(Difference(path, what, remedy))


def families(each: Type, schema: Schema) -> dict[Family, Type]:
    """The members of a union by what tells them apart in bytes; of another type, itself."""
    return {_family(member, schema): member for member in _members(each)}


def _members(each: Type) -> list[Type]:
    """The members of a union; a Literal counts as one for each type of its values."""
    if each.name == UNION:
        return [single for member in each.parts for single in _members(member)]
    if each.name == LITERAL:
        by_type: dict[type, list[Any]] = {}
        for value in each.values:
            by_type.setdefault(type(value), []).append(value)
        return [Type(LITERAL, values=tuple(values)) for values in by_type.values()]
    return [each]


def _family(each: Type, schema: Schema) -> Family:
    """What a type is in bytes, as far as members of one union are told apart by it."""
    found = schema.types.get(each.name)
    if isinstance(found, Fields):
        return tuple(found.tag.items()) or "map"
    values = _values(each, found)
    if values is not None:
        return {str: "text", int: "int", bool: "bool"}.get(type(values[0]), "None")
    return _FAMILIES.get(each.name, each.name)


def _values(each: Type, found: Fields | Members | None) -> list[Any] | None:
    """The values of a Literal or an Enum, which are written alike; None for other types."""
    if each.name in {LITERAL, "None"}:
        return list(each.values) or [None]
    return list(found.values.values()) if isinstance(found, Members) else None


def _implied(old: Type, new: Type) -> bool:
    """Whether every value within the stored bounds is within the declared ones."""
    stored, declared = dict(old.bounds), dict(new.bounds)
    if old.name == "tuple" and new.name != "tuple":
        stored = dict.fromkeys(("min_length", "max_length"), len(old.parts))
    for name in ("pattern", "multiple_of", "tz"):
        same = stored.get(name) == declared.get(name)
        is_finer = old.name == "int" and name == "multiple_of" and name in stored
        if name in declared and not same and not (is_finer and stored[name] % declared[name] == 0):
            return False
    if old.name == "int":
        stored, declared = _closed(stored), _closed(declared)
    return all(_within(edge(stored), edge(declared)) for edge in (_range, _lengths))


_Range = tuple[tuple[float, int], tuple[float, int]]


def _within(inner: _Range, outer: _Range) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _closed(bounds: dict[str, Any]) -> dict[str, Any]:
    """Bounds of an int: above 0 is at least 1."""
    moved = {"gt": ("ge", 1), "lt": ("le", -1)}
    shift = [(*moved.get(name, (name, 0)), value) for name, value in bounds.items()]
    return {name: value + more if name in {"ge", "le"} else value for name, more, value in shift}


def _range(bounds: dict[str, Any]) -> _Range:
    """The lowest and the highest value; that of `gt` is a little above its number."""
    low = (bounds["gt"], 1) if "gt" in bounds else (bounds.get("ge", -inf), 0)
    high = (bounds["lt"], -1) if "lt" in bounds else (bounds.get("le", inf), 0)
    return low, high


def _lengths(bounds: dict[str, Any]) -> _Range:
    return (bounds.get("min_length", 0), 0), (bounds.get("max_length", inf), 0)
