"""Stored values and paths as people and scripts look into them, without the application.

How they are written as text is ruled in `notation`. In a dict a step of a path means the text key;
if there is none, the key whose JSON it is: `/17` finds 17 where "17" isn't a key, and `/""` the
empty text at the root. In an array it is a position, from the end if negative.

Values are walked one level at a time: what isn't shown isn't decoded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cairndb import codec
from cairndb.notation import (
    dumps,
    from_json,
    key_from_text,
    parse_path,
    path_text,
    step_text,
    to_json,
)

if TYPE_CHECKING:
    from msgspec import Raw

__all__ = [
    "NoSuchPath",
    "brief",
    "children",
    "dumps",
    "find",
    "find_step",
    "from_json",
    "kind_of",
    "parse_path",
    "path_text",
    "shape",
    "step_text",
    "to_json",
]

Level = dict[Any, "Raw"] | list["Raw"]


class NoSuchPath(Exception):  # noqa: N818  an answer, not a fault
    """Nothing stands at a path; the message says how far it goes.

    Args:
        message: for people.
        where: the path as far as it goes.
        below: whether there is anything to list below that.
    """

    def __init__(self, message: str, where: str, *, below: bool) -> None:
        super().__init__(message)
        self.where = where
        self.below = below


def brief(raw: Raw | bytes, length: int) -> str:
    """A value on one line of at most `length` characters; of a long one, the beginning."""
    if len(memoryview(raw)) > 64 * length and (outline := shape(raw)):
        return outline
    text = dumps(to_json(codec.decode(raw)))
    return text if len(text) <= length else text[: max(length - 1, 1)] + "…"


def children(raw: Raw | bytes) -> Level | None:
    """What stands directly below: by key or by position; None if it is a value of one piece."""
    if codec.is_map(raw):
        return codec.open_map(raw)
    return codec.open_list(raw) if codec.is_array(raw) else None


def kind_of(raw: Raw | bytes) -> str:
    """What MessagePack says that a value is: `dict`, `array`, or `value`."""
    if codec.is_map(raw):
        return "dict"
    return "array" if codec.is_array(raw) else "value"


def shape(raw: Raw | bytes) -> str:
    """A dict as `{3}`, an array as `[3]`; nothing for a value."""
    if codec.is_map(raw):
        return f"{{{codec.header_count(raw):,}}}"
    return f"[{codec.header_count(raw):,}]" if codec.is_array(raw) else ""


def find_step(level: Level, step: str) -> Any:
    """The key or position in `level` that a step of a path means.

    Raises:
        KeyError: nothing there.
    """
    if isinstance(level, list):
        if re.fullmatch(r"-?\d{1,18}", step) and -len(level) <= int(step) < len(level):
            return int(step) % len(level)
        raise KeyError(step)
    if step in level:
        return step
    try:
        meant = key_from_text(step)
        if meant in level:
            return meant
    except ValueError:
        pass
    for key in level:  # what has no JSON of its own: a moment as a key
        if not isinstance(key, str) and to_json(key) == step:
            return key
    raise KeyError(step)


def find(raw: Raw | bytes, path: list[str]) -> tuple[list[Any], Raw | bytes]:
    """What stands at a path.

    Returns:
        The path with keys as they are stored, and the value's bytes.

    Raises:
        NoSuchPath: nothing there.
    """
    found: list[Any] = []
    for step in path:
        level = children(raw)
        if level is None:
            where = path_text(found)
            raise NoSuchPath(f"{where} is a value, nothing is below it", where, below=False)
        try:
            key = find_step(level, step)
        except KeyError:
            count = f"it has {len(level):,}" if level else "it is empty"
            name = "position" if isinstance(level, list) else "key"
            where, lacking = path_text(found), f"{step_text(step):.100}"
            raise NoSuchPath(
                f"{where} has no {name} {lacking}; {count}", where, below=True
            ) from None
        found.append(key)
        raw = level[key]
    return found, raw
