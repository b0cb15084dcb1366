"""MessagePack as cairndb writes it: one encoder, and decoders that open one level.

Everything on disk above a frame is MessagePack by msgspec, and canonical: equal states have equal
bytes. What makes it so: record fields in the order of their declaration, all of them; integers and
headers as short as they go; floats always 64 bits; dicts in their order; sets sorted by the bytes
of their elements. msgspec does all of this but the sets, so kinds that contain sets are rewritten
before they are encoded (`Kind.prepare`): the list that `sorted_elements` makes stands for the set.

The smallest piece of history, `Operation`, is here since both folds, typed and untyped, apply it;
what the codes mean is said in `patch`.

`msgspec.Raw` is a value left encoded. A decoder of `dict[Any, Raw]` opens one level of a map and
copies nothing: its Raws are windows on the whole message, which they keep alive; `Raw.copy` cuts
one loose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SET, DELETE, SPLICE, ADD, DISCARD, MERGE, BARRIER, REQUEST, SESSION, EXPIRED = range(10)
DEPTH_MAX = 100
"""How many steps below the root a value may reach, see `kinds_base`."""


class Operation(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, gc=False):
    """One change, as it is stored.

    Args:
        code: SET, DELETE, SPLICE, ADD, DISCARD, MERGE, BARRIER, REQUEST, SESSION or EXPIRED.
        path: the steps from the root.
        argument: encoded; what it is depends on the code.

    The collector doesn't look at it, which saves a fifth of decoding: nothing in it leads back.
    """

    code: int
    path: list[Any]
    argument: Raw


_ENCODER = msgspec.msgpack.Encoder()
_MAP = msgspec.msgpack.Decoder(dict[Any, Raw])
_LIST = msgspec.msgpack.Decoder(list[Raw])
_ANY = msgspec.msgpack.Decoder()

encode = _ENCODER.encode
"""The bytes of a value of builtins, Records and Raws, in one call of C."""

NIL = Raw(b"\xc0")


def barrier_error() -> ValueError:
    """The error of a fold that meets a BARRIER: only its checkpoint leads over it."""
    return ValueError(
        "the state of this LSN is in its checkpoint, which is missing or damaged: "
        "there is a state before it, and none after"
    )


def decode(data: bytes | Raw) -> Any:
    """A value as builtins, without any declaration. Raises ValueError for malformed bytes."""
    return _ANY.decode(data)


def open_map(data: bytes | Raw) -> dict[Any, Raw]:
    """One level of a map: its keys decoded, its values left encoded. Raises ValueError."""
    return _MAP.decode(data)


def open_list(data: bytes | Raw) -> list[Raw]:
    """One level of an array: its elements left encoded. Raises ValueError."""
    return _LIST.decode(data)


def open_splice(argument: bytes | Raw, limit: int) -> tuple[int, int, Raw]:
    """Start, delete_count and encoded values of a SPLICE.

    Args:
        argument: of the operation.
        limit: how many elements the list has, up to the splice before this one.

    Raises:
        ValueError: no correct writer made this.
    """
    parts = open_list(argument)
    if len(parts) != 3:
        raise ValueError("the argument of a SPLICE is [start, delete_count, values]")
    start, count = decode(parts[0]), decode(parts[1])
    if type(start) is not int or type(count) is not int:
        raise ValueError("start and delete_count of a SPLICE are ints")
    if start < 0 or count < 0 or start + count > limit:
        raise ValueError(f"a SPLICE of {count} elements at {start}, where {limit} are left")
    return start, count, parts[2]


def _first(data: bytes | Raw) -> int:
    view = memoryview(data)
    return view[0] if view else 0xC1  # which MessagePack never uses


def check_depth(path: Sequence[Any]) -> None:
    """Refuse, with ValueError, a path into depths that no value may have.

    A state could else be built up, step by step, that is too deep to be walked.
    """
    if len(path) > DEPTH_MAX:
        raise ValueError(f"a path of {len(path)} steps")


def is_map(data: bytes | Raw) -> bool:
    """Whether encoded bytes are a map (a record, a dict, or a frozen class)."""
    first = _first(data)
    return first & 0xF0 == 0x80 or first in (0xDE, 0xDF)


def is_array(data: bytes | Raw) -> bool:
    """Whether encoded bytes are an array (a list, a set or a tuple)."""
    first = _first(data)
    return first & 0xF0 == 0x90 or first in (0xDC, 0xDD)


def header_count(data: bytes | Raw) -> int:
    """How many pairs or elements the header of a map or an array announces."""
    view = memoryview(data)
    first = view[0]
    if first < 0xA0:
        return first & 0x0F
    return int.from_bytes(view[1:3] if first in (0xDC, 0xDE) else view[1:5], "big")


def as_array(payload: bytes, count: int) -> bytes:
    """Values that stand concatenated, made one array by a header in its longest form."""
    return b"\xdd" + count.to_bytes(4, "big") + payload


def sorted_elements(elements: Iterable[Any]) -> list[Raw]:
    """The elements of a set in canonical order, each left encoded."""
    return [Raw(data) for data in sorted(map(encode, elements))]


def stored_key(container: Any, key: Any, default: Any = None) -> Any:
    """The object that a dict or set holds for a key, where equal isn't the same (1, 1.0, True).

    Args:
        container: a dict or a set.
        key: hashable.
        default: what to return if nothing equal is there.
    """
    probe = _Probe(key)
    return probe.found if probe in container else default


class _Probe:
    """Stands for a key in a lookup, and remembers what it was compared with: one lookup in C."""

    __slots__ = ("found", "key")

    def __init__(self, key: Any) -> None:
        self.key = key
        self.found: Any = None

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        if self.key == other:
            self.found = other
            return True
        return False
