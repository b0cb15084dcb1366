"""How stored bytes become bytes of a changed schema: one plan per pair of types that meet.

Plans are made by `schema_compare` as it walks both schemas. Types are recursive, so plans are too,
and what a plan has to do is known when all of them are made: `settle` finds the ones that leave
every value as it is, and those return the bytes that they are given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from cairndb import codec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Family = str | tuple[tuple[str, Any], ...]
"""What tells the members of a union apart in bytes: a word, or a tag."""


class Plan:
    """What is to be done with values of one stored type: nothing, in this class."""

    changes = False
    """Whether anything is to be done, here or below; set by `settle`."""

    def children(self) -> Iterable[Plan]:
        """The plans of the parts."""
        return ()

    def convert(self, data: Raw) -> Raw | bytes:
        """The bytes of one value under the declared schema.

        Raises:
            ValueError: they aren't of the stored schema.
        """
        return self._convert(data) if self.changes else data

    def _convert(self, data: Raw) -> bytes:
        raise NotImplementedError


KEEP = Plan()


class FieldsPlan(Plan):
    """A record or frozen class: its fields in the declared order, the new ones filled in.

    `steps` has for each declared field the plan of the stored one, or the default's bytes.
    """

    def __init__(self, tag: dict[str, Any]) -> None:
        self.head = {name: Raw(codec.encode(value)) for name, value in tag.items()}
        self.steps: dict[str, Plan | bytes] = {}

    def children(self) -> Iterable[Plan]:
        """As `Plan.children` says."""
        return [step for step in self.steps.values() if isinstance(step, Plan)]

    def _convert(self, data: Raw) -> bytes:
        fields = codec.open_map(data)
        result: dict[str, Raw] = dict(self.head)
        for name, step in self.steps.items():
            if not isinstance(step, Plan):
                result[name] = Raw(step)
            elif name in fields:
                converted = step.convert(fields[name])
                result[name] = Raw(converted)
            else:
                raise ValueError(f"a record has no field {name!r}")
        return codec.encode(result)


class ValuesPlan(Plan):
    """A dict, of which only the values may need something."""

    def __init__(self, value: Plan) -> None:
        self.value = value

    def children(self) -> Iterable[Plan]:
        """As `Plan.children` says."""
        return (self.value,)

    def _convert(self, data: Raw) -> bytes:
        convert = self.value.convert
        return codec.encode({k: Raw(convert(v)) for k, v in codec.open_map(data).items()})


class ItemsPlan(Plan):
    """An array: by position where there are several plans, else all by the one."""

    def __init__(self, items: list[Plan], *, fixed: bool) -> None:
        self.items = items
        self.fixed = fixed

    def children(self) -> Iterable[Plan]:
        """As `Plan.children` says."""
        return self.items

    def _convert(self, data: Raw) -> bytes:
        parts = codec.open_list(data)
        plans = self.items if self.fixed else self.items * len(parts)
        return codec.encode([Raw(p.convert(part)) for p, part in zip(plans, parts, strict=True)])


class ChoicePlan(Plan):
    """A union: the bytes tell which member a value is."""

    def __init__(self, members: dict[Family, Plan]) -> None:
        self.members = members

    def children(self) -> Iterable[Plan]:
        """As `Plan.children` says."""
        return self.members.values()

    def _convert(self, data: Raw) -> bytes:
        plan = self.members.get(family_of(data, self.members))
        return bytes(plan.convert(data)) if plan is not None else bytes(data)


def family_of(data: Raw, members: Collection[Family]) -> Family:
    """Which member of a union a value is, if it is an array or a map; "" for all others.

    Args:
        data: the value.
        members: by what tells them apart.

    Raises:
        ValueError: it is a map, and none of them.
    """
    if codec.is_array(data):
        return "array"
    if not codec.is_map(data):
        return ""
    fields = codec.open_map(data)
    for family in members:
        if isinstance(family, tuple) and all(
            name in fields and codec.decode(fields[name]) == value for name, value in family
        ):
            return family
    if "map" not in members:
        raise ValueError("a union holds a record of no known tag")
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
