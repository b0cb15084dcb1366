"""A database comes out of a tar archive whole, or not at all, whatever the archive holds."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cairndb
from cairndb import cli
from cairndb.archive import Archive
from cairndb.errors import CairnError
from cairndb.restoring import restore_archive
from simulated import SimulatedDirectory, World
from test_cli import cairn as cairn_fixture
from test_cli_past import path as path_fixture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from commands import Cairn

cairn = cairn_fixture
path = path_fixture

Members = list[tuple[tarfile.TarInfo, bytes]]


def archived(path: Path) -> bytes:
    """What `cairn backup DATABASE -` writes."""
    written = io.BytesIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdout", io.TextIOWrapper(written, write_through=True))
        assert cli.run(["backup", str(path), "-"]) == 0
        return written.getvalue()


@pytest.fixture
def archive(path: Path) -> bytes:
    """That of a small database."""
    return archived(path)


def restored(data: bytes, destination: Path) -> int:
    """Restore from bytes; the LSN."""
    archive = Archive(io.BytesIO(data).read, "a.tar")
    return restore_archive(archive, "a.tar", str(destination), None, lambda _: None)


def state_of(path: Path) -> Any:
    """What is in a database."""
    with cairndb.open(path, read_only=True) as db, db.view() as root:
        return cairndb.plain(root)


def refused(data: bytes, tmp_path: Path, match: str | None = None) -> None:
    """It isn't restored, the error says why, and nothing is left of the attempt."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CairnError, match=match) as error:
        restored(data, tmp_path / "new.cairn")
    assert str(error.value).startswith("a.tar: ")
    assert ".tmp-" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_an_archive_is_restored(
    cairn: Cairn, path: Path, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file or standard input, as of now or before; what is there is left alone."""
    file, one, other, earlier = (tmp_path / n for n in ("a.tar", "1.cairn", "2.cairn", "3.cairn"))
    file.write_bytes(archive)
    assert cairn.json("restore", file, one, "--json")["lsn"] == 4
    assert cairn.json("get", one) == cairn.json("get", path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(archive)))
    cairn("restore", "-", other)
    cairn("verify", other)
    assert cairn.json("get", other) == cairn.json("get", path)
    cairn("restore", file, earlier, "--at", 3)
    assert cairn.json("get", earlier) == cairn.json("get", path, "--at", 3)
    cairn("restore", file, tmp_path / "4.cairn", "--at", 9, code=2)
    assert f"{file} has got to LSN 4" in cairn.error
    cairn("restore", file, other, code=3)
    assert "name a new directory" in cairn.error
    file.write_bytes(b"something else" * 100)
    cairn("restore", file, tmp_path / "4.cairn", code=3)
    assert "it is no tar archive" in cairn.error
    assert not list(tmp_path.glob("*.tmp-*"))


@pytest.mark.slow
@pytest.mark.process
def test_a_backup_goes_through_a_pipe(path: Path, tmp_path: Path) -> None:
    """`cairn backup bank.cairn - | cairn restore - new.cairn`."""
    command = [sys.executable, "-m", "cairndb"]
    with subprocess.Popen([*command, "backup", str(path), "-"], stdout=subprocess.PIPE) as backup:
        subprocess.run(
            [*command, "restore", "-", str(tmp_path / "new.cairn")], stdin=backup.stdout, check=True
        )
        assert backup.wait() == 0
    assert state_of(tmp_path / "new.cairn") == state_of(path)


@pytest.mark.slow
def test_a_long_log_comes_in_many_files(tmp_path: Path) -> None:
    """A checkpoint, and a segment that is longer than a header's name would be."""
    path = tmp_path / "x.cairn"
    for number in range(3):
        with cairndb.open(path) as db:
            with db.update() as root:
                root[str(number)] = "x" * 2_000_000
            if number == 1:
                db.checkpoint()
    restored(archived(path), tmp_path / "new.cairn")
    assert state_of(tmp_path / "new.cairn") == state_of(path)


def rewritten(archive: bytes, change: Callable[[Members], Members]) -> bytes:
    """An archive with other members."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        members = [(m, (opened.extractfile(m) or io.BytesIO()).read()) for m in opened.getmembers()]
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as opened:
        for about, content in change(members):
            opened.addfile(about, io.BytesIO(content))
    return written.getvalue()


def entry(name: str, content: bytes = b"", **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A member of one's own making."""
    about = tarfile.TarInfo(name)
    about.size = len(content)
    for key, value in more.items():
        setattr(about, key, value)
    return about, content


def renamed(members: Members, old: str, new: str) -> Members:
    """With another name, in the list too."""
    for about, _ in members:
        about.name = about.name.replace(old, new)
    about, content = members[0]
    content = content.replace(old.encode(), new.encode())
    about.size = len(content)
    return [(about, content), *members[1:]]


LINK = entry("DATABASE", type=tarfile.SYMTYPE, linkname="/etc/passwd")
OTHERS: dict[str, tuple[Callable[[Members], Members], str]] = {
    "a path outside": (lambda m: [m[0], entry("../DATABASE", b"x")], "comes where DATABASE"),
    "an absolute path": (lambda m: [entry("/etc/passwd", b"x"), *m], "comes first"),
    "a listed path outside": (lambda m: renamed(m, "DATABASE", "../evil"), "lists other files"),
    "a link": (lambda m: [m[0], LINK, *m[2:]], "isn't a regular file"),
    "a hard link": (
        lambda m: [m[0], entry("DATABASE", type=tarfile.LNKTYPE, linkname="BACKUP")],
        "isn't a regular file",
    ),
    "a directory": (lambda m: [entry("d", type=tarfile.DIRTYPE), *m], "isn't a regular file"),
    "a device": (lambda m: [m[0], entry("DATABASE", type=tarfile.CHRTYPE)], "a regular file"),
    "another order": (lambda m: [m[0], m[2], m[1], *m[3:]], "comes where DATABASE should"),
    "the list last": (lambda m: [*m[1:], m[0]], "'DATABASE' comes first"),
    "a file too many": (lambda m: [*m, entry("LOCK", b"x")], "'LOCK' is no part"),
    "a file twice": (lambda m: [*m, m[-1]], "is no part"),
    "a file missing": (lambda m: m[:-1], "is missing, and the archive ends"),
    "nothing": (lambda _: [], "nothing in it"),
    "no list": (lambda m: [entry("BACKUP", b"{}"), *m[1:]], "doesn't say what the backup is"),
    "a list that ends deep": (lambda m: [entry("BACKUP", b"[" * 99_999), *m[1:]], "BACKUP"),
    "a long name": (lambda m: [entry("x" * 300, b"x"), *m], "says more of a file"),
    "an extended header": (
        lambda m: [entry("BACKUP", m[0][1], pax_headers={"comment": "x"}), *m[1:]],
        "says more of a file",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_no_backup_holds_is_refused(name: str, archive: bytes, tmp_path: Path) -> None:
    """Names, links, order, members: nothing but what `cairn backup` writes."""
    change, reason = OTHERS[name]
    refused(rewritten(archive, change), tmp_path, reason)


@pytest.mark.parametrize("size", ["77777777777", "zz", ""])
def test_what_a_header_says_of_a_length_isnt_believed(
    size: str, archive: bytes, tmp_path: Path
) -> None:
    """A member of 8 GiB that would not be read into memory, nor given room that isn't there."""
    for start in (0, len(archive[: archive.index(b"DATABASE\0")])):
        header = bytearray(archive[start : start + 512])
        header[124:136] = size.encode().ljust(12, b"\0")
        header[148:156] = b" " * 8
        header[148:156] = f"{sum(header):06o}\0 ".encode()
        refused(archive[:start] + header + archive[start + 512 :], tmp_path)


def test_lengths_that_a_header_has_no_room_for_are_read(archive: bytes, tmp_path: Path) -> None:
    """From 8 GiB on they stand in a header of their own."""
    about = tarfile.TarInfo("DATABASE")
    about.size = 9 << 30
    start = archive.index(b"DATABASE\0")
    longer = archive[:start] + about.tobuf(tarfile.PAX_FORMAT) + archive[start + 512 :]
    refused(longer, tmp_path, f"DATABASE takes {9 << 30} bytes|within DATABASE: it was cut off")


def test_an_archive_that_was_cut_off_is_refused(archive: bytes, tmp_path: Path) -> None:
    """Wherever it ends; nothing is left behind."""
    end = len(archive.rstrip(b"\0"))
    boundaries = range(0, end, 512)
    for length in (*boundaries[:12], *boundaries[-3:], 100, 600, 1500, end, end + 100):
        refused(archive[:length], tmp_path, "cut off|nothing in it")
    refused(archive + b"more", tmp_path, "goes on after its end")


@pytest.mark.slow
def test_a_changed_byte_is_found_or_harmless(archive: bytes, tmp_path: Path) -> None:
    """Damage on the way never gives another state."""
    expected = restored(archive, tmp_path / "good.cairn")
    state = state_of(tmp_path / "good.cairn")
    chosen = random.Random(7)  # noqa: S311  no secret
    used = [offset for offset, byte in enumerate(archive) if byte]
    for number in range(60):
        data = bytearray(archive)
        data[chosen.choice(used)] ^= 1 << chosen.randrange(8)
        destination = tmp_path / f"{number}.cairn"
        try:
            assert restored(bytes(data), destination) == expected
        except CairnError:
            assert not destination.exists()
        else:
            assert state_of(destination) == state


@given(st.binary(max_size=1100), st.integers(0, 2000))
def test_anything_is_refused_with_an_error_of_ours(data: bytes, start: int) -> None:
    """Random bytes, also behind a good header."""
    about = tarfile.TarInfo("BACKUP")
    about.size = len(data)
    head = about.tobuf(format=tarfile.PAX_FORMAT)
    for content in (data, (head + data)[start % 600 :], head + data):
        with pytest.raises(CairnError):
            Archive(io.BytesIO(content).read, "a.tar").unpack(
                SimulatedDirectory(World()), lambda _: None
            )
