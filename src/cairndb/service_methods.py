"""The methods of a root as others call them: by name, with arguments that come as bytes.

A method's parameters become a generated Struct, whose fields are the parameters with their declared
types: so arguments are decoded and checked by msgspec, in C, and an error says which of them it is
about. Three forms of arguments are understood:

    json, msgpack     an object by names, or an array by positions
    text              one text for each positional parameter, as a shell or redis-cli sends them

A text is the value itself where the parameter's type is `str` or contains it. Else it is JSON if it
begins as an object, an array or a string of JSON does, and otherwise what msgspec reads from text:
a number, a date, a UUID, an Enum's value.
"""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from cairndb.calls import mode_of
from cairndb.errors import UsageError
from cairndb.record import MODE_ATTRIBUTE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Form = Literal["json", "msgpack", "text"]

_JSON_BEGINS: Final = {b"{", b"[", b'"'}
_KINDS_BY_NAME: Final = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


class ArgumentError(UsageError):
    """Arguments aren't what a method declares; it wasn't called."""


class Parameter(Struct, frozen=True):
    """One parameter of a method, without `self`."""

    name: str
    annotation: Any
    required: bool
    positional: bool


class Method:
    """A method of the root that can be called by name.

    Args:
        function: marked `@cairndb.update` or `@cairndb.query`, as `Bank.transfer`.

    Attributes:
        name: as it is called.
        mode: `"update"` or `"query"`.
        parameters: in their order.
        returns: the annotation of what it returns; Any if it has none.
        named: the Struct of its arguments by name.

    Raises:
        UsageError: it has parameters that can't be given by name.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__name__
        self.mode, self.qualified_name = mode_of(function)
        self.documentation = inspect.getdoc(function) or ""
        hints = typing.get_type_hints(function, include_extras=True)
        self.returns = hints.get("return", Any)
        _, *parameters = inspect.signature(function).parameters.values()
        self.parameters = [self._parameter(each, hints) for each in parameters]
        self.named = self._struct(self.parameters, array_like=False)
        positional = [each for each in self.parameters if each.positional]
        self._positional = positional
        self._least = sum(each.required for each in positional)
        self._only_named = [e.name for e in self.parameters if e.required and not e.positional]
        by_position = self._struct(positional, array_like=True)
        self._decoders: dict[tuple[str, bool], Any] = {
            ("json", False): msgspec.json.Decoder(self.named),
            ("json", True): msgspec.json.Decoder(by_position),
            ("msgpack", False): msgspec.msgpack.Decoder(self.named),
            ("msgpack", True): msgspec.msgpack.Decoder(by_position),
        }
        self._takes_text = [_takes_text(each.annotation) for each in positional]

    def _parameter(self, each: inspect.Parameter, hints: dict[str, Any]) -> Parameter:
        if each.kind not in _KINDS_BY_NAME:
            raise UsageError(
                f"{self.qualified_name} can't be called from outside: its parameter {each.name} "
                "has no name to be given by; declare each parameter without *, ** and /"
            )
        required = each.default is inspect.Parameter.empty
        positional = each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        return Parameter(each.name, hints.get(each.name, Any), required, positional)

    def _struct(self, parameters: Sequence[Parameter], *, array_like: bool) -> type[Struct]:
        # What isn't given isn't passed, so that the method's own default counts.
        fields: list[Any] = [
            (each.name, each.annotation)
            if each.required
            else (each.name, each.annotation | UnsetType, UNSET)
            for each in parameters
        ]
        try:
            return msgspec.defstruct(
                self.name,
                fields,
                array_like=array_like,
                forbid_unknown_fields=True,
                kw_only=not array_like,
            )
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{self.qualified_name} can't be called from outside: {error}"
            ) from error

    def arguments(self, form: Form, data: bytes | Sequence[bytes]) -> dict[str, Any]:
        """What to call the function with.

        Args:
            form: of the data.
            data: of the form `text` a text for each positional parameter; else an object or an
                array, as one document; empty for no arguments.

        Raises:
            ArgumentError: they aren't what is declared; nothing has happened.
        """
        if form == "text":
            return self._from_texts(typing.cast("Sequence[bytes]", data))
        assert isinstance(data, bytes)
        if not data:
            data = b"{}" if form == "json" else b"\x80"
        try:
            found = self._decoders[form, _is_array(form, data)].decode(data)
        except (ValueError, RecursionError) as error:
            raise self.refusal(error) from None
        names = found.__struct_fields__
        values = zip(names, map(found.__getattribute__, names), strict=True)
        return {name: value for name, value in values if value is not UNSET}

    def _from_texts(self, texts: Sequence[bytes]) -> dict[str, Any]:
        positional = self._positional
        least = self._least
        if not least <= len(texts) <= len(positional):
            wanted = ", ".join(each.name for each in positional) or "none"
            raise ArgumentError(
                f"{self.name} takes {_count(least, len(positional))} ({wanted}), not {len(texts)}"
            )
        if self._only_named:
            raise ArgumentError(
                f"{self.name} takes {', '.join(self._only_named)} by name: call it with JSON"
            )
        found = {}
        for parameter, as_it_is, text in zip(positional, self._takes_text, texts, strict=False):
            try:
                found[parameter.name] = _from_text(text, parameter.annotation, as_it_is=as_it_is)
            except (ValueError, RecursionError) as error:
                raise ArgumentError(f"{self.name}: {parameter.name}: {error}") from None
        return found

    def refusal(self, error: Exception) -> ArgumentError:
        """The error for arguments that msgspec refuses."""
        return ArgumentError(f"the arguments of {self.name}: {error}")


def _count(least: int, most: int) -> str:
    if least == most:
        return "1 argument" if most == 1 else f"{most} arguments"
    return f"{least} to {most} arguments"


def _is_array(form: Form, data: bytes) -> bool:
    if form == "json":
        return data.lstrip()[:1] == b"["
    return data[0] & 0xF0 == 0x90 or data[0] in {0xDC, 0xDD}


def _takes_text(annotation: Any) -> bool:
    """Whether a text is such a value as it is."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _takes_text(typing.get_args(annotation)[0])
    if annotation in {str, bytes, Any}:
        return True
    members = typing.get_args(annotation) if _is_union(origin) else ()
    return any(member in {str, bytes} for member in members)


def _is_union(origin: Any) -> bool:
    return origin is typing.Union or getattr(origin, "__name__", "") == "UnionType"


def _from_text(text: bytes, annotation: Any, *, as_it_is: bool) -> Any:
    if annotation is bytes:
        return text
    if not as_it_is and text[:1] in _JSON_BEGINS:
        return msgspec.json.decode(text, type=annotation, strict=False)
    return msgspec.convert(text.decode(), annotation, strict=False)


def methods_of(root: Any) -> dict[str, Method]:
    """The methods that a root can be called by, by name.

    Args:
        root: the root's type; a `dict[...]` has none.

    Raises:
        UsageError: one of them can't be called from outside.
    """
    cls = typing.get_origin(root) or root
    marked = [
        name for name in dir(cls) if hasattr(inspect.getattr_static(cls, name), MODE_ATTRIBUTE)
    ]
    return {name: Method(getattr(cls, name)) for name in marked}
