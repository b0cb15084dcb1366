"""What the decoders are given that no correct writer makes, and what may come of it.

Each *target* takes any bytes and lets one part of the library read them. It returns, or raises what
a reader of damaged files must never see. `make fuzz` gives the same targets to a coverage-guided
fuzzer (see `fuzzing`); `seeds` are where that begins, and what `mutated` changes at random.
"""

import contextlib
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any
from zlib import crc32

import msgspec
import pytest

from cairndb import codec
from cairndb.checkpoint import MAGIC as CHECKPOINT_MAGIC
from cairndb.checkpoint import CheckpointHeader, checkpoint_name
from cairndb.checkpointer import make_checkpoint
from cairndb.errors import CairnError, DatabaseLocked, ValidationError
from cairndb.fold import Fold
from cairndb.frame import SEAL, FrameReader, encode_frame
from cairndb.frame_header import decode_header, encode_header
from cairndb.frame_search import scan_rest
from cairndb.housekeeper import read_report
from cairndb.identity import MAGIC as IDENTITY_MAGIC
from cairndb.identity import NAME, Identity
from cairndb.log import MAGIC as SEGMENT_MAGIC
from cairndb.log import SegmentHeader, segment_name
from cairndb.opening import own, read
from cairndb.ownership import LOCK_NAME, acquire, read_owner
from cairndb.patch import Tree, decode_entries, decode_entry, decode_operations, operation
from cairndb.recovery import read_chain, verify
from cairndb.schema import compile_root, describe, fingerprint
from damaging import Files, MeteredDirectory, as_image
from everything import Everything
from simulated import World

GOLDEN = Path(__file__).parent / "golden" / "version-1"
NONCE = bytes(range(16))
DATABASE = uuid.UUID(int=7)


KIND = compile_root(Everything, guard=True)
DICT_KIND = compile_root(dict[str, Any], guard=True)
SCHEMA, FINGERPRINT = describe(KIND), fingerprint(describe(KIND))
ROOT = codec.encode(KIND.prepare(Everything()))
FIRST = codec.encode((0, [(0, [], msgspec.Raw(ROOT))]))
"""The entry that sets the root."""


def frames(data: bytes) -> None:
    """Reading of frames, as they come, and after a bad place."""
    reader = FrameReader(bytes_of(data), NONCE, 0, len(data), 1, chunk_bytes=64)
    taken = sum(frame.end - frame.offset for frame in reader)
    assert taken == reader.offset <= len(data)
    rest = scan_rest(bytes_of(data), NONCE, 0, len(data), range(1, len(data) + 2))
    assert rest.used_end <= len(data) + 7


def bytes_of(data: bytes) -> Callable[[int, int], bytes]:
    """A file, to those who read it."""
    return lambda offset, length: data[offset : offset + length]


_PREAMBLE = Struct("<8sII")


def headed(magic: bytes, fields: bytes) -> bytes:
    """A header whose checksum is right, whatever is in it."""
    data = _PREAMBLE.pack(magic, 1, len(fields)) + fields
    data += crc32(data).to_bytes(4, "little")
    return data + bytes(-len(data) % 4096)


def headers(data: bytes) -> None:
    """Headers of all kinds, as they are, and with a right checksum."""
    kinds: list[tuple[bytes, type[Any]]] = [
        (SEGMENT_MAGIC, SegmentHeader),
        (CHECKPOINT_MAGIC, CheckpointHeader),
        (IDENTITY_MAGIC, Identity),
    ]
    for magic, kind in kinds:
        for content in (data, magic + data, headed(magic, data)):
            with contextlib.suppress(CairnError):
                header, begin = decode_header(magic, kind, bytes_of(content), "file")
                assert type(header) is kind
                assert begin % 4096 == 0


def entries(data: bytes) -> None:
    """Entries and operations, without a state."""
    for count in (1, 2, 3, len(data), 0xFFFFFFFF):
        with contextlib.suppress(ValueError):
            assert len(decode_entries(data, count)) == count
        with contextlib.suppress(ValueError):
            assert len(decode_operations(data, count)) == count
    with contextlib.suppress(ValueError):
        decode_entry(data)


