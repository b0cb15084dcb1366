"""What a file says of itself at its beginning: which kind it is, and which one.

    header  = magic[8] version:u32 length:u32 map[length] check:u32, zeros to a multiple of 4096

Integers are little-endian, and the checksum is zlib's CRC-32 of all before it. The header fills
whole blocks of 4096: no write of a frame touches a sector of it.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from zlib import crc32

import msgspec
from msgspec import Meta

from cairndb.errors import CairnError, CorruptError
from cairndb.frame import CHUNK_BYTES

if TYPE_CHECKING:
    from cairndb.frame import Read

VERSION = 1
MAGIC_BYTES = 8
HEADER_ALIGNMENT = 4096
HEADER_BYTES_MAX = 1 << 26

# What a header can say, so that whatever is counted on from there stays within 64 bits, and every
# moment is one that can be shown.
Counted = Annotated[int, Meta(ge=1, le=1 << 62)]
Offset = Annotated[int, Meta(ge=0, le=1 << 62, multiple_of=8)]
Checksum = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
Nonce = Annotated[bytes, Meta(min_length=16, max_length=16)]
NonceOrNone = Annotated[bytes, Meta(max_length=16)]
Moment = Annotated[int, Meta(ge=-62_135_596_800_000_000, le=253_402_300_799_000_000)]

HeaderType = TypeVar("HeaderType")

_PREAMBLE = Struct("<8sII")
_CHECK = Struct("<I")


def encode_header(magic: bytes, header: msgspec.Struct) -> bytes:
    """The first bytes of a file.

    Args:
        magic: which kind of file.
        header: what it says of itself.

    Returns:
        A multiple of 4096 bytes.
    """
    fields = msgspec.msgpack.encode(header)
    data = _PREAMBLE.pack(magic, VERSION, len(fields)) + fields
    data += _CHECK.pack(crc32(data))
    return data + bytes(-len(data) % HEADER_ALIGNMENT)


def decode_header(
    magic: bytes, kind: type[HeaderType], read: Read, path: str
) -> tuple[HeaderType, int]:
    """Read and check the header of a file.

    Args:
        magic: which kind of file it must be.
        kind: the type of the header.
        read: reads from the file: (offset, length).
        path: of the file, for messages.

    Returns:
        The header, and where the frames begin.

    Raises:
        CorruptError: it isn't what was written.
        CairnError: a later version of cairndb wrote it.
    """
    data = read(0, HEADER_ALIGNMENT)
    if len(data) < _PREAMBLE.size or data[:MAGIC_BYTES] != magic:
        raise CorruptError(path, 0, f"the file doesn't begin with {magic!r}")
    _, version, length = _PREAMBLE.unpack_from(data)
    end = _PREAMBLE.size + length
    if length > HEADER_BYTES_MAX:
        raise CorruptError(path, 12, f"the header says that it is {length} bytes long")
    # In pieces, so that a length that isn't true takes no more memory than there is file.
    while end + 4 > len(data) and (more := read(len(data), min(CHUNK_BYTES, end + 4 - len(data)))):
        data += more
    if len(data) < end + 4 or _CHECK.unpack_from(data, end)[0] != crc32(data[:end]):
        raise CorruptError(path, 0, "the header's checksum is wrong")
    if version != VERSION:
        raise CairnError(
            f"{path} has format version {version}, and this cairndb reads version {VERSION}; "
            "open it with the cairndb that wrote it, or a later one"
        )
    try:
        header = msgspec.msgpack.decode(data[_PREAMBLE.size : end], type=kind)
    except (ValueError, RecursionError) as error:
        raise CorruptError(path, _PREAMBLE.size, f"the header can't be read: {error}") from error
    return header, end + 4 + -(end + 4) % HEADER_ALIGNMENT


def header_bytes(read: Read) -> int:
    """How long the header of a file is without its padding; `decode_header` has found it good."""
    length: int = _PREAMBLE.unpack(read(0, _PREAMBLE.size))[2]
    return _PREAMBLE.size + length + 4


def plain_header(header: Any) -> dict[str, Any]:
    """A header as a person or a tool wants to see it: field names to plain values."""
    fields: dict[str, Any] = msgspec.to_builtins(header, builtin_types=(bytes,))
    return {
        name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()
    }
