"""What a class must not do to be kept, and where a type is that msgspec refuses.

Classes run code of their own when they are made, and some options drop data. Recovery must do
neither: it decodes bytes that may be years old, and history must not depend on today's code. So the
checks here look for what a class does when it is decoded; each problem comes with what to write
instead. Rules over a record's values belong in bounds, or in the methods that change it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from cairndb.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNRESOLVED = (TypeError, NameError, AttributeError, SyntaxError)
REFUSALS = (*_UNRESOLVED, ValueError, NotImplementedError, RecursionError)
"""What msgspec and typing raise for annotations that they can't evaluate, or don't take."""

_HOOKS = ("__init__", "__new__", "__setattr__", "__delattr__", "__getattribute__")


def struct_problems(cls: type[msgspec.Struct], *, is_record: bool) -> Iterator[str]:
    """What a Record, or a frozen Struct, must not have or do."""
    config = cls.__struct_config__
    if is_record and config.frozen:
        yield "a Record can't be frozen: drop frozen=True, or make it a frozen msgspec.Struct"
    if config.omit_defaults:
        yield "omit_defaults leaves data out: drop it"
    if config.array_like:
        yield "array_like stores fields without their names: drop it"
    own = [base for base in cls.__mro__ if base not in (*Record.__mro__, Generic)]
    yield from _hook_problems(own, (*_HOOKS, "__post_init__") if is_record else _HOOKS)
    if is_record:
        for base in own:
            for name, attribute in vars(base).items():
                if isinstance(attribute, functools.cached_property):
                    yield f"cached_property {name} would go stale: make it a property"


def dataclass_problems(cls: type) -> Iterator[str]:
    """What a dataclass must not have or do."""
    parameters = vars(cls).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        yield "a mutable dataclass: make it a cairndb.Record, or write @dataclass(frozen=True)"
    elif not parameters.init:
        yield "a dataclass with an __init__ of its own: drop init=False"
    yield from _hook_problems(
        [b for b in cls.__mro__ if b not in (object, Generic)], ("__new__", "__getattribute__")
    )
    for field in dataclasses.fields(cls):
        if not field.init:
            yield f"{field.name} is declared with init=False: drop it, or make it a property"
        if field.name.startswith("_"):
            yield f"{field.name} begins with an underscore, which isn't stored: rename it"


def _hook_problems(classes: Any, names: tuple[str, ...]) -> Iterator[str]:
    for base in classes:
        for name in names:
            if name in vars(base):
                yield (
                    f"{base.__name__} has a {name} of its own, which would run whenever the log "
                    "is read: drop it; rules belong in bounds (Annotated with msgspec.Meta), or in "
                    "the methods that change the record"
                )


def enum_problems(cls: type[enum.Enum]) -> Iterator[str]:
    """What an Enum must not have or do."""
    if issubclass(cls, enum.Flag):
        yield "a Flag isn't kept: use a set of Enum members, or an int"
        return
    library = (*enum.IntEnum.__mro__, *enum.StrEnum.__mro__)
    own = [base for base in cls.__mro__ if base not in library]
    yield from _hook_problems(own, ("__eq__", "__hash__"))
    if inspect.getattr_static(cls, "_missing_") is not vars(enum.Enum)["_missing_"]:
        yield "_missing_ would run whenever old bytes are decoded: drop it"
    if {type(member.value) for member in cls} not in ({str}, {int}):
        yield "the values of an Enum must be all str or all int"


_PARAMETERS_DEPTH = 12
"""How deep the parameters of a class may be nested: people write three or four."""


def endless_generic(annotation: Any, path: str) -> str | None:
    """Why a type has no end, if it contains itself with ever new parameters.

    msgspec would describe one such class after the other and never return, so this comes first. It
    goes deep first, so that it meets a class that grows before all that it branches to.

    Args:
        annotation: any type.
        path: of it, as `Bank.accounts[*]`.
    """
    search = _Search()
    stack = [(annotation, path)]
    while stack:
        annotation, path = stack.pop()
        origin = get_origin(annotation)
        is_generic = isinstance(origin, type) and _has_fields(origin)
        if is_generic and _is_deep(annotation, _PARAMETERS_DEPTH):
            return (
                f"{path[:200]}: {origin.__name__} contains itself with ever new parameters "
                "(or they are nested very deeply): let it contain itself with its own"
            )
        stack.extend(search.parts(annotation, path))
    return None


def _is_deep(annotation: Any, limit: int) -> bool:
    return not limit or any(_is_deep(part, limit - 1) for part in get_args(annotation))


def _has_fields(cls: type) -> bool:
    return issubclass(cls, msgspec.Struct) or dataclasses.is_dataclass(cls)


def refused_types(annotation: Any, path: str) -> list[tuple[str, str]]:
    """Where in an annotation the types are that msgspec refuses, each with its reason.

    Args:
        annotation: what `msgspec.inspect.type_info` raised for.
        path: of it, as `Bank.accounts[*]`.
    """
    return list(_Search().visit(annotation, path))


class _Search:
    """A walk of annotations, made only when msgspec has refused them as a whole."""

    def __init__(self) -> None:
        self.seen: set[Any] = set()

    def visit(self, annotation: Any, path: str) -> Iterator[tuple[str, str]]:
        try:
            msgspec.inspect.type_info(annotation)
        except REFUSALS as error:
            below = self.parts(annotation, path)
            deeper = [found for part in below for found in self.visit(*part)]
            reason = str(error).partition(" - type `")[0]
            if isinstance(error, NameError | AttributeError | SyntaxError):
                reason += ": define the classes that a record names where its module can see them"
            if isinstance(error, RecursionError):
                reason = "a type can only contain itself through a Record"
            yield from deeper or [(path, reason)]

    def parts(self, annotation: Any, path: str) -> Iterator[tuple[Any, str]]:
        """The annotations that one is made of, with their paths; of each class once."""
        origin = get_origin(annotation) or annotation
        if isinstance(origin, type) and _has_fields(origin):
            if annotation not in self.seen:
                self.seen.add(annotation)
                yield from self._fields(annotation, origin, path)
            return
        if origin is Literal:
            return
        if hasattr(annotation, "__supertype__"):  # a NewType
            yield annotation.__supertype__, path
        step = "[*]" if origin in (dict, list, set, frozenset, tuple) else ""
        for part in get_args(annotation):
            if not isinstance(part, msgspec.Meta) and part is not ...:
                yield part, path + step

    def _fields(self, annotation: Any, origin: type, path: str) -> Iterator[tuple[Any, str]]:
        try:
            hints = get_type_hints(origin, include_extras=True)
        except _UNRESOLVED:
            return  # the class itself is where the reason is
        parameters = getattr(origin, "__parameters__", ())
        given = dict(zip(parameters, get_args(annotation), strict=False))
        for name, hint in hints.items():
            if isinstance(hint, dataclasses.InitVar) or get_origin(hint) is ClassVar:
                continue
            variables = getattr(hint, "__parameters__", ())
            if variables:
                hint = hint[tuple(given.get(variable, Any) for variable in variables)]  # noqa: PLW2901
            yield given.get(hint, hint), f"{path}.{name}"
