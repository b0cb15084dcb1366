"""Paths as texts that others send, `/accounts/alice/balance`, in the typed state.

A step of text is what it names among what is there: the field, the text key, the key whose JSON it
is, the position in a list. The rules of texts are those of `pattern`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from cairndb.errors import UsageError, ValidationError
from cairndb.kinds import DictKind, Kind, ListKind, RecordKind
from cairndb.notation import parse_path
from cairndb.pattern import Exact, Pattern

if TYPE_CHECKING:
    from collections.abc import Iterator


class NoSuchPath(UsageError):  # noqa: N818  an answer, not a fault
    """Nothing stands at a path; the message says how far it goes."""


class Place(NamedTuple):
    """What a path leads to."""

    kind: Kind
    """That is declared there."""
    steps: tuple[Any, ...]
    """To it: attributes of records, keys, positions."""
    value: Any
    """Part of the state; `msgspec.UNSET` where a key isn't there yet."""


def find(kind: Kind, root: Any, text: str) -> Place:
    """What stands at a path.

    Args:
        kind: of the root.
        root: of the state; a view or an update holds it still.
        text: the path.

    Raises:
        NoSuchPath: nothing stands there.
    """
    place = locate(kind, root, text)
    if place.value is msgspec.UNSET:
        raise NoSuchPath(f"there is nothing at {text}")
    return place


def locate(kind: Kind, root: Any, text: str) -> Place:
    """Where a value would stand: as `find`, but the last step may be a key that isn't there yet.

    Raises:
        NoSuchPath: what it would stand in isn't there, or has no such place.
    """
    value, steps = root, tuple[Any, ...]()
    texts = parse_path(text)
    for number, exact in enumerate(_exact(texts), 1):
        if value is msgspec.UNSET:
            raise NoSuchPath(f"there is nothing at /{'/'.join(texts[: number - 1])}")
        found = _down(kind.member(value), value, exact)
        if found is None:
            raise NoSuchPath(f"there is nothing at /{'/'.join(texts[:number])}")
        kind, step, value = found
        steps = (*steps, step)
    return Place(kind, steps, value)


def _exact(texts: list[str]) -> Iterator[Exact]:
    for text in texts:
        # A wildcard means nothing here: it is the key that it looks like.
        (step,) = Pattern.parse(text.replace("~", "~0").replace("/", "~1")).steps or ("",)
        yield step if isinstance(step, Exact) else Exact(text, frozenset({text}))


def _down(kind: Kind, value: Any, exact: Exact) -> tuple[Kind, Any, Any] | None:
    if isinstance(kind, RecordKind):
        field = kind.by_encode_name.get(exact.text)
        return (field.kind, field.name, getattr(value, field.name)) if field else None
    if isinstance(kind, ListKind):
        positions = [each for each in exact.meanings if type(each) is int]
        if positions and 0 <= positions[0] < len(value):
            return kind.item, positions[0], value[positions[0]]
        return None
    return _key(kind, value, exact) if isinstance(kind, DictKind) else None


def _key(kind: DictKind, value: Any, exact: Exact) -> tuple[Kind, Any, Any] | None:
    absent = None
    # The text itself first: it is what most keys are.
    for meaning in (exact.text, *(exact.meanings - {exact.text})):
        try:
            key = kind.key.key_of(meaning)
        except ValidationError:
            continue
        if key in value:
            return kind.value, key, value[key]
        if absent is None:
            absent = kind.value, key, msgspec.UNSET
    return absent


def put(draft: Any, place: Place, value: Any) -> None:
    """Set what a path leads to, in an update.

    Args:
        draft: of the root.
        place: what `locate` gave for the state that the draft is of; not the root itself.
        value: of the declared type.

    Raises:
        UsageError: it is the root.
        ValidationError: the value isn't what is declared.
    """
    if not place.steps:
        raise UsageError("the root can't be replaced as a whole: set what is in it")
    *way, last = place.steps
    node = draft
    for step in way:
        node = getattr(node, step) if _is_field(node, step) else node[step]
    if _is_field(node, last):
        setattr(node, last, value)
    else:
        node[last] = value


def _is_field(node: Any, step: Any) -> bool:
    return isinstance(node, msgspec.Struct) and isinstance(step, str)