def operations_of(data: bytes) -> Iterator[list[Any]]:
    """What operations these bytes can be read as, by patch."""
    for count in range(6):
        with contextlib.suppress(ValueError):
            yield decode_operations(data, count)
        with contextlib.suppress(ValueError):
            yield from (entry.operations for entry in decode_entries(data, count))


def typed(data: bytes) -> None:
    """The typed fold: what it takes can be encoded, and is taken again."""
    for kind, first in ((KIND, ROOT), (DICT_KIND, b"\x80")):
        tree = Tree(kind)
        tree.apply(tree.resolve([operation(codec.SET, [], first)]))
        for operations in operations_of(data):
            with contextlib.suppress(ValueError, ValidationError):
                tree.apply(tree.resolve(operations))
        with contextlib.suppress(ValueError, ValidationError):
            tree.load(operation for operations in operations_of(data) for operation in operations)
        kind.encode(tree.root)


def untyped(data: bytes) -> None:
    """The untyped fold, which any bytes may come to: what it takes can be cut and encoded."""
    for first in (ROOT, b"\x80", data):
        fold = Fold()
        fold.apply([operation(codec.SET, [], first)])
        for operations in operations_of(data):
            with contextlib.suppress(ValueError):
                fold.apply(operations)
        with contextlib.suppress(ValueError):
            fold.encode()
            list(fold.operations(64))


def database_of(payloads: list[tuple[int, bytes]], operations: list[tuple[int, bytes]]) -> Files:
    """A database whose checksums are all right, with these frames in its log and its checkpoint."""
    common = {"database": DATABASE, "fingerprint": FINGERPRINT, "schema": SCHEMA, "created": 0}
    lsn = 1 if operations else 0
    head = encode_header(
        SEGMENT_MAGIC,
        SegmentHeader(
            epoch=1,
            nonce=NONCE,
            first_lsn=lsn + 1,
            predecessor_nonce=b"",
            predecessor_end=0,
            running=0,
            **common,  # type: ignore[arg-type]
        ),
    )
    files = {
        NAME: encode_header(IDENTITY_MAGIC, Identity(DATABASE, 0)),
        segment_name(lsn + 1, 1): _with_frames(head, payloads, lsn + 1, seal=False) + bytes(64),
    }
    if operations:
        header = CheckpointHeader(nonce=NONCE, lsn=1, running=0, **common)  # type: ignore[arg-type]
        content = encode_header(CHECKPOINT_MAGIC, header)
        files[checkpoint_name(1)] = _with_frames(content, operations, 1, seal=True)
    return files


def _with_frames(
    content: bytes, payloads: list[tuple[int, bytes]], first: int, *, seal: bool
) -> bytes:
    for count, payload in payloads:
        content += encode_frame(NONCE, len(content), first, count, payload, first - 1)
        first += count
    if seal:
        content += encode_frame(NONCE, len(content), first, SEAL, b"", first - 1)
    return content


def cut(data: bytes) -> list[tuple[int, bytes]]:
    """Bytes as frames: each begins with a byte for its count and two for its length."""
    found = []
    while len(data) > 3:
        count, length = data[0] % 8 + 1, int.from_bytes(data[1:3], "big")
        payload = data[3 : 3 + length]
        if payload:
            found.append((0xFFFFFF00 if data[0] == 0xFF else count, payload))
        data = data[3 + length :]
    return found


def directory(data: bytes) -> None:
    """A whole database, opened, read, verified, folded: hostile content gets as far as it can."""
    half = int.from_bytes(data[:2], "big")
    files = database_of(cut(data[2 + half :]), cut(data[2 : 2 + half]))
    open_all(files)


