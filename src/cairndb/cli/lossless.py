"""Values as JSON such that they come back with the same bytes: what an export is made of.

It goes further than `values`, which is for reading: JSON's own null, true, numbers, text, arrays
and objects stand for themselves, and whatever they can't express is an object with one key that
begins with `$`:

    bytes                    {"$bytes": "base64"}
    inf, -inf, nan           {"$float": "inf"}; another NaN than Python's: {"$float": "nan:bits"}
    a moment, if aware       {"$datetime": "2025-01-01T12:00:00+00:00"}
    a dict that no object    {"$items": [[key, value], ...]}: keys that aren't text, or begin with $
      can stand for
    an extension             {"$extension": 1, "$bytes": "base64"}

An int is written without, a float with a point or an exponent. All else that cairndb keeps is one
of these in its bytes already (a UUID is text, a set an array); the schema tells them apart.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from datetime import datetime
from typing import Any, Final

from msgspec.msgpack import Ext

_ESCAPE: Final = "$"
_NAN_BITS: Final = struct.pack(">d", math.nan)


def fits_object(value: dict[Any, Any]) -> bool:
    """Whether a JSON object can stand for a dict: all keys are text that isn't taken for a mark."""
    return all(type(key) is str and key[:1] != _ESCAPE for key in value)


def to_exact(value: Any) -> Any:  # noqa: PLR0911  a table
    """A decoded value as what `json.dumps` takes, by the table above."""
    match value:
        case dict():
            if fits_object(value):
                return {key: to_exact(item) for key, item in value.items()}
            return {"$items": [[to_exact(key), to_exact(item)] for key, item in value.items()]}
        case list() | tuple():
            return [to_exact(item) for item in value]
        case bytes():
            return {"$bytes": base64.b64encode(value).decode()}
        case float() if not math.isfinite(value):
            bits = struct.pack(">d", value)
            plain = not math.isnan(value) or bits == _NAN_BITS
            return {"$float": str(value) if plain else f"nan:{bits.hex()}"}
        case datetime():
            return {"$datetime": value.isoformat()}
        case Ext():
            return {"$extension": value.code, **to_exact(bytes(value.data))}
        case _:
            return value


def from_exact(value: Any) -> Any:
    """The value that JSON of an export stands for: `to_exact` the other way.

    Raises:
        ValueError: an object with a key that begins with `$` isn't one of the table.
    """
    if isinstance(value, list):
        return [from_exact(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not any(key[:1] == _ESCAPE for key in value):
        return {key: from_exact(item) for key, item in value.items()}
    try:
        return _escaped(value)
    except (binascii.Error, struct.error, ValueError, TypeError) as error:
        shown = json.dumps(value)
        raise ValueError(
            f"{shown:.100} isn't a value that an export has ({error}): an object whose keys "
            'begin with $ is written {"$items": [[key, value]]}'
        ) from None


def _escaped(value: dict[str, Any]) -> Any:
    match value:
        case {"$bytes": str(text), **rest} if rest.keys() <= {"$extension"}:
            data = base64.b64decode(text, validate=True)
            return Ext(rest["$extension"], data) if rest else data
        case {"$float": "inf" | "-inf" | "nan" as text} if len(value) == 1:
            return float(text)
        case {"$float": str(text)} if len(value) == 1 and text.startswith("nan:"):
            return struct.unpack(">d", bytes.fromhex(text.removeprefix("nan:")))[0]
        case {"$datetime": str(text)} if len(value) == 1:
            return _moment(text)
        case {"$items": list(pairs)} if len(value) == 1:
            found = {exact_key(key): from_exact(item) for key, item in pairs}
            if len(found) < len(pairs):
                raise ValueError("a key twice")
            return found
        case _:
            raise ValueError("none of $bytes, $float, $datetime, $items")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment needs an offset, as +00:00")
    return moment


def exact_key(value: Any) -> Any:
    """A key that JSON of an export stands for: an array is a tuple.

    Raises:
        ValueError: it stands for nothing, or for what can't be a key.
    """
    if isinstance(value, list):
        return tuple(exact_key(item) for item in value)
    key = from_exact(value)
    if isinstance(key, dict):
        raise ValueError("a dict can't be a key")  # noqa: TRY004  a fault of a file
    return key
