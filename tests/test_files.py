"""The real directory: what it does, what it says when it can't, and what a fork leaves of it."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cairndb.errors import DiskFull
from cairndb.files import (
    Directory,
    File,
    RealDirectory,
    is_temporary,
    path_in,
    temporary_name,
)
from cairndb.publishing import create_directory, create_within, publish
from simulated import SimulatedDirectory, World
from threads import Aside


@pytest.fixture(params=["real", "simulated"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Directory]:
    """A directory of either kind: they must behave alike."""
    found: Directory = (
        RealDirectory(str(tmp_path)) if request.param == "real" else SimulatedDirectory(World())
    )
    yield found
    found.close()


def fill_with(data: bytes) -> "Filler":
    """A function for `publish` that writes this."""
    return Filler(data)


class Filler:
    """Writes its data."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __call__(self, file: File) -> None:
        file.write(0, self.data)


def test_what_is_written_is_read(directory: Directory) -> None:
    """Reading gives what was written, zeros where nothing was, and less only at the end."""
    file = directory.create("a")
    file.write(5, b"hello")
    file.sync()

    assert file.read(0, 100) == b"\0\0\0\0\0hello"
    assert file.read(6, 2) == b"el"
    assert file.read(10, 5) == b""
    assert file.size() == 10
    file.close()
    file.close()


def test_allocating_makes_longer_and_never_shorter(directory: Directory) -> None:
    """Allocated bytes are zeros; what is there stays."""
    file = directory.create("a")
    file.write(0, b"x" * 10)
    file.allocate(20)
    file.allocate(5)

    assert file.read(0, 99) == b"x" * 10 + bytes(10)
    file.truncate(3)
    assert file.size() == 3
    file.close()


def test_names_are_created_renamed_and_removed(directory: Directory) -> None:
    """The directory shows each change; a taken name is an error, and so is a missing one."""
    directory.create("b").close()
    directory.create("a").close()
    with pytest.raises(FileExistsError, match="/a"):
        directory.create("a")
    directory.rename("b", "c")
    assert directory.names() == ["a", "c"]
    directory.rename("c", "a")
    directory.sync()
    assert directory.names() == ["a"]
    directory.remove("a")
    with pytest.raises(FileNotFoundError, match="/a"):
        directory.open("a")
    assert directory.free_bytes() > 0


def test_each_listing_is_whole(tmp_path: Path) -> None:
    """Threads that list a directory at the same time, by the same object, each get all names."""
    directory = RealDirectory(str(tmp_path))
    wanted = [f"{number:04}" for number in range(1500)]
    for name in wanted:
        directory.create(name).close()
    listing = [Aside(lambda: [directory.names() == wanted for _ in range(50)]) for _ in range(4)]
    assert all(all(each.result()) for each in listing)
    directory.close()


def test_holds_exclude_each_other(directory: Directory) -> None:
    """Two may share a file; nobody has it exclusively then, until they close."""
    directory.create("a").close()
    one, two, three = (directory.open("a") for _ in range(3))
    assert one.hold(exclusive=False)
    assert two.hold(exclusive=False)
    assert not three.hold(exclusive=True)
    one.close()
    two.close()
    assert three.hold(exclusive=True)
    three.close()


def test_a_published_file_is_whole(directory: Directory) -> None:
    """It has its final name and content, and no temporary one is left."""
    file = publish(directory, "a", fill_with(b"whole"), nonce=bytes(16), bytes_needed=5)

    assert directory.names() == ["a"]
    assert file.path == path_in(directory, "a")
    file.write(5, b"!")
    assert file.read(0, 9) == b"whole!"
    file.close()


@pytest.mark.parametrize("number", range(1, 5))
def test_no_room_for_a_file_leaves_nothing(number: int) -> None:
    """Whichever step of publishing finds no room: DiskFull with path and bytes, and no file."""
    world = World()
    world.faults = {number: errno.ENOSPC}
    directory = SimulatedDirectory(world)

    with pytest.raises(DiskFull, match=r"simulated.cairn/a: no room.* 5 bytes"):
        publish(directory, "a", fill_with(b"whole"), nonce=bytes(16), bytes_needed=5)

    assert directory.names() == []


