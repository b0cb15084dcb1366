"""The parts of replication, without a network: what a copy takes, and what a tail gives."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID
from zlib import crc32

import msgspec
import pytest

import cairndb
from cairndb import Index
from cairndb.errors import DatabaseFailed, SchemaError
from cairndb.patch import SET, encode_entry, operation
from cairndb.replicas_engine import Copy, StreamError
from cairndb.replicas_watch import CopyHub
from cairndb.schema import compile_root, describe
from cairndb.transaction import View
from cairndb.watch_start import Wish, watch_own
from cairndb.wire_tail import (
    Begin,
    Entries,
    Heartbeat,
    Item,
    Loaded,
    Owner,
    Piece,
    checksum_of,
    decode_item,
    encode_item,
)

KIND = compile_root(dict[str, int], guard=True)
DATABASE = UUID(int=7)
OWNER = Owner(DATABASE, describe(KIND, 1), 0)


def entry(time: int, **values: int) -> bytes:
    """An update that sets keys."""
    return encode_entry(time, [operation(SET, (key,), value) for key, value in values.items()])


FIRST = encode_entry(1, [operation(SET, (), {})])


def entries(before: tuple[int, int], *encoded: bytes, **changed: Any) -> Entries:
    """An item as an owner makes it, but for what is changed."""
    payload = b"".join(encoded)
    lsn, running = before
    fields: dict[str, Any] = {
        "before_lsn": lsn,
        "running_before": running,
        "running": crc32(payload, running),
        "count": len(encoded),
        "payload": payload,
        "promised_lsn": lsn + len(encoded),
    }
    return Entries(**(fields | changed))


EMPTY = Begin(0, 0, "", 0)


def checkpoint(begin: Begin, *operations: Any) -> list[Item]:
    """The items of a checkpoint, each operation in a piece of its own."""
    pieces = [Piece(1, msgspec.msgpack.encode(each)) for each in operations]
    checksum = checksum_of(begin)
    for each in pieces:
        checksum = checksum_of(each, checksum)
    return [begin, *pieces, Loaded(checksum)]


def copy_of(*items: Item, kind: Any = KIND) -> Copy:
    """A copy that has taken some items."""
    copy = Copy(kind, "elsewhere")
    for item in items:
        copy.take(item)
    return copy


def shown(copy: Copy) -> Any:
    """What a view shows."""
    with View[Any](copy, None, durable=True) as root:
        return dict(root)


def begun() -> Copy:
    """A copy at LSN 2."""
    return copy_of(OWNER, *checkpoint(EMPTY), entries((0, 0), FIRST, entry(2, a=1)))


@pytest.mark.parametrize(
    "item",
    [
        Owner(DATABASE, "schema", 5),
        Begin(4, 5, "schema", 6),
        Piece(3, b"\x01\x02"),
        Loaded(5),
        entries((1, 2), b"x", b"y"),
        Heartbeat(5),
    ],
    ids=lambda item: type(item).__name__,
)
def test_items_come_through(item: Item) -> None:
    """What is decoded is what was encoded; anything cut is an error."""
    data = encode_item(item)
    assert decode_item(data) == item
    for length in range(len(data)):
        with pytest.raises(msgspec.DecodeError):
            decode_item(data[:length])


def test_nothing_is_shown_before_there_is_something() -> None:
    """At LSN 0 there is no state; it comes with the first update."""
    copy = copy_of(OWNER, *checkpoint(EMPTY))
    assert not copy.ready
    copy.take(entries((0, 0), FIRST, entry(2, a=1)))
    assert (copy.applied_lsn, shown(copy)) == (2, {"a": 1})


def test_a_state_stays_until_the_next_is_whole() -> None:
    """A checkpoint that breaks off has changed nothing; a whole one takes the place of all."""
    copy = begun()
    begin, piece, loaded = checkpoint(
        Begin(9, 99, describe(KIND, 1), 100), operation(SET, (), {"b": 2})
    )
    copy.take(begin)
    copy.take(piece)
    assert shown(copy) == {"a": 1}
    copy.interrupted()
    with pytest.raises(StreamError, match="hasn't begun"):
        copy.take(loaded)
    copy.take(begin)
    with pytest.raises(StreamError, match="isn't what was sent"):
        copy.take(loaded)
    assert (copy.applied_lsn, shown(copy), copy.resyncs) == (2, {"a": 1}, 0)
    for item in (begin, piece, loaded):
        copy.take(item)
    assert (tuple(copy.position), shown(copy), copy.resyncs) == ((9, 99), {"b": 2}, 1)


def test_a_first_piece_may_be_less_than_its_type_asks_for() -> None:
    """What comes in pieces is judged when it is whole."""
    bounded = Annotated[dict[str, int], msgspec.Meta(min_length=2)]
    kind = compile_root(dict[str, bounded], guard=True)
    pieces = [operation(SET, (), {"x": {"a": 1}}), operation(SET, ("x", "b"), 2)]
    begin = Begin(9, 99, describe(kind, 1), 100)
    assert shown(copy_of(*checkpoint(begin, *pieces), kind=kind)) == {"x": {"a": 1, "b": 2}}
    with pytest.raises(SchemaError):
        copy_of(*checkpoint(begin, pieces[0]), kind=kind)


def test_a_changed_bit_is_noticed() -> None:
    """Whatever bit of a stream is another when it arrives, what is shown is some LSN's state."""
    states = {2: {"a": 1}, 3: {"a": 1, "b": 2}, 9: {"b": 2}}
    items = [
        *checkpoint(Begin(9, 99, describe(KIND, 1), 100), operation(SET, (), {"b": 2})),
        entries((2, begun().position.running), entry(3, b=2)),
    ]
    for at, item in enumerate(items):
        data = encode_item(item)
        for bit in range(8 * len(data)):
            garbled = bytearray(data)
            garbled[bit // 8] ^= 1 << bit % 8
            copy = begun()
            try:
                for before in items[:at] if at < 3 else ():
                    copy.take(before)
                copy.take(decode_item(bytes(garbled)))
                for after in items[at + 1 : 3]:
                    copy.take(after)
            except (StreamError, SchemaError, ValueError):
                copy.interrupted()
            assert shown(copy) == states[copy.applied_lsn]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"before_lsn": 1}, "entries after LSN 1, at LSN 2"),
        ({"running_before": 0}, "entries after LSN 2, at LSN 2"),
        ({"running": 0}, "aren't what was sent"),
        ({"payload": entry(3, b=3)}, "aren't what was sent"),
        ({"count": 2}, "can't be read"),
    ],
)
def test_what_does_not_follow_is_not_applied(changed: dict[str, Any], reason: str) -> None:
    """Entries of another place, or that aren't whole, leave everything as it was."""
    copy = begun()
    with pytest.raises(StreamError, match=reason):
        copy.take(entries(copy.position, entry(3, b=2), **changed))
    assert (copy.applied_lsn, shown(copy)) == (2, {"a": 1})
    copy.take(entries(copy.position, entry(3, b=2)))
    assert shown(copy) == {"a": 1, "b": 2}


