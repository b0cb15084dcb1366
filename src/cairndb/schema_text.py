"""The text of a schema, read back: what was declared when a file was written.

`describe` writes types as people read them, `dict[str, Account | None]`, `int(ge=0)`. Here that
text becomes `Type`s again, without a class of the application. A text that doesn't parse is damage
that the checksums didn't see, or a later version's: a `ValueError` says where.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

UNION, LITERAL, VARIADIC = "|", "Literal", "tuple[...]"

_WORD = re.compile(r"\w+")
_JSON = json.JSONDecoder()


class Type(NamedTuple):
    """One type.

    `name` is a word of the library (`int`, `dict`, ...), the name of a class in `Schema.types`, or
    one of UNION, LITERAL and VARIADIC (a tuple of any length).
    """

    name: str
    parts: tuple[Type, ...] = ()
    """Keys and values of a dict, elements of other containers, members of a union."""
    bounds: tuple[tuple[str, Any], ...] = ()
    values: tuple[Any, ...] = ()
    """Of a LITERAL."""

    def __str__(self) -> str:
        """As `describe` writes it."""
        if self.name == UNION:
            return " | ".join(map(str, self.parts))
        if self.name == LITERAL:
            return (
                f"Literal[{', '.join('None' if v is None else json.dumps(v) for v in self.values)}]"
            )
        inner = ", ".join(map(str, self.parts))
        name = "tuple" if self.name == VARIADIC else self.name
        inner += ", ..." if self.name == VARIADIC else ""
        shown = f"{name}[{inner or '()'}]" if self.parts or name == "tuple" else name
        limits = ", ".join(f"{key}={json.dumps(value)}" for key, value in self.bounds)
        return f"{shown}({limits})" if limits else shown


class Fields(NamedTuple):
    """A record, or a frozen class with fields (`is_record` false)."""

    is_record: bool
    fields: dict[str, Type]
    tag: dict[str, Any]


class Members(NamedTuple):
    """An Enum: its values by their names."""

    values: dict[str, Any]


class Schema(NamedTuple):
    """A whole schema."""

    root: Type
    types: dict[str, Fields | Members]
    version: int = 1


def parse_schema(text: str) -> Schema:
    """Read what `describe` has written.

    Args:
        text: of a file's header.

    Raises:
        ValueError: it isn't such a text; the message says where.
    """
    try:
        content = json.loads(text)
        described: Mapping[str, Mapping[str, Any]] = content["types"]
        parser = _Parser(list(described))
        types = {name: _parse_class(parser, body) for name, body in described.items()}
        return Schema(parser.parse(content["root"]), types, int(content.get("version", 1)))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"this isn't a schema: {error!r}") from error


def _parse_class(parser: _Parser, body: Mapping[str, Any]) -> Fields | Members:
    if "enum" in body:
        return Members(dict(body["enum"]))
    word = "record" if "record" in body else "value"
    fields = {name: parser.parse(text) for name, text in body[word].items()}
    return Fields(word == "record", fields, dict(body.get("tag", {})))


class _Parser:
    """Recursive descent over one type's text.

    Args:
        names: of classes, which may have brackets in them: `Box[int]`.
    """

    def __init__(self, names: list[str]) -> None:
        self._names = sorted(names, key=len, reverse=True)
        self._text = ""
        self._at = 0

    def parse(self, text: str) -> Type:
        """The type that a text stands for."""
        self._text, self._at = text, 0
        found = self._union()
        if self._at != len(text):
            raise self._error("nothing more")
        return found

    def _error(self, expected: str) -> ValueError:
        return ValueError(f"{self._text!r:.200}: expected {expected} at character {self._at}")

    def _skip(self, word: str) -> bool:
        found = self._text.startswith(word, self._at)
        self._at += len(word) if found else 0
        return found

    def _expect(self, word: str) -> None:
        if not self._skip(word):
            raise self._error(repr(word))

    def _union(self) -> Type:
        members = [self._single()]
        while self._skip(" | "):
            members.append(self._single())
        return members[0] if len(members) == 1 else Type(UNION, tuple(members))

    def _single(self) -> Type:
        # The longest name first; a word that goes on (`Account` of `Accounts`) is another's.
        for name in self._names:
            end = self._at + len(name)
            if self._text.startswith(name, self._at) and self._text[end : end + 1] in _AFTER:
                self._at = end
                return Type(name)
        word = _WORD.match(self._text, self._at)
        if word is None:
            raise self._error("a type")
        self._at = word.end()
        if word[0] == LITERAL:
            return Type(LITERAL, values=self._literal())
        name, parts = self._parts(word[0])
        return Type(name, parts, self._bounds())

    def _literal(self) -> tuple[Any, ...]:
        self._expect("[")
        values = [self._literal_value()]
        while self._skip(", "):
            values.append(self._literal_value())
        self._expect("]")
        return tuple(values)

    def _literal_value(self) -> Any:
        return None if self._skip("None") else self._json()

    def _json(self) -> Any:
        value, self._at = _JSON.raw_decode(self._text, self._at)
        return value

    def _parts(self, name: str) -> tuple[str, tuple[Type, ...]]:
        if not self._skip("["):
            return name, ()
        if self._skip("()]"):
            return name, ()
        parts = [self._union()]
        while self._skip(", "):
            if self._skip("...]"):
                return VARIADIC, tuple(parts)
            parts.append(self._union())
        self._expect("]")
        return name, tuple(parts)

    def _bounds(self) -> tuple[tuple[str, Any], ...]:
        if not self._skip("("):
            return ()
        bounds = []
        while True:
            word = _WORD.match(self._text, self._at)
            if word is None:
                raise self._error("a bound")
            self._at = word.end()
            self._expect("=")
            bounds.append((word[0], self._json()))
            if self._skip(")"):
                return tuple(bounds)
            self._expect(", ")


_AFTER = frozenset({"", " ", ",", "]", ")"})
"""What may follow a class's name."""