def open_all(files: Files) -> None:
    """Everything that reads a directory; only documented errors."""

    def fresh() -> MeteredDirectory:
        return MeteredDirectory(World(as_image(files)), 40)

    with contextlib.suppress(CairnError):
        recovered = own(fresh(), KIND, create=False)
        KIND.encode(recovered.engine.tree.root)
        recovered.engine.store.close()
    with contextlib.suppress(CairnError):
        read(fresh(), KIND, None)
    list(verify(fresh()))
    with contextlib.suppress(CairnError):
        reading = read_chain(fresh())
        reading.close()
        make_checkpoint(fresh(), reading.lsn, lambda: None)


def schema(data: bytes) -> None:
    """The schema in a segment's header, where it isn't the one that is declared."""
    text = data.decode(errors="replace")
    header = SegmentHeader(DATABASE, 1, NONCE, 1, b"", 0, 0, "another", text, 0)
    content = _with_frames(encode_header(SEGMENT_MAGIC, header), [(1, FIRST)], 1, seal=False)
    files = {**database_of([(1, FIRST)], []), segment_name(1, 1): content + bytes(64)}
    for opening in (own, read):
        simulated = MeteredDirectory(World(as_image(files)))
        with suppress(CairnError):  # some are of a schema that what is declared can read
            if opening is own:
                own(simulated, KIND, create=False)
            else:
                read(simulated, KIND, None)


def notes(data: bytes) -> None:
    """The LOCK file, which is for people, and what the helper process says."""
    taken = MeteredDirectory(World(((LOCK_NAME, data),)))
    read_owner(taken)
    assert MeteredDirectory(taken.world).lock()
    with pytest.raises(DatabaseLocked):
        acquire(taken, None)
    with contextlib.suppress(CairnError):
        read_report(data.decode(errors="backslashreplace"), 1)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (frames, headers, entries, typed, untyped, directory, schema, notes)
}


def seeds(name: str) -> list[bytes]:
    """Inputs that a target takes, to begin with: from the golden files, and made."""
    made = [codec.encode(each) for each in OPERATIONS]
    entries = [FIRST, *(codec.encode((5, [msgspec.Raw(each)])) for each in made)]
    log, base = _framed(entries), _framed([codec.encode((0, [], msgspec.Raw(ROOT)))])
    files = [path.read_bytes() for path in sorted(GOLDEN.iterdir())]
    folded = [*made, b"".join(made[:3]), ROOT]
    frame = [(1, b"one"), (2, b"two2"), (1, b"x" * 90)]
    return {
        "frames": [_with_frames(b"", frame, 1, seal=True)],
        "headers": [data[16 : 16 + int.from_bytes(data[12:16], "little")] for data in files],
        "entries": entries,
        "typed": folded,
        "untyped": folded,
        "directory": [b"\0\0" + log, len(base).to_bytes(2, "big") + base + log],
        "schema": [SCHEMA.encode(), b"{}", b"[" * 60, b"\xff", b"1e999", b'{"root": NaN}'],
        "notes": [
            b'{"host":"h","pid":1,"command":"c","since":"2024-01-01T00:00:00Z"}',
            b'{"file":"checkpoint-1.ckpt.tmp-1-aa","lsn":1}',
            b'{"file":"../x","lsn":1}',
        ],
    }[name]


def _framed(payloads: list[bytes]) -> bytes:
    return b"".join(b"\0" + len(each).to_bytes(2, "big") + each for each in payloads)


