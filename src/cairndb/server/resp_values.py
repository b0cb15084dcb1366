"""Values as replies of the Redis protocol, version 2 or 3.

    None             null
    bool             boolean; in version 2 the integer 1 or 0
    int              integer; beyond 64 bits a big number, in version 2 a text
    float            double; in version 2 a text
    str, bytes       text (a "bulk string")
    list, tuple      array
    set, frozenset   set; in version 2 an array
    dict             map; in version 2 an array of each key and its value in turn
    Record, Struct   map of the fields by their names, as they are stored
    the rest         what JSON would have: dates, UUID and Decimal as text, an Enum's value

An error is one line, whatever its message has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

OK: Final = b"+OK\r\n"
NULL: Final = {2: b"$-1\r\n", 3: b"_\r\n"}
_INTEGER_MAX: Final = 2**63 - 1
_INTEGER_MIN: Final = -(2**63)
_ERROR_CHARACTERS: Final = 2000
_BREAKS: Final = str.maketrans({"\r": " ", "\n": " "})


class Status(str):
    """A short text of our own, without a line break: where clients expect it as a status."""

    __slots__ = ()


def error(code: str, message: str) -> bytes:
    """An error: a word that programs look at, and what people read."""
    line = f"{code} {message}".translate(_BREAKS)[:_ERROR_CHARACTERS]
    return b"-%s\r\n" % line.encode(errors="backslashreplace")


def text(value: bytes) -> bytes:
    """A text of any bytes."""
    return b"$%d\r\n%s\r\n" % (len(value), value)


def push(values: Collection[Any]) -> bytes:
    """A message that answers no command; of version 3 only."""
    return b">%d\r\n%s" % (len(values), b"".join(encoded(value, 3) for value in values))


def encoded(value: Any, protocol: int) -> bytes:
    """A value as a reply.

    Args:
        value: of the kinds that the state can have, also together.
        protocol: 2 or 3.

    Raises:
        TypeError: it is something else.
    """
    if value is None:
        return NULL[protocol]
    parts: list[bytes] = []
    _append(value, protocol, parts)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _append(value: Any, protocol: int, parts: list[bytes]) -> None:
    write = _WRITERS.get(type(value))
    if write is None:
        write = _writer_of(value)
    write(value, protocol, parts)


def _none(_value: None, protocol: int, parts: list[bytes]) -> None:
    parts.append(NULL[protocol])


def _bool(value: bool, protocol: int, parts: list[bytes]) -> None:  # noqa: FBT001  a value
    if protocol == 3:
        parts.append(b"#t\r\n" if value else b"#f\r\n")
    else:
        parts.append(b":%d\r\n" % value)


def _int(value: int, protocol: int, parts: list[bytes]) -> None:
    if _INTEGER_MIN <= value <= _INTEGER_MAX:
        parts.append(b":%d\r\n" % value)
    elif protocol == 3:
        parts.append(b"(%d\r\n" % value)
    else:
        parts.append(text(b"%d" % value))


def _float(value: float, protocol: int, parts: list[bytes]) -> None:
    shown = repr(value).encode()
    parts.append(b",%s\r\n" % shown if protocol == 3 else text(shown))


def _str(value: str, _protocol: int, parts: list[bytes]) -> None:
    parts.append(text(value.encode(errors="backslashreplace")))


def _status(value: Status, _protocol: int, parts: list[bytes]) -> None:
    parts.append(b"+%s\r\n" % value.encode())


def _bytes(value: bytes, _protocol: int, parts: list[bytes]) -> None:
    parts.append(text(bytes(value)))


def _array(value: Collection[Any], protocol: int, parts: list[bytes]) -> None:
    parts.append(b"*%d\r\n" % len(value))
    for each in value:
        _append(each, protocol, parts)


def _set(value: Collection[Any], protocol: int, parts: list[bytes]) -> None:
    parts.append((b"~%d\r\n" if protocol == 3 else b"*%d\r\n") % len(value))
    for each in value:
        _append(each, protocol, parts)


def _map(value: dict[Any, Any], protocol: int, parts: list[bytes]) -> None:
    parts.append(b"%%%d\r\n" % len(value) if protocol == 3 else b"*%d\r\n" % (2 * len(value)))
    for key, each in value.items():
        _append(key, protocol, parts)
        _append(each, protocol, parts)


def _struct(value: Struct, protocol: int, parts: list[bytes]) -> None:
    configuration = value.__struct_config__
    fields = {}
    if configuration.tag is not None and configuration.tag_field is not None:
        fields[configuration.tag_field] = configuration.tag
    names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
    _map(fields | {name: getattr(value, field) for name, field in names}, protocol, parts)


def _other(value: Any, protocol: int, parts: list[bytes]) -> None:
    plain = msgspec.to_builtins(value, builtin_types=(bytes,), str_keys=False)
    if type(plain) not in _WRITERS:
        raise TypeError(f"a {type(value).__name__} can't be sent")
    _append(plain, protocol, parts)


_WRITERS: Final[dict[type, Callable[[Any, int, list[bytes]], None]]] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    Status: _status,
    bytes: _bytes,
    list: _array,
    tuple: _array,
    set: _set,
    frozenset: _set,
    dict: _map,
}


def _writer_of(value: Any) -> Callable[[Any, int, list[bytes]], None]:
    if isinstance(value, Struct):
        return _struct
    if isinstance(value, bytearray | memoryview):
        return _bytes
    for base in (list, tuple, set, frozenset, dict):  # the guarded ones of the state
        if isinstance(value, base):
            return _WRITERS[base]
    return _other