def test_other_failures_of_publishing_come_out_as_they_are() -> None:
    """A failed sync of the directory says so: the outcome is open."""
    for number in range(1, 6):
        world = World()
        world.faults = {number: errno.EIO}
        with pytest.raises(OSError, match=r"simulated\.cairn") as caught:
            publish(
                SimulatedDirectory(world), "a", fill_with(b"x"), nonce=bytes(16), bytes_needed=1
            )
        assert caught.value.errno == errno.EIO
        assert list(world.names) == (["a"] if number == 5 else [])


def test_the_lock_is_on_the_directory_itself(tmp_path: Path) -> None:
    """One descriptor has it, another can't, and closing gives it up."""
    first, second = RealDirectory(str(tmp_path)), RealDirectory(str(tmp_path))
    assert first.lock()
    assert not second.lock()
    first.close()
    assert second.lock()
    second.close()


def test_errors_name_their_file(tmp_path: Path) -> None:
    """A write to a file that is open for reading, or closed, is an OSError with its path."""
    directory = RealDirectory(str(tmp_path))
    directory.create("a").close()
    file = directory.open("a")
    for use in (lambda: file.write(0, b"x"), file.close, file.sync, file.size):
        if use == file.close:
            file.close()
            continue
        with pytest.raises(OSError, match="Bad file") as caught:
            use()
        assert caught.value.filename == str(tmp_path / "a")
    directory.close()


def test_descriptors_are_not_inherited_by_programs(tmp_path: Path) -> None:
    """Every descriptor is close-on-exec."""
    directory = RealDirectory(str(tmp_path))
    file = directory.create("a")
    assert not os.get_inheritable(directory.number)
    assert not os.get_inheritable(file.number)
    file.close()
    directory.close()


@pytest.mark.process
def test_after_a_fork_the_child_has_nothing_and_the_parent_all(tmp_path: Path) -> None:
    """The child's descriptors are closed; the parent's lock stays."""
    directory = RealDirectory(str(tmp_path))
    file = directory.create("a")
    assert directory.lock()
    child = os.fork()
    if child == 0:
        os._exit(0 if file.number == directory.number == -1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    other = RealDirectory(str(tmp_path))
    assert not other.lock()
    file.write(0, b"x")
    for opened in (file, directory, other):
        opened.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_forgotten_file_is_closed_with_a_warning(tmp_path: Path) -> None:
    """Nothing leaks when nobody closes; Python is told."""
    directory = RealDirectory(str(tmp_path))
    descriptor = directory.number
    holder = [directory]
    del directory
    with pytest.warns(ResourceWarning, match="never closed"):
        holder.clear()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


def test_creating_a_directory_twice_is_allowed(tmp_path: Path) -> None:
    """The second time only the parent is synced."""
    path = tmp_path / "x.cairn"
    create_directory(str(path))
    create_directory(str(path))
    assert path.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        create_directory(str(tmp_path / "file"))


def test_a_directory_is_made_in_its_parent(tmp_path: Path) -> None:
    """Relative to it, through a link to a directory, and removed again where that can be."""
    parent = RealDirectory(str(tmp_path))
    assert parent.make_directory("x.cairn")
    assert not parent.make_directory("x.cairn")
    (tmp_path / "link").symlink_to("x.cairn")
    assert not parent.make_directory("link")
    create_within(parent, "y.cairn")
    parent.remove_directory("x.cairn")
    with pytest.raises(FileNotFoundError, match=r"x\.cairn"):
        parent.remove_directory("x.cairn")
    assert parent.names() == ["link", "y.cairn"]
    parent.close()


def test_temporary_names_are_recognised() -> None:
    """Those that are given, and no final name."""
    assert is_temporary(temporary_name("DATABASE", bytes(16)))
    assert not is_temporary("DATABASE")
    assert not is_temporary("log-00000000000000000001-00000001.seg")
    assert not is_temporary("notes.tmp-")
