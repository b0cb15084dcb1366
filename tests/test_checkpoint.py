"""Checkpoint files: written in pieces, read back whole or refused."""

import errno
from uuid import UUID

import pytest

from cairndb import checkpoint
from cairndb.checkpoint import (
    Checkpoint,
    CheckpointHeader,
    Writer,
    checkpoint_name,
    parse_checkpoint_name,
    temporary_checkpoint_name,
)
from cairndb.checkpointer import write_checkpoint
from cairndb.errors import CorruptError
from cairndb.fold import Fold
from cairndb.patch import SET, operation
from simulated import SimulatedDirectory, World

HEADER = CheckpointHeader(
    database=UUID(int=1),
    nonce=bytes(range(16)),
    lsn=7,
    running=99,
    fingerprint="00ff",
    schema="text",
    created=0,
)
FOLD = Fold()
FOLD.apply([operation(SET, (), {"key": "value"})])
PIECES = [(2, b"two operations"), (1, b"x" * 3000), (3, b"abc")]


def written(*, finish: bool = True) -> tuple[World, str]:
    """A world with one checkpoint under its temporary name."""
    world = World()
    writer = Writer(SimulatedDirectory(world), temporary_checkpoint_name(HEADER), HEADER)
    for count, payload in PIECES:
        writer.write(count, payload)
    if finish:
        writer.finish()
    return world, temporary_checkpoint_name(HEADER)


def content_of(world: World, name: str) -> bytes:
    """The bytes of a file."""
    file = SimulatedDirectory(world).open(name)
    return file.read(0, file.size())


def opened(content: bytes, name: str = checkpoint_name(7)) -> Checkpoint:
    """A checkpoint with these bytes."""
    directory = SimulatedDirectory(World(((name, content),)))
    return Checkpoint(directory, name, directory.open(name))


def test_a_checkpoint_comes_back() -> None:
    """Header and operations, frame by frame."""
    found = opened(content_of(*written()))

    assert found.header == HEADER
    assert list(found.frames()) == PIECES
    assert found.verify() == 6


@pytest.mark.parametrize("call", [2, 3, 5])
def test_a_checkpoint_that_fails_leaves_nothing(call: int) -> None:
    """The first write, a later one, the sync: the temporary file can be removed, or is gone."""
    world = World()
    world.faults[call] = errno.ENOSPC
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(SimulatedDirectory(world), HEADER, FOLD, lambda: None)
    assert world.names == {}


def test_a_large_checkpoint_is_synced_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than so many bytes wait to be synced, which the log's syncs would wait for too."""
    monkeypatch.setattr(checkpoint, "SYNC_BYTES", 5000)
    world = World()
    calls: list[str] = []
    world.observe = calls.append
    writer = Writer(SimulatedDirectory(world), "c", HEADER)
    for _ in range(10):
        writer.write(1, b"x" * 2000)
    before = sum("sync" in call for call in calls)
    writer.finish()

    assert before == 3
    assert sum("sync" in call for call in calls) == 4


def test_an_empty_state_is_a_checkpoint_too() -> None:
    """Header and seal."""
    world = World()
    writer = Writer(SimulatedDirectory(world), "c", HEADER)
    writer.finish()
    assert opened(content_of(world, "c")).verify() == 0
    assert writer.bytes_written == 4096 + 16


def test_a_checkpoint_that_isnt_whole_is_refused() -> None:
    """Cut at any frame, without its seal, with something after it, with a changed byte."""
    whole = content_of(*written())
    for length in range(4096, len(whole), 8):
        with pytest.raises(CorruptError):
            opened(whole[:length]).verify()
    with pytest.raises(CorruptError, match="end of the checkpoint is missing"):
        opened(content_of(*written(finish=False))).verify()
    with pytest.raises(CorruptError, match="goes on after its end"):
        opened(whole + bytes(8)).verify()
    changed = bytearray(whole)
    changed[5000] ^= 1
    with pytest.raises(CorruptError, match="at byte 4128: the checksum of a frame is wrong"):
        opened(bytes(changed)).verify()


def test_a_checkpoint_without_a_frame_in_the_middle_is_refused() -> None:
    """Frames are tied to their places and numbered."""
    whole = content_of(*written())
    with pytest.raises(CorruptError):
        opened(whole[:4096] + whole[4096 + 32 :]).verify()


def test_a_checkpoint_under_another_name_is_refused() -> None:
    """The name says another LSN than the header."""
    with pytest.raises(CorruptError, match="it is a checkpoint of LSN 7"):
        opened(content_of(*written()), checkpoint_name(8))


def test_giving_up_leaves_nothing() -> None:
    """`abort` removes the file."""
    world = World()
    writer = Writer(SimulatedDirectory(world), "c", HEADER)
    writer.write(1, b"x")
    writer.abort()
    assert world.names == {}


def test_names_of_checkpoints() -> None:
    """Twenty digits; other names aren't checkpoints."""
    assert checkpoint_name(12345) == "checkpoint-00000000000000012345.ckpt"
    assert parse_checkpoint_name(checkpoint_name(12345)) == 12345
    assert parse_checkpoint_name(temporary_checkpoint_name(HEADER)) is None
