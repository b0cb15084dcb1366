"""Files made to mislead: documented errors, bounded memory and work, and no code from a file.

Without a fuzzer: the targets of `hostile` with random changes to what they take, and by name what
was found. With one, if atheris is installed: `make fuzz`, and a while of it in `make nightly`.
"""

import importlib.util
import json
import os
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import pytest

import fuzzing
from cairndb import codec
from cairndb.checkpointer import make_checkpoint
from cairndb.errors import CairnError, CorruptError, DatabaseLocked
from cairndb.fold import Fold
from cairndb.frame import FrameReader, encode_frame
from cairndb.frame_header import decode_header, encode_header
from cairndb.frame_search import scan_rest
from cairndb.housekeeper import read_report
from cairndb.identity import MAGIC as IDENTITY_MAGIC
from cairndb.identity import Identity
from cairndb.log import MAGIC, SegmentHeader, segment_name
from cairndb.opening import own
from cairndb.ownership import LOCK_NAME, acquire
from cairndb.patch import Operation, Tree, decode_operations
from damaging import EndlessError, Files, MeteredDirectory, as_image
from effort import examples
from hostile import (
    DATABASE,
    FIRST,
    KIND,
    NONCE,
    ROOT,
    SCHEMA,
    TARGETS,
    TOKENS,
    bytes_of,
    database_of,
    mutated,
    open_all,
    seeds,
)
from simulated import SimulatedDirectory, World

Evidence = Callable[[str, int], None]
COUNTS = dict.fromkeys(TARGETS, 4000) | {"directory": 400, "schema": 200}


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_only_documented_errors_come_out(evidence: Evidence, target: str) -> None:
    """Whatever is changed in what a part of the library reads, and however often."""
    take, begin = TARGETS[target], seeds(target)
    for data in begin:
        take(data)
    source = random.Random(target)  # noqa: S311  reproducible, not secret
    count = examples(COUNTS[target])
    for _ in range(count):
        take(mutated(source, begin))
    evidence("hostile", count)


@pytest.mark.parametrize("target", TARGETS)
def test_every_token_is_taken_alone(evidence: Evidence, target: str) -> None:
    """Counts of four billion, endless nesting, wrong UTF-8, times out of range: alone."""
    for token in TOKENS:
        TARGETS[target](token)
        TARGETS[target](token * 40)
    evidence("hostile", 2 * len(TOKENS))


def peak_of(work: Callable[[], object]) -> int:
    """How many bytes were taken at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_memory_is_bounded_by_the_input(evidence: Evidence, target: str) -> None:
    """No claim in a file takes more memory than a small multiple of the file."""
    take, begin = TARGETS[target], seeds(target)
    source = random.Random(f"memory {target}")  # noqa: S311  reproducible, not secret
    inputs = [mutated(source, begin) for _ in range(examples(60))]
    inputs += [token + bytes([item]) * 3000 for token in TOKENS for item in (0, 1, 0x91, 0xDD)]
    if target in {"directory", "schema"}:
        inputs = inputs[::4]
    for data in begin:
        take(data)  # what is made once
    for data in inputs:
        assert peak_of(partial(take, data)) < 4 * 10**6 + 400 * len(data), data[:80]
    evidence("hostile", len(inputs))


def test_a_claimed_length_reserves_nothing() -> None:
    """A header that says 64 MiB, and a frame that says 4 GiB: what is there is asked for."""
    asked: list[int] = []

    def read(offset: int, length: int) -> bytes:
        asked.append(length)
        return bytes_of(data)(offset, length)

    data = IDENTITY_MAGIC + (1).to_bytes(4, "little") + (1 << 26).to_bytes(4, "little")
    data = data.ljust(5000, b"x")
    with pytest.raises(CorruptError, match="checksum"):
        decode_header(IDENTITY_MAGIC, Identity, read, "file")
    head = encode_frame(NONCE, 0, 1, 1, b"x", 0)[:20]
    head = (0xFFFF0000).to_bytes(4, "little") + head[4:]
    data = head + crc32(head, crc32(bytes(8), crc32(NONCE))).to_bytes(4, "little") + bytes(5000)
    assert list(FrameReader(read, NONCE, 0, len(data), 1)) == []
    scan_rest(read, NONCE, 0, len(data), range(1, 99))
    assert max(asked) <= 1 << 20


def with_header(**changes: object) -> Files:
    """A database of one entry, whose segment says something else in its header."""
    files = database_of([(1, FIRST)], [])
    (name,) = [name for name in files if name.startswith("log")]
    header = SegmentHeader(DATABASE, 1, NONCE, 1, b"", 0, 0, "00", SCHEMA, 0)
    header = msgspec.structs.replace(header, **changes)
    content = encode_header(MAGIC, header)
    content += encode_frame(NONCE, len(content), header.first_lsn, 1, FIRST, header.first_lsn - 1)
    del files[name]
    return {**files, segment_name(header.first_lsn, header.epoch): content + bytes(64)}


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 2**64 - 1},
        {"epoch": 0},
        {"first_lsn": 2**64 - 1},
        {"first_lsn": 0},
        {"nonce": b""},
        {"predecessor_nonce": bytes(17)},
        {"predecessor_end": 4097},
        {"predecessor_end": 2**63},
        {"running": 2**32},
        {"created": 2**63},
    ],
    ids=str,
)
def test_a_header_says_what_can_be_counted_on(changes: dict[str, object]) -> None:
    """Numbers from which no next one follows are refused at once, not at the next update."""
    directory = SimulatedDirectory(World(as_image(with_header(**changes))))
    with pytest.raises(CorruptError, match=r"header can't be read: Expected|under another name"):
        own(directory, KIND, create=False)


def test_a_trusted_end_behind_the_file_is_refused() -> None:
    """It is compared with the file's size before anything is read up to there."""
    header = SegmentHeader(DATABASE, 2, bytes(16), 2, NONCE, 1 << 40, crc32(FIRST), "00", SCHEMA, 0)
    files = {
        **with_header(),
        segment_name(2, 2): encode_header(MAGIC, header) + bytes(64),
    }
    with pytest.raises(CorruptError, match="the file ends here") as caught:
        own(SimulatedDirectory(World(as_image(files))), KIND, create=False)
    assert caught.value.file.endswith(segment_name(1, 1))


