"""An account as bytes, for stores that keep bytes: MessagePack, the quickest way that msgspec has.

Fields are told by their place, and the garbage collector doesn't look at what is decoded.
"""

import msgspec

from contenders.work import key_of, owner_of, tags_of


class PackedAccount(msgspec.Struct, array_like=True, gc=False):
    """An account between bytes and bytes."""

    owner: str
    balance: int
    tags: list[str]


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(PackedAccount).decode


def packed(number: int) -> tuple[bytes, bytes]:
    """The key and the value of a new account."""
    return key_of(number).encode(), encode(PackedAccount(owner_of(number), 100, tags_of(number)))
