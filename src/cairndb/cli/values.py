r"""Stored values and paths as people and scripts read and write them, without the application.

A stored value is MessagePack; its declared type isn't known here. As JSON it is what it looks like,
and where JSON has no such thing:

    bytes                   {"$bytes": "base64"}
    inf, -inf, nan          {"$float": "inf"}
    a moment                its ISO 8601 text
    a key that's no text    its JSON as text: 17 -> "17", (1, "a") -> "[1,\"a\"]"
    keys equal as text      {"$items": [[key, value], ...]}: 17 and "17" in one dict
    a set or tuple          an array

A path is its steps joined by `/`, `/` itself the root. In a step `~1` is a slash and `~0` a tilde
(RFC 6901). In a dict a step means the text key; if there is none, the key whose JSON it is: `/17`
finds 17 where "17" isn't a key, and `/""` the empty text at the root. In an array it is a position,
from the end if negative.

Values are walked one level at a time: what isn't shown isn't decoded.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, Final

from msgspec.msgpack import Ext

from cairndb import codec

if TYPE_CHECKING:
    from msgspec import Raw

# Characters that a terminal would obey, or that break lines, though JSON lets them through.
_ESCAPES: Final = {
    code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F))
}

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


def to_json(value: Any) -> Any:  # noqa: PLR0911  a table
    """A decoded value as what `json.dumps` takes, by the table above."""
    match value:
        case dict():
            keys = [key if isinstance(key, str) else dumps(to_json(key)) for key in value]
            if len(set(keys)) < len(keys):
                return {"$items": [[to_json(key), to_json(item)] for key, item in value.items()]}
            return {key: to_json(item) for key, item in zip(keys, value.values(), strict=True)}
        case list() | tuple():
            return [to_json(item) for item in value]
        case bytes():
            return {"$bytes": base64.b64encode(value).decode()}
        case float() if not math.isfinite(value):
            return {"$float": str(value)}
        case datetime() | date() | time():
            return value.isoformat()
        case Ext():
            return {"$extension": value.code, **to_json(bytes(value.data))}
        case _:
            return value


def from_json(value: Any) -> Any:
    """The value that a JSON text stands for: `to_json` the other way, for what it marks with `$`.

    Raises:
        ValueError: a marked object whose content isn't what the mark says.
    """
    match value:
        case {"$bytes": str(text)} if len(value) == 1:
            try:
                return base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise ValueError(f"$bytes must be base64: {error}") from None
        case {"$float": "inf" | "-inf" | "nan" as text} if len(value) == 1:
            return float(text)
        case {"$items": list(pairs)} if len(value) == 1:
            return {_key(key): from_json(item) for key, item in pairs}
        case dict():
            return {key: from_json(item) for key, item in value.items()}
        case list():
            return [from_json(item) for item in value]
        case _:
            return value


def _key(value: Any) -> Any:
    key = from_json(value)
    return tuple(_key(item) for item in key) if isinstance(key, list) else key


def dumps(value: Any, *, indent: int | None = None) -> str:
    """JSON text that is safe on a terminal and stays on its line."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    return text.translate(_ESCAPES)


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


def step_text(step: Any) -> str:
    """A key or position as a step of a path, so that it can be put back into one."""
    text = to_json(step)
    # Text that wouldn't stay on its line, or would be taken for nothing, is shown as its JSON.
    if not isinstance(text, str) or not text or not text.isprintable():
        text = dumps(text)
    return text.replace("~", "~0").replace("/", "~1")


def path_text(path: Any) -> str:
    """A path as it is given on the command line."""
    return "/" + "/".join(step_text(step) for step in path)


def parse_path(text: str) -> list[str]:
    """The steps of a path as given, not yet known to mean text or a number."""
    rest = text.removeprefix("/")
    if not rest:
        return []
    return [step.replace("~1", "/").replace("~0", "~") for step in rest.split("/")]


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
        meant = _key(json.loads(step))
        if meant in level:
            return meant
    except (ValueError, TypeError, RecursionError):  # no JSON, or nothing that can be a key
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
