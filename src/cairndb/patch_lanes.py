"""What can be known beforehand of the changes that most updates make.

A *lane* is a dict that is a field of the root, as in /accounts/<key> and, if it is one of records,
/accounts/<key>/<field>. Its keys are plain, so that `key_of` changes and refuses nothing; of the
records' fields those count whose decoded values are finished. Everything else, and everything
wrong, is left to the general way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from cairndb.codec import SET
from cairndb.frame_header import Moment
from cairndb.kinds import DictKind, Kind, RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Raw


class LaneField(NamedTuple):
    """A field of the records of a lane."""

    name: str
    """The attribute."""
    annotation: Any
    """Its type, as msgspec takes it."""
    decode: Callable[[Raw], Any]


class Lane(NamedTuple):
    """A dict that is a field of the root."""

    name: str
    """The root's attribute."""
    key: type
    """Of the keys: str or int."""
    decode: Callable[[Raw], Any]
    """Of its values."""
    fields: dict[str, LaneField]
    """Of its values, if they are records, by stored name."""


def lanes_of(root: Kind) -> dict[str, Lane]:
    """The lanes of a root, by the stored names of its fields."""
    lanes: dict[str, Lane] = {}
    for field in root.fields.values() if type(root) is RecordKind else ():
        kind = field.kind
        if type(kind) is DictKind:
            key, value = kind.key.annotation, kind.value
            if key is str or key is int:
                fields = _fields_of(value) if type(value) is RecordKind else {}
                lanes[field.encode_name] = Lane(field.name, key, value.decode, fields)
    return lanes


def _fields_of(kind: RecordKind) -> dict[str, LaneField]:
    fields = {}
    for name, encode_name, each in kind.fields.values():
        if not each.must_finish:
            decoder = msgspec.msgpack.Decoder(each.annotation)
            fields[encode_name] = LaneField(name, each.annotation, decoder.decode)
    return fields


def batch_decoder(first: str, lane: Lane, last: str) -> Callable[[bytes], list[Any]]:
    """A decoder of entries that all set one field of a lane, and do nothing else.

    In one call of C each entry is checked to be that, and its value is decoded and judged.

    Args:
        first: the stored name of the root's field.
        lane: that it is.
        last: the stored name of the records' field.

    Returns:
        From an array of entries, as bytes, to objects with the attributes of an `Entry`; the path
        has `key`. Raises ValueError if any of them is something else.
    """
    path = _array("Path", first=Literal[first], key=lane.key, last=Literal[last])
    argument = lane.fields[last].annotation
    operation: Any = _array("Operation", code=Literal[SET], path=path, argument=argument)
    entry: Any = msgspec.defstruct(
        "Entry",
        [
            ("time", Moment),
            ("operations", tuple[operation]),
            ("call", tuple[str, list[Any], dict[str, Any]] | None, None),
        ],
        array_like=True,
        forbid_unknown_fields=True,
        frozen=True,
        gc=False,
    )
    return msgspec.msgpack.Decoder(list[entry]).decode


def _array(name: str, **fields: Any) -> Any:
    return msgspec.defstruct(
        name,
        list(fields.items()),
        array_like=True,
        forbid_unknown_fields=True,
        frozen=True,
        gc=False,
    )