def test_more_entries_than_bytes_are_no_frame() -> None:
    """A count of four billion in a good frame is not believed."""
    data = encode_frame(NONCE, 0, 1, 9, b"eight  b", 0)
    reader = FrameReader(bytes_of(data), NONCE, 0, len(data), 1)
    assert list(reader) == []
    assert reader.reason == "a frame of 9 entries in 8 bytes"


def test_heads_that_claim_the_same_bytes_are_not_all_believed() -> None:
    """The search behind a bad place reads no byte twice, however many frames claim it."""
    size = 24 << 10
    data = b""
    while len(data) < size - 96:
        claimed = size - len(data) - 64
        head = claimed.to_bytes(4, "little") + encode_frame(NONCE, 0, 1, 1, b"x", 0)[4:20]
        seed = crc32(len(data).to_bytes(8, "little"), crc32(NONCE))
        data += head + crc32(head, seed).to_bytes(4, "little")
    data = data.ljust(size, b"x")
    read = 0

    def metered(offset: int, length: int) -> bytes:
        nonlocal read
        read += length
        return bytes_of(data)(offset, length)

    scan_rest(metered, NONCE, 0, len(data), range(1, 9))
    assert read < 4 * len(data)


@pytest.mark.parametrize("levels", [99, 150, 300, 480, 600, 3000, 100_000])
def test_no_depth_is_too_much(levels: int) -> None:
    """Nested paths, keys and values, at any depth: refused, or taken; never a RecursionError."""
    nested = b"\x91" * levels + b"\xc0"
    maps = b"\x81\xa1a" * levels + b"\xc0"
    for target in TARGETS.values():
        for inner in (nested, maps):
            for data in (
                inner,
                b"\x93\x00\x91" + inner + b"\xc0",
                b"\x93\x00\x91\xa8anything" + inner,
                b"\x93\x00\x92\xa8anything" + inner + b"\x01",
                b"\x93\x05\x91\xa5pairs\x81" + inner + b"\x90",
                b"\x92\x00\x91\x93\x00\x91\xa6branch" + inner,
            ):
                target(data)
    payload = codec.encode((0, [(0, ["anything"], msgspec.Raw(nested))]))
    open_all(database_of([(1, FIRST), (1, payload)], []))


@pytest.mark.parametrize("typed", [True, False], ids=["typed", "untyped"])
def test_no_state_grows_deeper_step_by_step(*, typed: bool) -> None:
    """Operations that each go one level further down are refused before it is too deep to walk."""
    tree, fold = Tree(KIND), Fold()

    def apply(path: list[Any], argument: bytes) -> None:
        one = [Operation(codec.SET, path, msgspec.Raw(argument))]
        if typed:
            tree.apply(tree.resolve(one))
        else:
            fold.apply(one)

    apply([], ROOT)
    for level in range(100):
        apply(["anything", *[0] * level], b"\x91\xc0")
    with pytest.raises(ValueError, match="a path of 101 steps"):
        apply(["anything", *[0] * 100], b"\x91\xc0")


def test_what_cannot_be_applied_is_named() -> None:
    """An entry whose checksums are right: the LSN, the path and the reason, as damage."""
    bad = codec.encode((0, [(0, ["numbers"], ["x"])]))
    with pytest.raises(CorruptError, match="LSN 2 can't be applied: /numbers/0: Expected `int`"):
        own(
            SimulatedDirectory(World(as_image(database_of([(1, FIRST), (1, bad)], [])))),
            KIND,
            create=False,
        )
    first = codec.encode((0, [], msgspec.Raw(b"\x01")))
    with pytest.raises(CorruptError, match="a checkpoint's operation can't be applied"):
        own(SimulatedDirectory(World(as_image(database_of([], [(1, first)])))), KIND, create=False)