def test_what_cannot_be_applied_stops_before_it() -> None:
    """Of several updates those before a bad one are shown; it says whether types are the reason."""
    copy = begun()
    wrong = encode_entry(4, [operation(SET, ("b",), "text")])
    with pytest.raises(SchemaError, match="start this process again"):
        copy.take(entries(copy.position, entry(3, a=5), wrong))
    assert (copy.applied_lsn, shown(copy)) == (3, {"a": 5})
    missing = encode_entry(5, [operation(1, ("nobody",))])
    with pytest.raises(StreamError) as caught:
        copy.take(entries(copy.position, entry(4, a=6), missing))
    assert caught.value.afresh
    assert (copy.applied_lsn, shown(copy)) == (4, {"a": 6})
    copy.take(entries(copy.position, entry(5, a=7)))
    assert shown(copy) == {"a": 7}


class Item_(cairndb.Record):  # noqa: N801  there is another Item here
    """What is found by a key."""

    number: int = 0


class Shelf(cairndb.Record):
    """A root whose index isn't what the owner's would be."""

    items: dict[str, Item_] = {}
    by_number = Index(Item_, "items/*", key=lambda item: 1 // item.number, ordered=True)


def test_a_key_that_cannot_be_made_ends_the_copy() -> None:
    """State and index would differ, so nothing is shown any more; the reason is told."""
    kind = compile_root(Shelf, guard=True)
    schema = describe(kind, 1)
    first = encode_entry(1, [operation(SET, (), {"items": {}})])
    copy = copy_of(
        Owner(DATABASE, schema, 0), *checkpoint(EMPTY), entries((0, 0), first), kind=kind
    )
    good = encode_entry(2, [operation(SET, ("items", "a"), {"number": 2})])
    copy.take(entries(copy.position, good))
    with View[Any](copy, None, durable=True) as root:
        assert root.by_number.keys() == [0]
    wrong = encode_entry(3, [operation(SET, ("items", "b"), {"number": 0})])
    with pytest.raises(DatabaseFailed, match="make a new replica"):
        copy.take(entries(copy.position, wrong))
    with pytest.raises(DatabaseFailed, match="ZeroDivisionError"), View[Any](copy, None, True):
        pass
    copy.close()


# Watches on a copy.


def test_a_watch_that_lags_too_far_jumps() -> None:
    """What comes is kept in memory for who watches, up to a bound; then one item says it all."""
    copy = begun()
    hub = CopyHub(copy, 300)
    watch = watch_own(hub, Wish("/**"))
    for number in range(3, 6):
        copy.take(entries(copy.position, entry(number, a=number)))
    assert [watch.step()[0] is not None for _ in range(3)] == [True] * 3
    for number in range(6, 60):
        copy.take(entries(copy.position, entry(number, a=number)))
    item, _ = watch.step()
    assert item is not None
    assert (item.lsn, item.time) == (59, None)
    assert [(each.before, each.after) for each in item.changes] == [(5, 59)]
    assert watch.step() == (None, False)
    copy.take(entries(copy.position, entry(60, b=1)))
    item, _ = watch.step()
    assert item is not None
    assert [each.pointer for each in item.changes] == ["/b"]
    watch.close()
    assert hub.watched() == 0
