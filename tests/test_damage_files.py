"""Damage to the files of a real database, as whoever calls `cairndb.open` sees it."""

import multiprocessing
import os
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cairndb
from bank import Account, Bank
from cairndb.errors import CairnError, CorruptError
from cairndb.files import RealDirectory
from cairndb.recovery import verify
from effort import examples

Evidence = Callable[[str, int], None]
State = dict[str, int]


def state_of(bank: Bank) -> State:
    """All of a bank, as builtins."""
    found = {key: account.balance for key, account in bank.accounts.items()}
    return found | {
        f"{key} {account.owner}": len(account.tags) for key, account in bank.accounts.items()
    }


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    """A database of several owners with two checkpoints, and what is in it."""
    path = tmp_path_factory.mktemp("original") / "bank.cairn"
    for owner in range(5):
        with cairndb.open(path, Bank) as db:
            for number in range(3):
                with db.update() as bank:
                    bank.accounts[f"{owner}.{number}"] = Account(f"owner {owner}", number, ["x"])
            if owner in {1, 2}:
                db.checkpoint()
            with db.view() as bank:
                state = state_of(bank)
    return path, state


@pytest.fixture
def copied(original: tuple[Path, State], tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    path = tmp_path / "copy.cairn"
    shutil.copytree(original[0], path)
    return path


def names_of(path: Path) -> list[str]:
    """The files that matter."""
    return sorted(file.name for file in path.iterdir() if file.name != "LOCK")


def check(path: Path, right: State, *, read_only: bool) -> bool:
    """Open it: the right state (True), or an error that names a file or the directory (False)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a checkpoint was passed over
        try:
            with (
                cairndb.open(path, Bank, create=False, read_only=read_only) as db,
                db.view() as bank,
            ):
                found = state_of(bank)
        except CairnError as error:
            refusal = error
        else:
            assert found == right
            return True
    assert str(path) in str(refusal)
    if isinstance(refusal, CorruptError):
        assert refusal.file.startswith(str(path))
        assert refusal.offset >= 0
        assert refusal.reason
    return False


def damages(content: bytes, source: random.Random) -> Iterator[bytes]:
    """A file with a bit flipped, cut off, longer, with a block of zeros or of junk."""
    used = len(content.rstrip(b"\0"))
    place = source.randrange(used)
    size = source.choice((16, 512, 4096))
    yield content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
    yield content[: source.randrange(used)]
    yield content + source.randbytes(size)
    block = place - place % size
    # In place: not so that the last frame is lost with its mark, which is another matter.
    if block + size < used:
        yield content[:block] + bytes(size) + content[block + size :]
        yield content[:block] + source.randbytes(size) + content[block + size :]


@pytest.mark.slow
@pytest.mark.parametrize("read_only", [False, True], ids=["owner", "reader"])
def test_a_damaged_database_is_whole_or_refused(
    original: tuple[Path, State], copied: Path, evidence: Evidence, *, read_only: bool
) -> None:
    """Random damage of each file: the typed state is the original's, or the error says where."""
    source = random.Random(6)  # noqa: S311  reproducible, not secret
    before = {name: (copied / name).read_bytes() for name in names_of(copied)}
    outcomes = []
    for _ in range(examples(4)):
        for name, content in before.items():
            for damaged in damages(content, source):
                (copied / name).write_bytes(damaged)
                outcomes.append(check(copied, original[1], read_only=read_only))
                if not outcomes[-1]:
                    assert (copied / name).read_bytes() == damaged  # nothing was changed
                for extra in set(names_of(copied)) - set(before):
                    (copied / extra).unlink()
                for each, whole in before.items():  # what an owner sealed, too
                    if (copied / each).read_bytes() != whole:
                        (copied / each).write_bytes(whole)
    evidence("damaged", len(outcomes))
    assert len(set(outcomes)) == 2


def test_a_missing_file_is_named_or_not_needed(
    original: tuple[Path, State], copied: Path, evidence: Evidence
) -> None:
    """Each file taken away, and each pair of files swapped."""
    names = names_of(copied)
    for name in names:
        hidden = copied.parent / name
        (copied / name).rename(hidden)
        check(copied, original[1], read_only=True)
        for other in set(names) - {name}:
            (copied / other).rename(copied / name)
            hidden.rename(copied / other)
            check(copied, original[1], read_only=True)
            (copied / other).rename(hidden)
            (copied / name).rename(copied / other)
        hidden.rename(copied / name)
    assert check(copied, original[1], read_only=True)
    evidence("damaged", len(names) ** 2)


def test_a_warning_that_is_an_error_leaves_nobody_the_owner(copied: Path) -> None:
    """Where a passed over checkpoint ends the call, the next one becomes the owner."""
    newest = max(copied.glob("*.ckpt"))
    newest.write_bytes(newest.read_bytes()[:-1])
    caught = []
    for _ in range(2):
        with pytest.raises(RuntimeWarning, match="an earlier checkpoint is used") as info:
            cairndb.open(copied, Bank)
        caught.append(info)  # with all that its traceback holds
    assert len(caught) == 2


def a_directory(path: Path) -> None:
    """One with something in it."""
    path.mkdir()
    (path / "file").touch()


def a_link(path: Path) -> None:
    """A link to the very content: what is behind it isn't in this directory's hands."""
    path.symlink_to(path.parent.parent / "elsewhere")


KINDS = {"directory": a_directory, "pipe": os.mkfifo, "link": a_link}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused(
    original: tuple[Path, State], copied: Path, evidence: Evidence, kind: str
) -> None:
    """A directory, a pipe, a link under the name of each file: nobody waits for a pipe."""
    for name in (*names_of(copied), "LOCK"):
        hidden = copied.parent / "elsewhere"
        (copied / name).rename(hidden)
        KINDS[kind](copied / name)
        for read_only in (True, False):
            whole = check(copied, original[1], read_only=read_only)
            assert whole or name != "LOCK"
            assert not whole or name not in {"DATABASE", names_of(original[0])[-1]}
        if name not in {"LOCK", "DATABASE"}:
            directory = RealDirectory(str(copied))
            assert any(name in error.file for error in verify(directory)), name
            directory.close()
        shutil.rmtree(copied)
        shutil.copytree(original[0], copied)
        hidden.unlink()
    evidence("damaged", 2 * len(names_of(copied)))


@pytest.mark.parametrize("kind", ["directory", "pipe"])
def test_what_is_no_file_is_called_so(copied: Path, kind: str) -> None:
    """The message says what is wrong with the path."""
    shutil.move(copied / "DATABASE", copied.parent)
    KINDS[kind](copied / "DATABASE")
    with pytest.raises(CairnError, match="DATABASE can't be used: it isn't a regular file"):
        cairndb.open(copied, Bank)


def _as_nobody(path: str, results: "multiprocessing.SimpleQueue[str]") -> None:
    os.setgid(65534)
    os.setuid(65534)
    for read_only in (True, False):
        try:
            cairndb.open(path, Bank, create=False, read_only=read_only).close()
            results.put("opened")
        except CairnError as error:
            results.put(str(error))


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_files_that_may_not_be_read_are_named(copied: Path) -> None:
    """Somebody else, who may not read a file, is told which."""
    for folder in (copied, *list(copied.parents)[:4]):
        folder.chmod(0o755)
    method = multiprocessing.get_context("spawn")
    for name in ("DATABASE", max(n for n in names_of(copied) if n.startswith("log"))):
        (copied / name).chmod(0)
        results = method.SimpleQueue()
        process = method.Process(target=_as_nobody, args=(str(copied), results))
        process.start()
        process.join()
        for _ in range(2):
            assert f"{copied}/{name} can't be used: Permission denied" in results.get()
        (copied / name).chmod(0o644)