def test_a_database_without_content_makes_no_checkpoint() -> None:
    """It is told, as damage would be; there is no state to write."""
    directory = SimulatedDirectory(World(as_image(database_of([], []))))
    with pytest.raises(CairnError, match="has no content yet"):
        make_checkpoint(directory, 0, lambda: None)


def test_a_schema_that_is_no_text_of_ours_is_damage() -> None:
    """It isn't compared with what is declared, nor does it end the program."""
    for text in ("", "{", "[" * 100_000, "9" * 5000):
        directory = SimulatedDirectory(World(as_image(with_header(schema=text, fingerprint="x"))))
        with pytest.raises(CorruptError, match="the stored schema can't be read"):
            own(directory, KIND, create=False)


@pytest.mark.parametrize(
    "note",
    [
        b"\xff",
        b'{"host":"\xc0","pid":1,"command":"c","since":"2024-01-01T00:00:00Z"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"host":"h","pid":1,"command":"c","since":"0001-01-01T00:00:00Z"}',
        b'{"host":"h","pid":1,"command":"c","since":"9999-12-31T23:59:59Z"}',
        b'{"host":"h","pid":1,"command":"c","since":"2024-01-01T00:00:00"}',
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "<-12>12", "<+14>-14"])
def test_whatever_is_in_the_lock_file_the_second_is_refused(
    monkeypatch: pytest.MonkeyPatch, note: bytes, zone: str
) -> None:
    """LOCK is for people: what can't be read of it, or isn't a time here, is left out."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    world = World(((LOCK_NAME, note),))
    assert SimulatedDirectory(world).lock()
    try:
        with pytest.raises(DatabaseLocked, match="is open for writing in"):
            acquire(SimulatedDirectory(world), None)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_report_names_the_checkpoint_that_was_asked_for() -> None:
    """What the helper process names is opened and removed: so only a file that is for that."""
    name = "checkpoint-00000000000000000007.ckpt.tmp-1-00ff"
    good = json.dumps({"file": name, "lsn": 7})
    assert read_report(good, 7).file == name
    for said in (
        "",
        "Traceback",
        "[" * 100_000,
        json.dumps({"file": name, "lsn": 8}),
        json.dumps({"file": "DATABASE", "lsn": 7}),
        json.dumps({"file": f"../other/{name}", "lsn": 7}),
    ):
        with pytest.raises(CairnError, match="didn't report its checkpoint"):
            read_report(said, 7)


def test_a_count_in_a_header_is_held_against_what_follows() -> None:
    """Four billion operations in a few bytes aren't waited for."""
    with pytest.raises(ValueError, match="truncated"):
        decode_operations(b"\x93\x00\x90\xc0" * 9, 0xFFFFFFFE)
    with pytest.raises(EndlessError):
        MeteredDirectory(World()).spend(1 << 30)


AUDIT = """
import random, sys
import hostile
begin = {name: hostile.seeds(name) for name in hostile.TARGETS}
for name, target in hostile.TARGETS.items():
    for data in begin[name]:
        target(data)
found = []
FORBIDDEN = ("import", "exec", "compile", "open", "os.", "subprocess.", "pickle.", "marshal.",
             "code.", "ctypes.", "shutil.", "tempfile.")
sys.addaudithook(lambda event, _: found.append(event) if event.startswith(FORBIDDEN) else None)
source, count = random.Random(11), 0
for name, target in hostile.TARGETS.items():
    for _ in range(int(sys.argv[1]) // (10 if name in ("directory", "schema") else 1)):
        data = hostile.mutated(source, begin[name])
        target(data)
        assert not found, (name, data, found)
        count += 1
exec("pass")
assert found, "the hook sees nothing"
print(count)
"""


@pytest.mark.slow
@pytest.mark.process
def test_no_code_comes_from_a_file(evidence: Evidence) -> None:
    """Nothing is imported, compiled, run, opened or started while hostile bytes are decoded."""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", AUDIT, str(examples(1000))],
        env={**os.environ, "PYTHONPATH": f"{here.parent / 'src'}{os.pathsep}{here}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    evidence("hostile", int(done.stdout))


@pytest.mark.nightly
@pytest.mark.process
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris isn't installed: pip install --group fuzz (Linux only)",
)
@pytest.mark.parametrize("target", TARGETS)
def test_a_fuzzer_finds_nothing(evidence: Evidence, target: str, tmp_path: Path) -> None:
    """Two minutes of coverage-guided fuzzing for each part that reads files."""
    evidence("hostile", fuzzing.fuzz(target, 120, tmp_path))