OPERATIONS: list[Any] = [
    (codec.SET, ["text"], "hello"),
    (codec.SET, ["anything"], {"a": [1, {"b": None}], "c": 2.5}),
    (
        codec.SET,
        ["branch"],
        {"type": "branch", "parts": [{"type": "leaf", "number": 1}], "names": {}},
    ),
    (codec.MERGE, ["records"], {"x": {"type": "leaf", "number": 3}}),
    (codec.SPLICE, ["numbers"], [0, 0, [1, 2, 3]]),
    (codec.ADD, ["words"], ["a", "b"]),
    (codec.DISCARD, ["words"], ["a"]),
    (codec.ADD, ["mixed"], [1, 2.5, True]),
    (codec.MERGE, ["floats"], {0.5: 1}),
    (codec.SET, ["pairs", [1, "k"]], ["v"]),
    (codec.SPLICE, ["moments"], [0, 0, ["2024-01-01T00:00:00Z", None]]),
    (codec.ADD, ["days"], ["2024-02-29"]),
    (codec.SPLICE, ["spans"], [0, 0, ["P1DT2S"]]),
    (codec.MERGE, ["times"], {"12:30:00": 1}),
    (codec.MERGE, ["ids"], {"00000000-0000-0000-0000-000000000001": "1.50"}),
    (codec.SPLICE, ["points"], [0, 0, [{"x": 1, "y": 0.5}]]),
    (codec.MERGE, ["colours"], {"red": "a", "blue": 1}),
    (codec.SET, ["data"], b"bytes"),
    (codec.DELETE, ["records", "x"], None),
    (codec.REQUEST, [], [1, 1, 2, 1, b"\xc0"]),
    (codec.SESSION, [], [2, 1, 3, [[4, b"\x01"], [5, None]]]),
    (codec.EXPIRED, [], 1),
]

TOKENS = [
    b"\xdd\xff\xff\xff\xff",  # an array of four billion
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x05",
    b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + bytes(7),
    b"\xcb\x7f\xf8" + bytes(6),  # not a number
    b"\xcb\xff\xf0" + bytes(6),
    b"\xca\x3f\x80\0\0",  # a float of 32 bits
    b"\xd6\xff" + b"\xff" * 4,  # timestamps
    b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xc7\x0c\xff" + bytes(4) + b"\x7f" + b"\xff" * 7,
    b"\xd4\x05\x01",  # an extension
    b"\xa2\xff\xfe",  # no UTF-8
    b"\xa3\xed\xa0\x80",  # a surrogate
    b"\x82\xa1a\x01\xa1a\x02",  # a key twice
    b"\x82\x01\x01\xcb\x3f\xf0" + bytes(6) + b"\x01",  # equal keys
    b"\x81\x91\x01\x01",
    b"\x81\x80\x01",
    b"\x91" * 120,
    b"\x91" * 2000,
    b"\x81\xa1a" * 300,
    b"\xc1",
    codec.encode("1e999999999"),
    codec.encode("sNaN"),
    codec.encode("9" * 5000),
    codec.encode("9999-99-99T99:99:99Z"),
    codec.encode("0001-01-01T00:00:00+23:59"),
    codec.encode("P999999999999D"),
    codec.encode("24:00:00+99:99"),
    codec.encode("{00000000-0000-0000-0000-00000000000g}"),
    codec.encode([2**62, -(2**62), []]),
    codec.encode([0, 2**40, [1]]),
    codec.encode([1, 1]),
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
]


def mutated(source: random.Random, begin: list[bytes]) -> bytes:
    """One of these inputs, or two, changed here and there."""
    data = bytearray(source.choice(begin))
    if source.random() < 0.3:
        place = source.randrange(len(data) + 1)
        data[place:] = source.choice(begin)[-source.randrange(1, 200) :]
    for _ in range(source.choice((1, 1, 2, 3, 8))):
        place = source.randrange(len(data) + 1)
        what = source.randrange(6)
        if what == 0 and place < len(data):
            data[place] ^= 1 << source.randrange(8)
        elif what == 1:
            data[place : place + source.randrange(4)] = source.choice(TOKENS)
        elif what == 2:
            data[place:place] = source.choice(TOKENS)
        elif what == 3:
            del data[place : place + source.choice((1, 2, 8, 40))]
        elif what == 4:
            data[place:place] = data[place : place + source.choice((1, 8, 40, 200))]
        elif place < len(data):
            data[place] = source.choice((0, 1, 0x7F, 0x80, 0x90, 0xA0, 0xC0, 0xC4, 0xDC, 0xFF))
    return bytes(data)
