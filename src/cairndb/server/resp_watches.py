"""The commands that have messages sent as the state changes.

CAIRN.WATCH sends each item of a watch as a message of version 3 of the protocol, which has them
beside replies: the words `cairn.watch`, the pattern, the position to go on from, and the item as
JSON. One that ends by an error sends `cairn.unwatch`, the pattern and why.

SUBSCRIBE and PSUBSCRIBE are the same for every client that has Redis's Pub/Sub, in version 2 too:
the channel is the pattern, and the message the item as JSON; `{"kind":"failed"}` is the last one.

The state isn't looked at here: items come from the log, as far as that is promised.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from cairndb.errors import CairnError, UsageError
from cairndb.notation import dumps
from cairndb.server import resp_values as values
from cairndb.server.resp_errors import error_reply
from cairndb.server.resp_table import word
from cairndb.service_access import require_read
from cairndb.watch_json import item_json
from cairndb.watch_start import Wish

if TYPE_CHECKING:
    from cairndb.server.resp_connection import Connection, Slot, StreamName
    from cairndb.watch_tasks import AsyncWatch

_BOOKMARK_SECONDS: Final = 15.0
_WATCH: Final = "CAIRN.WATCH"


class _Form(Struct, frozen=True):
    """How a stream's messages look.

    Args:
        words: before what a message is about.
        has_position: whether the position follows them.
        ending: words of the last message, if it isn't one like the others.
    """

    words: tuple[str, ...]
    has_position: bool = False
    ending: tuple[str, ...] = ()

    def message(self, item: dict[str, Any]) -> list[str]:
        """What an item is told by."""
        position = [item["position"]] if self.has_position else []
        return [*self.words, *position, dumps(item)]

    def last(self, error: CairnError) -> list[str]:
        """What tells why there will be no more."""
        why = f"{type(error).__name__}: {error}"
        if self.ending:
            return [*self.ending, why]
        return [*self.words, dumps({"kind": "failed", "error": why})]


def watch(connection: Connection, command: list[bytes]) -> None:
    """CAIRN.WATCH: tell what changes under a pattern, from now on or after a position."""
    if connection.protocol == 2:
        raise UsageError(
            "CAIRN.WATCH sends messages beside replies, which version 2 of the protocol can't "
            "tell apart: say HELLO 3 before, or SUBSCRIBE to the pattern"
        )
    pattern, since = word(command[1]), word(command[2]) if len(command) > 2 else None
    initial = since == "initial"
    wish = Wish(pattern, None if initial else since, initial, bookmarks=_BOOKMARK_SECONDS)
    form = _Form(("cairn.watch", pattern), has_position=True, ending=("cairn.unwatch", pattern))
    _begin(connection, _WATCH, wish, form, values.OK)


def unwatch(connection: Connection, command: list[bytes]) -> bytes:
    """CAIRN.UNWATCH: end the watch of a pattern, or all of them; how many is the reply."""
    names = _named(connection, _WATCH, command[1:])
    return values.encoded(sum(map(connection.end_stream, names)), connection.protocol)


def _named(connection: Connection, kind: str, patterns: list[bytes]) -> list[StreamName]:
    """The streams of some patterns; of none all that there are of a kind."""
    if patterns:
        return [(kind, word(pattern)) for pattern in patterns]
    return [name for name in connection.streams if name[0] == kind]


def subscribe(connection: Connection, command: list[bytes]) -> None:
    """SUBSCRIBE, PSUBSCRIBE: have what changes under each of some patterns as messages."""
    kind = word(command[0]).upper()
    for pattern in map(word, command[1:]):
        channels = (pattern, pattern) if kind == "PSUBSCRIBE" else (pattern,)
        form = _Form((kind.lower().replace("subscribe", "message"), *channels))
        is_new = (kind, pattern) not in connection.streams
        begun = [kind.lower(), pattern, connection.subscriptions() + is_new]
        _begin(connection, kind, Wish(pattern), form, _shown(connection, begun))


def unsubscribe(connection: Connection, command: list[bytes]) -> bytes:
    """UNSUBSCRIBE, PUNSUBSCRIBE: end those of some patterns, or all."""
    kind = word(command[0]).upper()
    replies = []
    for name in _named(connection, kind.replace("UN", "", 1), command[1:]):
        connection.end_stream(name)
        ended = [kind.lower(), name[1], connection.subscriptions()]
        replies.append(_shown(connection, ended))
    none = [kind.lower(), None, connection.subscriptions()]
    return b"".join(replies) or _shown(connection, none)


def _begin(connection: Connection, kind: str, wish: Wish, form: _Form, begun: bytes) -> None:
    require_read(connection.grant)
    server = connection.server
    server.check_room_for_watch()
    items = server.service.watch(wish)
    slot = connection.open_slot()
    stream = server.loop.create_task(_follow(connection, items, form, slot, begun))
    connection.add_stream((kind, wish.pattern), stream)


async def _follow(
    connection: Connection, items: AsyncWatch, form: _Form, slot: Slot, begun: bytes
) -> None:
    try:
        async with items:
            connection.fill_slot(slot, begun)
            async for item in items:
                await connection.room()
                connection.put(_shown(connection, form.message(item_json(item))))
    except CairnError as error:
        if slot.data is None:
            connection.fill_slot(slot, error_reply(error))
        else:
            connection.put(_shown(connection, form.last(error)))
    except asyncio.CancelledError:
        if slot.data is None:
            connection.fill_slot(slot, values.error("ERR", "this watch was ended"))
        raise


def _shown(connection: Connection, words: list[Any]) -> bytes:
    return values.push(words) if connection.protocol == 3 else values.encoded(words, 2)
