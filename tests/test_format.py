"""The format on disk: a reader that knows docs/FORMAT.md only, and the golden files.

The golden files are read by every later version. To add those of a new format version, or after a
change of the format that is meant:

    PYTHONPATH=src:tests python -c 'import test_format; test_format.write_golden()'
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgspec
import pytest

from cairndb.checkpoint import CheckpointHeader, Writer, temporary_checkpoint_name
from cairndb.fold import Fold
from cairndb.history import folded
from cairndb.patch import decode_entry
from cairndb.recovery import read_chain, verify
from cairndb.store import Store, StoreOptions
from crashing import FINGERPRINT, SCHEMA, Nonces
from simulated import SimulatedDirectory, World

SEAL = -1
GOLDEN = Path(__file__).parent / "golden" / "version-1"


class Header(NamedTuple):
    """A file's header, and where its frames begin."""

    fields: dict[str, Any]
    begin: int


def read_header(data: bytes, magic: bytes) -> Header:
    """As "Headers" says."""
    found, version, length = struct.unpack_from("<8sII", data)
    assert (found, version) == (magic, 1)
    (check,) = struct.unpack_from("<I", data, 16 + length)
    assert crc32(data[: 16 + length]) == check
    fields = msgspec.msgpack.decode(data[16 : 16 + length])
    return Header(fields, -(-(20 + length) // 4096) * 4096)


class Frame(NamedTuple):
    """A good frame."""

    end: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs
    first: int
    durable: int | None
    payload: bytes


def read_frame(data: bytes, offset: int, nonce: bytes, lsn: int) -> Frame | None:
    """As "Frames" says, of the LSN that is next; None if it isn't good."""
    if len(data) < offset + 28:
        data = data.ljust(offset + 28, b"\0")
    check, first, length, count, unproven = struct.unpack_from("<IIHBB", data, offset)
    end, width, seal, unsaid = offset + 12, 3, 0xFF, 0xFF
    if length == 0xFFFF:
        length, count, unproven = struct.unpack_from("<III", data, offset + 12)
        end, width, seal, unsaid = offset + 24, 4, 0xFFFFFFFF, 0xFFFFFFFF
    head_check = crc32(data[offset + 4 : end], crc32(nonce) ^ offset // 8)
    if int.from_bytes(data[end : end + width], "little") != head_check % 256**width:
        return None
    payload = data[end + width : end + width + length]
    if len(payload) < length or crc32(payload, head_check) != check or first != lsn % 2**32:
        return None
    durable = None if unproven == unsaid else lsn - 1 - unproven
    end = -(-(end + width + length) // 8) * 8
    return Frame(end, SEAL if count == seal else count, lsn, durable, payload)


def read_frames(data: bytes, header: Header, end: int, first: int) -> Iterator[Frame]:
    """The good frames from the header to an end, or as far as they go."""
    offset = header.begin
    while offset < end:
        frame = read_frame(data, offset, header.fields["nonce"], first)
        if frame is None:
            return
        offset = frame.end
        first += 0 if frame.count == SEAL else frame.count
        yield frame


def values(frame: Frame) -> list[Any]:
    """The entries or operations of a frame."""
    if frame.count in {0, SEAL}:
        return []
    payload = b"\xdd" + struct.pack(">I", frame.count) + frame.payload
    decoded: list[Any] = msgspec.msgpack.decode(payload)
    return decoded


def read_database(files: dict[str, bytes]) -> tuple[int, list[Any], list[Any]]:
    """As "Recovery" says: the base's LSN and operations, and the entries after it."""
    read_header(files["DATABASE"], b"\x89CAIRND\n")
    name = max(name for name in files if re.fullmatch(r"checkpoint-\d{20}\.ckpt", name))
    base = read_header(files[name], b"\x89CAIRNC\n")
    frames = list(read_frames(files[name], base, len(files[name]), 1))
    assert (frames[-1].count, frames[-1].end) == (SEAL, len(files[name]))
    operations = [value for frame in frames for value in values(frame)]
    assert frames[-1].first == len(operations) + 1

    segments = {}
    for name, content in files.items():
        if match := re.fullmatch(r"log-(\d{20})-(\d{8})\.seg", name):
            header = read_header(content, b"\x89CAIRNL\n")
            segments[int(match[2]), int(match[1])] = content, header
    by_nonce = {header.fields["nonce"]: (data, header) for data, header in segments.values()}
    data, header = segments[max(segments)]
    entries: list[Any] = []
    end = len(data)
    while True:
        lsn = header.fields["first_lsn"]
        found = [v for frame in read_frames(data, header, end, lsn) for v in values(frame)]
        entries = found + entries
        if lsn <= base.fields["lsn"] + 1:
            return base.fields["lsn"], operations, entries[base.fields["lsn"] + 1 - lsn :]
        end = header.fields["predecessor_end"]
        data, header = by_nonce[header.fields["predecessor_nonce"]]


TIME = 1_700_000_000_000_000
FIRST: Any = [TIME, [[0, [], {"name": "", "tags": [], "books": {}, "flags": []}]]]
# So many in one frame that it is a large one.
MANY: list[Any] = [[TIME, [[0, ["name"], str(number)]]] for number in range(255)]
REST: list[Any] = [
    [TIME + 1, [[0, ["name"], "Ann"]], ["rename", ["Ann"], {"loud": True}]],
    [TIME + 2, [[5, ["books"], {"a": 1, "b": 2.5}]]],
    [TIME + 2, [[0, ["books", "c"], None], [1, ["books", "a"], None]]],
    [TIME + 3, [[2, ["tags"], [0, 0, ["x", "y", "z"]]], [3, ["flags"], [1, True, "s"]]]],
    [TIME + 4, [[4, ["flags"], [1]], [2, ["tags"], [1, 1, []]]]],
    [TIME + 5, [[0, ["tags", 0], "first"]]],
]
ENTRIES = [FIRST, *MANY, *REST]
BASE_LSN = 260
OPERATIONS: list[Any] = [
    [0, [], {"name": "Ann", "tags": [], "books": {}, "flags": [1, "s", True]}],
    [5, ["books"], {"b": 2.5, "c": None}],
    [2, ["tags"], [0, 0, ["x", "y", "z"]]],
]


def open_golden(world: World, seed: str, segment_bytes: int) -> Store:
    """An owner whose files are the same in every run."""
    return Store.open(
        SimulatedDirectory(world),
        schema=SCHEMA,
        fingerprint=FINGERPRINT,
        create=True,
        options=StoreOptions(segment_bytes, 4096 + 1024, Nonces(seed)),
        clock=lambda: TIME,
    )


def commit(store: Store, *entries: Any) -> None:
    """One frame."""
    for entry in entries:
        data = msgspec.msgpack.encode(entry)
        assert store.reserve(len(data))
        store.append(data)
    store.write(store.take())
    store.sync()


def golden_files() -> dict[str, bytes]:
    """Two owners, a checkpoint, a large frame, a mark, seals, a rewritten tail."""
    world = World()
    store = open_golden(world, "golden 1", 4096 + 24576)
    commit(store, FIRST)
    commit(store, *MANY)
    commit(store, REST[0])
    store.mark()
    commit(store, REST[1], REST[2])
    commit(store, REST[3])
    store.seal()
    reading = read_chain(SimulatedDirectory(world), end_lsn=store.sealed_lsn)
    header = CheckpointHeader(
        database=reading.database,
        nonce=Nonces("golden checkpoint")(),
        lsn=reading.lsn,
        running=reading.running,
        fingerprint=FINGERPRINT,
        schema=SCHEMA,
        created=TIME,
    )
    temporary = temporary_checkpoint_name(header)
    writer = Writer(SimulatedDirectory(world), temporary, header)
    writer.write(1, msgspec.msgpack.encode(OPERATIONS[0]))
    writer.write(2, b"".join(map(msgspec.msgpack.encode, OPERATIONS[1:])))
    writer.finish()
    reading.close()
    store.check_checkpoint(temporary, BASE_LSN)
    store.adopt(temporary)
    commit(store, REST[4])
    second = open_golden(world, "golden 2", 4096 + 1024)
    second.start()
    second.rotate(200)
    commit(second, REST[5])
    second.mark()
    return {name: world.inodes[number].cache for name, number in world.names.items()}


# Three sessions: one whose client has some of its answers, one with many, one with one.
ASKED: list[list[Any]] = [[2, 1, 0, 0, b"\xc0"], [2, 1, 3, 1, None], [2, 1, 2, 2, b"\xa2ok"]]
ASKED += [[3, 1 << 62, sequence, 0, b"\x01"] for sequence in range(6)]
ASKED += [[2, 2, 0, 0, b"\x01"]]
ASKED_LATER: list[list[Any]] = [[2, 1, 4, 3, b"\x05"], [300, 7, 0, 0, b"\xc3"]]
FLOOR_BORN = 1


def request_entry(asked: list[Any]) -> list[Any]:
    """An entry that answers a request."""
    return [TIME + 9, [[0, ["name"], str(asked[2])], [7, [], asked]]]


def table_by_document(operations: list[Any], entries: list[Any]) -> tuple[int, list[Any]]:
    """As "Requests" says: `floor_born`, and the sessions in the form of a SESSION's argument."""
    floor_born = 0
    table: dict[tuple[int, int], tuple[int, dict[int, bytes | None]]] = {}
    for code, _, argument in operations:
        if code == 9:
            floor_born = argument
        elif code == 8:
            table[argument[0], argument[1]] = argument[2], dict(argument[3])
    for born, nonce, sequence, first, result in [
        each[2] for entry in entries for each in entry[1] if each[0] == 7
    ]:
        floor, results = table.pop((born, nonce), (0, {}))
        assert (floor, results) != (0, {}) or born > floor_born
        assert sequence >= floor
        assert sequence not in results
        floor = max(floor, first)
        results = {key: value for key, value in results.items() if key >= floor}
        results[sequence] = result
        while len(results) > 1024:
            floor = min(results) + 1
            del results[floor - 1]
        while size_by_document(results) > 262_144:
            full = sorted(key for key, value in results.items() if value is not None)
            results[(full[1:] if full[0] == floor else full)[0]] = None
        table[born, nonce] = floor, results
    # So few sessions that none of them goes.
    return floor_born, [
        [*key, f, [list(r) for r in sorted(kept.items())]] for key, (f, kept) in table.items()
    ]


def size_by_document(results: dict[int, bytes | None]) -> int:
    """The size of a session."""
    return 256 + sum(64 + len(result or b"") for result in results.values())


def golden_requests() -> dict[str, bytes]:
    """Answered requests in a log, in a checkpoint, and in the log after it."""
    world = World()
    store = open_golden(world, "golden requests", 4096 + 4096)
    commit(store, FIRST)
    for asked in ASKED:
        commit(store, request_entry(asked))
    store.seal()
    reading = read_chain(SimulatedDirectory(world), end_lsn=store.sealed_lsn)
    header = CheckpointHeader(
        database=reading.database,
        nonce=Nonces("golden requests checkpoint")(),
        lsn=reading.lsn,
        running=reading.running,
        fingerprint=FINGERPRINT,
        schema=SCHEMA,
        created=TIME,
    )
    reading.close()
    temporary = temporary_checkpoint_name(header)
    writer = Writer(SimulatedDirectory(world), temporary, header)
    state = FIRST[1][0][2] | {"name": str(ASKED[-1][2])}
    _, sessions = table_by_document([], [request_entry(asked) for asked in ASKED])
    operations = [[0, [], state], [9, [], FLOOR_BORN], *([8, [], each] for each in sessions)]
    writer.write(len(operations), b"".join(map(msgspec.msgpack.encode, operations)))
    writer.finish()
    store.check_checkpoint(temporary, header.lsn)
    store.adopt(temporary)
    for asked in ASKED_LATER:
        commit(store, request_entry(asked))
    store.mark()
    return {name: world.inodes[number].cache for name, number in world.names.items()}


SETS = {"version-1": golden_files, "version-1-requests": golden_requests}


def write_golden() -> None:
    """Put the files where they are read from."""
    for folder, made in SETS.items():
        (GOLDEN.parent / folder).mkdir(parents=True, exist_ok=True)
        for name, content in made().items():
            (GOLDEN.parent / folder / name).write_bytes(content)


def stored_files(folder: str = GOLDEN.name) -> dict[str, bytes]:
    """The golden files as they were written once."""
    return {path.name: path.read_bytes() for path in sorted((GOLDEN.parent / folder).iterdir())}


@pytest.mark.parametrize("folder", SETS)
def test_the_golden_files_are_what_is_written_today(folder: str) -> None:
    """To the byte: nothing of the format changes unnoticed."""
    assert SETS[folder]() == stored_files(folder)


def test_the_golden_files_are_read() -> None:
    """As this version reads its own."""
    world = World(tuple(stored_files().items()))
    assert list(verify(SimulatedDirectory(world))) == []
    reading = read_chain(SimulatedDirectory(world))
    payload = b"".join(piece.payload for piece in reading.log_frames())
    operations = b"".join(payload for _, payload in reading.checkpoint_frames())

    assert (reading.base_lsn, reading.lsn) == (BASE_LSN, len(ENTRIES))
    assert payload == b"".join(map(msgspec.msgpack.encode, REST[4:]))
    assert operations == b"".join(map(msgspec.msgpack.encode, OPERATIONS))
    assert reading.running == crc32(b"".join(map(msgspec.msgpack.encode, ENTRIES)))
    assert (reading.schema, reading.fingerprint) == (SCHEMA, FINGERPRINT)


def test_a_reader_by_the_document_finds_the_same() -> None:
    """FORMAT.md is enough: it shares no code with the library."""
    assert read_database(stored_files()) == (BASE_LSN, OPERATIONS, REST[4:])


def test_a_reader_by_the_document_finds_the_same_requests() -> None:
    """The table of requests by FORMAT.md is what the library's own fold has, and writes down."""
    files = stored_files("version-1-requests")
    lsn, operations, entries = read_database(files)
    assert lsn == 1 + len(ASKED)
    assert entries == [request_entry(asked) for asked in ASKED_LATER]
    folded = folded_log(files)
    written = [msgspec.msgpack.decode(each) for each in folded.requests.operations()]

    floor_born, sessions = table_by_document(operations, entries)
    assert written == [[9, [], floor_born], *([8, [], each] for each in sessions)]
    assert [session[:3] for session in sessions] == [
        [3, 1 << 62, 0],
        [2, 2, 0],
        [2, 1, 3],
        [300, 7, 0],
    ]


@pytest.mark.parametrize(("count", "size"), [(1026, 1), (6, 60_000), (2, 65_536)])
def test_what_the_document_drops_is_what_the_library_drops(count: int, size: int) -> None:
    """Of one session with too many answers, or too many bytes of them."""
    entries = [request_entry([2, 1, each, 0, bytes(size)]) for each in range(count)]
    fold = Fold()
    for entry in (FIRST, *entries):
        fold.apply(decode_entry(msgspec.msgpack.encode(entry)).operations)

    written = [msgspec.msgpack.decode(each) for each in fold.requests.operations()]
    _, sessions = table_by_document([], entries)
    assert written == [[8, [], each] for each in sessions]
    assert (sessions[0][2] > 0) == (count > 1024)
    assert (None in [result for _, result in sessions[0][3]]) == (count == 6)


def folded_log(files: dict[str, bytes]) -> Fold:
    """What the library makes of some files."""
    reading = read_chain(SimulatedDirectory(World(tuple(files.items()))))
    return folded(reading, "golden", lambda _: None).fold


@pytest.mark.parametrize(
    "words",
    ["CAIRND", "CAIRNL", "CAIRNC", "predecessor_end", "head_check", "unproven", "FFFF"],
)
def test_the_document_names_what_there_is(words: str) -> None:
    """A rename in the code that isn't one in the document shows here."""
    text = (Path(__file__).parent.parent / "docs" / "FORMAT.md").read_text(encoding="utf-8")
    assert words in text
