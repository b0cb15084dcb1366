r"""Stored values and paths as text, without any declaration.

A stored value is MessagePack; its declared type isn't known here. As JSON it is what it looks like,
and where JSON has no such thing:

    bytes                   {"$bytes": "base64"}
    inf, -inf, nan          {"$float": "inf"}
    a moment                its ISO 8601 text
    a key that's no text    its JSON as text: 17 -> "17", (1, "a") -> "[1,\"a\"]"
    keys equal as text      {"$items": [[key, value], ...]}: 17 and "17" in one dict
    a set or tuple          an array

A path is its steps joined by `/`, `/` itself the root. In a step `~1` is a slash and `~0` a tilde
(RFC 6901). A step is a text key as it is, or the JSON of a key that isn't text. What a pattern
would take for a wildcard is shown as its JSON, too: a key `*` as `"*"`.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from datetime import date, datetime, time
from typing import Any, Final

from msgspec.msgpack import Ext

# Characters that a terminal would obey, or that break lines, though JSON lets them through.
_ESCAPES: Final = {
    code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F))
}

WILDCARDS: Final = ("*", "**")
"""Steps of a pattern that stand for others, see `pattern`."""


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


def key_from_text(text: str) -> Any:
    """The key whose JSON a step is.

    Raises:
        ValueError: it is no JSON, or nothing that can be a key.
    """
    try:
        key = _key(json.loads(text))
        hash(key)
    except (TypeError, RecursionError):
        raise ValueError(f"{text!r:.100} can't be a key") from None
    return key


def step_text(step: Any) -> str:
    """A key or position as a step of a path, so that it can be put back into one."""
    text = to_json(step)
    # Text that wouldn't stay on its line, or would be taken for something else, is shown as its
    # JSON.
    if not isinstance(text, str) or not text or not text.isprintable() or text in WILDCARDS:
        text = dumps(text)
    return escape(text)


def escape(text: str) -> str:
    """Text as a step of a path."""
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
