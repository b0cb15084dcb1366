"""How a stored state becomes one of a changed schema: one plan per pair of types that meet.

Plans are made by `schema_compare` as it walks both schemas, and by `schema_migrate` for the types
that have migrations. Types are recursive, so plans are too, and what a plan has to do is known when
all of them are made: `settle` finds the ones that leave every value as it is, and those return what
they are given.

A plan converts bytes, and `rebuild`s what somebody else has opened: so that a large state, open
along its large containers, is converted part by part, where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from cairndb import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

Family = str | tuple[tuple[str, Any], ...]
"""What tells the members of a union apart in bytes: a word, or a tag."""


class Failure(Exception):  # noqa: N818  not an error of ours: it is on its way to a SchemaError
    """A part can't be converted.

    Args:
        reason: what is wrong.
        path: where, from the value that was to be converted.
    """

    def __init__(self, reason: str, path: tuple[Any, ...] = ()) -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def under(self, step: Any) -> Failure:
        """The same, seen from the value that the part is in."""
        return Failure(self.reason, (step, *self.path))


class Plan:
    """What is to be done with values of one stored type: nothing, in this class."""

    changes = False
    """Whether anything is to be done, here or below; set by `settle`."""
    function: Callable[[Any], Any] | None = None
    """An application's own, which gets the value as plain data when its parts are done."""

    def children(self) -> Iterable[Plan]:
        """The plans of the parts."""
        return ()

    def choose(self, value: Any) -> Plan:
        """The plan of the union's member that a value is.

        Args:
            value: encoded, or opened: a dict or a list.
        """
        del value
        return self

    def rebuild(self, parts: Any, convert: Callable[[Plan, Any], Any]) -> Any:
        """The parts of the converted value.

        Args:
            parts: of an opened value, in a dict or a list, which may be changed.
            convert: makes of a part what it becomes.

        Raises:
            Failure: it isn't of the stored schema, or a migration failed.
        """
        raise NotImplementedError

    def convert(self, data: Raw) -> Raw:
        """One value under the declared schema.

        Raises:
            Failure: it isn't of the stored schema, or a migration failed.
        """
        plan = self.choose(data)
        if not plan.changes:
            return data
        try:
            parts: Any = codec.open_map(data) if codec.is_map(data) else codec.open_list(data)
        except ValueError as error:
            raise Failure(f"it isn't of the type that was stored: {error}") from error
        return plan.finish(Raw(codec.encode(plan.rebuild(parts, Plan.convert))))

    def finish(self, data: Raw) -> Raw:
        """What the application's function makes of a value whose parts are done."""
        return Raw(call(self.function, data)) if self.function is not None else data


KEEP = Plan()


def call(function: Callable[[Any], Any], data: Raw) -> bytes:
    """What a function makes of plain data: what it returns, or what it has made of it.

    Raises:
        Failure: it raised, or what it left isn't plain data.
    """
    plain = codec.decode(data)
    name = getattr(function, "__qualname__", repr(function))
    try:
        result = function(plain)
    except Exception as error:
        raise Failure(f"{name} raised {type(error).__name__}: {error}") from error
    try:
        return codec.encode(plain if result is None else result)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Failure(f"{name} leaves what isn't plain data: {error}") from error


class FieldsPlan(Plan):
    """A record or frozen class: its fields in the declared order, the new ones filled in.

    `steps` has for each declared field the plan of the stored one, or the default's bytes.
    """

    def __init__(self, tag: dict[str, Any]) -> None:
        self.head = {name: Raw(codec.encode(value)) for name, value in tag.items()}
        self.steps: dict[str, Plan | Raw] = {}

    def children(self) -> Iterable[Plan]:
        """As `Plan.children` says."""
        return [step for step in self.steps.values() if isinstance(step, Plan)]

    def rebuild(self, parts: Any, convert: Callable[[Plan, Any], Any]) -> Any:
        """As `Plan.rebuild` says."""
        result: dict[str, Any] = dict(self.head)
        for name, step in self.steps.items():
            if not isinstance(step, Plan):
                result[name] = step
            elif name in parts:
                result[name] = _converted(convert, step, parts[name], name)
            else:
                raise Failure(f"there is no field {name!r}, which was stored")
        return result


