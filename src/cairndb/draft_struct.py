"""What msgspec's Struct does in C for the exact type only, for the drafts of records.

Comparison, order, repr and copying, as the configuration of the record's class has them; what the
user defined stays. Comparison works both ways: Python asks the subclass, which the draft's class
is, first.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from cairndb.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable


def _same_record(self: Any, other: object) -> bool:
    cls = self.__cairn_plan__.cls
    return type(other) is cls or (
        getattr(type(other), "__cairn_plan__", None) is not None
        and (
            other.__cairn_plan__.cls is cls  # type: ignore[attr-defined]  # asked for on this line
        )
    )


def _eq(self: Any, other: object) -> Any:
    if not _same_record(self, other):
        return NotImplemented
    for name in self.__cairn_plan__.names:
        mine, theirs = getattr(self, name), getattr(other, name)
        if mine is not theirs and mine != theirs:
            return False
    return True


def _ne(self: Any, other: object) -> Any:
    equal = _eq(self, other)  # not the user's: a Struct's != is its own, whatever == is
    return equal if equal is NotImplemented else not equal


def _order(compare: Callable[[Any, Any], Any]) -> Callable[[Any, object], Any]:
    def ordered(self: Any, other: object) -> Any:
        if not _same_record(self, other):
            return NotImplemented
        values = self.__cairn_plan__.values
        return compare(values(self), values(other))

    return ordered


def _repr(self: Any) -> str:
    plan = self.__cairn_plan__
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in plan.names)
    return f"{plan.cls.__name__}({fields})"


def _rich_repr(self: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(self, name)) for name in self.__cairn_plan__.names]


def _copy(self: Any) -> Any:
    return self.__cairn_plain__()


def _deepcopy(self: Any, _memo: dict[int, Any]) -> Any:
    return self.__cairn_plain__()


def _reduce(self: Any) -> Any:
    return self.__cairn_plain__().__reduce__()


def _replace(self: Any, **changes: Any) -> Any:
    plain = self.__cairn_plain__()
    return type(plain)(**{name: getattr(plain, name) for name in plain.__struct_fields__} | changes)


_SUPPLIED: dict[str, Any] = {
    "__repr__": _repr,
    "__rich_repr__": _rich_repr,
    "__copy__": _copy,
    "__deepcopy__": _deepcopy,
    "__reduce__": _reduce,
    "__replace__": _replace,
}

_ORDER: dict[str, Any] = {
    "__lt__": _order(operator.lt),
    "__le__": _order(operator.le),
    "__gt__": _order(operator.gt),
    "__ge__": _order(operator.ge),
}


def user_classes(cls: type[Any]) -> list[type[Any]]:
    """The classes that the user wrote: without Record's own and msgspec's."""
    return [base for base in cls.__mro__ if base not in Record.__mro__]


def _is_defined(cls: type[Any], name: str) -> bool:
    return any(name in vars(base) for base in user_classes(cls))


def struct_methods(cls: Any) -> dict[str, Any]:
    """What the namespace of a draft class of this record's class has to have of these.

    Args:
        cls: the record's class.
    """
    supplied = dict(_SUPPLIED)
    if cls.__struct_config__.eq:
        supplied |= {"__eq__": _eq, "__ne__": _ne}
    if cls.__struct_config__.order:
        supplied |= _ORDER
    namespace = {name: made for name, made in supplied.items() if not _is_defined(cls, name)}
    if "__eq__" in namespace:
        namespace["__hash__"] = cls.__hash__
    return namespace
