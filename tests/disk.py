"""What a simulated disk is made of: changes of contents, changes of names, and what they lead to.

Contents and names are apart: a file's content says nothing of whether its name is on disk.
"""

from functools import reduce
from typing import NamedTuple

Image = tuple[tuple[str, bytes], ...]
"""A directory as a crash leaves it: names and contents, sorted. Without its own name: empty."""


class Change(NamedTuple):
    """A write (data), or a new size (data is None), of a file."""

    offset: int
    data: bytes | None

    def apply(self, content: bytes) -> bytes:
        """The content after it."""
        if self.data is None:
            return content[: self.offset].ljust(self.offset, b"\0")
        before = content[: self.offset].ljust(self.offset, b"\0")
        return before + self.data + content[self.offset + len(self.data) :]

    def without(self, other: "Change") -> "list[Change]":
        """What is left of a write where another one isn't written over it."""
        if self.data is None or other.data is None:
            return [self]
        start, end = other.offset - self.offset, other.offset + len(other.data) - self.offset
        head = Change(self.offset, self.data[: max(0, start)])
        tail = Change(max(self.offset, self.offset + end), self.data[max(0, end) :])
        return [part for part in (head, tail) if part.data]


Changes = tuple[Change, ...]


def applied(content: bytes, changes: Changes) -> bytes:
    """The content after all of these, in order."""
    return reduce(lambda before, change: change.apply(before), changes, content)


class Naming(NamedTuple):
    """A creation (old is None), a removal (new is None), or a renaming of a file."""

    inode: int
    old: str | None
    new: str | None

    def apply(self, names: dict[str, int]) -> None:
        """Change a directory."""
        if self.old is not None:
            names.pop(self.old, None)
        if self.new is not None:
            names[self.new] = self.inode

    def touches(self, other: "Naming") -> bool:
        """Whether the two keep their order."""
        names = {self.old, self.new} - {None}
        return self.inode == other.inode or bool(names & {other.old, other.new})


class Moment(NamedTuple):
    """All that a crash at this moment depends on."""

    contents: dict[int, bytes]
    changes: dict[int, Changes]
    names: dict[str, int]
    namings: tuple[Naming, ...]
    rooted: bool = True
    """Whether the directory's own name is on disk: if not, all of it may be gone."""