class MigrationPlan(Plan):
    """A record or frozen class of the stored schema, whose parts may have migrations, or itself.

    What else is in it stays: an earlier migration may have put it there.
    """

    def __init__(self, function: Callable[[Any], Any] | None) -> None:
        self.function = function
        self.steps: dict[str, Plan] = {}

    def children(self) -> Iterable[Plan]:
        """As `Plan.children` says."""
        return self.steps.values()

    def rebuild(self, parts: Any, convert: Callable[[Plan, Any], Any]) -> Any:
        """As `Plan.rebuild` says."""
        for name, step in self.steps.items():
            if step.changes:
                if name not in parts:
                    raise Failure(f"there is no field {name!r}, which was stored")
                parts[name] = _converted(convert, step, parts[name], name)
        return parts


class ValuesPlan(Plan):
    """A dict, of which only the values may need something."""

    def __init__(self, value: Plan) -> None:
        self.value = value

    def children(self) -> Iterable[Plan]:
        """As `Plan.children` says."""
        return (self.value,)

    def rebuild(self, parts: Any, convert: Callable[[Plan, Any], Any]) -> Any:
        """As `Plan.rebuild` says."""
        for key, part in parts.items():  # values are replaced, no key is added
            parts[key] = _converted(convert, self.value, part, key)
        return parts


class ItemsPlan(Plan):
    """An array: by position where there are several plans, else all by the one."""

    def __init__(self, items: list[Plan], *, fixed: bool) -> None:
        self.items = items
        self.fixed = fixed

    def children(self) -> Iterable[Plan]:
        """As `Plan.children` says."""
        return self.items

    def rebuild(self, parts: Any, convert: Callable[[Plan, Any], Any]) -> Any:
        """As `Plan.rebuild` says."""
        plans = self.items if self.fixed else self.items * len(parts)
        if len(plans) != len(parts):
            raise Failure(f"{len(plans)} elements were stored here, and there are {len(parts)}")
        for position, plan in enumerate(plans):
            parts[position] = _converted(convert, plan, parts[position], position)
        return parts


class ChoicePlan(Plan):
    """A union: the value tells which member it is."""

    def __init__(self, members: dict[Family, Plan]) -> None:
        self.members = members

    def children(self) -> Iterable[Plan]:
        """As `Plan.children` says."""
        return self.members.values()

    def choose(self, value: Any) -> Plan:
        """As `Plan.choose` says."""
        return self.members.get(_family_of(value, self.members), KEEP) if self.changes else KEEP


def _converted(convert: Callable[[Plan, Any], Any], plan: Plan, part: Any, step: Any) -> Any:
    try:
        return convert(plan, part)
    except Failure as failure:
        raise failure.under(step) from failure.__cause__


def _family_of(value: Any, members: Collection[Family]) -> Family:
    """Which member of a union a value is, if it is an array or a map; "" for all others."""
    fields = value
    if isinstance(value, Raw):
        if codec.is_array(value):
            return "array"
        if not codec.is_map(value):
            return ""
        fields = codec.open_map(value)
    elif not isinstance(value, dict):
        return "array"
    for family in members:
        if isinstance(family, tuple) and all(
            name in fields and codec.decode(fields[name]) == tag for name, tag in family
        ):
            return family
    if "map" not in members:
        raise Failure("a union holds a record of no known tag")
    return "map"


def settle(root: Plan, own: set[int]) -> None:
    """Find out which plans have something to do.

    Args:
        root: of all plans.
        own: the ids of those that have something to do themselves.
    """
    above: dict[int, list[Plan]] = {}
    found: dict[int, Plan] = {}
    waiting = [root]
    while waiting:
        plan = waiting.pop()
        if id(plan) in found:
            continue
        found[id(plan)] = plan
        for child in plan.children():
            above.setdefault(id(child), []).append(plan)
            waiting.append(child)
    touched = [plan for plan in found.values() if id(plan) in own]
    while touched:
        plan = touched.pop()
        if not plan.changes:
            plan.changes = True
            touched.extend(above.get(id(plan), ()))
