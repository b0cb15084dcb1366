"""What client and server both know of the bytes between them, but for the Redis protocol itself.

`CAIRN.RUN name arguments [ONCE born nonce sequence first_incomplete]` is what the Python client
sends: `arguments` is a MessagePack map by names. It is answered by one bulk string, a MessagePack
array, `Reply`: typed values come through as they do to disk, and an error as its class, so that it
can be raised as what it was. `FCALL` does the same for people and for other languages.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

RUN = "CAIRN.RUN"
SESSION = "CAIRN.SESSION"
GET = "CAIRN.GET"
SET = "CAIRN.SET"
WATCH = "CAIRN.WATCH"
TAIL = "CAIRN.TAIL"


class Failure(Struct, array_like=True, frozen=True):
    """An exception, as it travels.

    Args:
        module: of its class.
        name: of its class, qualified.
        arguments: of the exception, as plain data; None if they can't be had as such.
        message: its text.
    """

    module: str
    name: str
    arguments: list[Any] | None
    message: str


class Reply(Struct, array_like=True, frozen=True):
    """The answer to `CAIRN.RUN`.

    Args:
        lsn: that the answer is based on; durable by now.
        running: the running checksum of the log there.
        result: encoded, if there is no failure.
        failure: what was raised.
    """

    lsn: int
    running: int
    result: Raw
    failure: Failure | None = None
