"""Which file has which name, followed through the order of a trace.

Identities are the system's where it reported them. Where it didn't, a name is taken to lead to the
file that it was last seen to lead to, unless another call on that name ran at the same time: then
nothing is known, and nothing is shown.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cairndb.tracing_events import Call, Known


class File:
    """One file, whatever its names."""

    def __init__(self, device: int = 0, inode: int = 0, links: int = -1) -> None:
        self.device = device
        self.inode = inode
        self.links = links
        self.unsynced: Call | None = None
        """The last write that no sync has covered."""

    def learn(self, call: Call) -> None:
        """Take over what the system reported with a call."""
        if call.inode:
            self.device, self.inode = call.device, call.inode
        if call.links >= 0:
            self.links = call.links

    def count(self, change: int) -> None:
        """One name more or less."""
        if self.links >= 0:
            self.links = max(0, self.links + change)


class Removal:
    """That a name was taken from the file that had it."""

    def __init__(self, call: Call, how: str) -> None:
        self.call = call
        self.how = how

    def between(self, after: int, before: int) -> bool:
        """Whether that was certainly after one place in the trace and before another."""
        return self.call.begun > after and self.call.ended <= before

    def __str__(self) -> str:
        process, thread = self.call.process, self.call.thread
        return f"{self.how} by {process}" + (f" (thread {thread})" if thread != process else "")


class Names:
    """The names of all files.

    Args:
        calls: of the whole trace, with absolute paths.
        known: what was there before.
    """

    def __init__(self, calls: Iterable[Call], known: Sequence[Known]) -> None:
        self._files: dict[str, File | None] = {
            each.path: File(each.device, each.inode, each.links) for each in known
        }
        self._by_identity: dict[tuple[int, int], File] = {}
        for file in self._files.values():
            assert file is not None
            self._by_identity[file.device, file.inode] = file
        self.removals: dict[str, Removal] = {}
        self._changes = _Changes(calls)
        self._unsynced: set[File] = set()

    def written(self, call: Call, file: File) -> None:
        """Something was written to a file."""
        file.unsynced = call
        self._unsynced.add(file)

    def synced(self, call: Call, file: File | None = None) -> None:
        """A file, or without one all, were synced: what was written before that began is safe."""
        for one in [file] if file is not None else list(self._unsynced):
            if one.unsynced is not None and one.unsynced.ended <= call.begun:
                one.unsynced = None
                self._unsynced.discard(one)

    def get(self, path: str) -> File | None:
        """The file of that name, if it is known."""
        return self._files.get(path)

    def certain(self, call: Call, path: str) -> bool:
        """Whether nothing else was done to a name while a call ran."""
        return self._changes.most(path, call.begun, call.ended, _changes_name(call))

    def steady(self, opened: Call, until: int) -> bool:
        """Whether nothing was done to a name from its opening to a place, certainly."""
        own = _changes_name(opened)
        return self._changes.most(opened.path, opened.begun, until, own)

    def opened(self, call: Call) -> File:
        """The file that a successful open has led to."""
        if "unnamed" in call.words:
            return self._identified(call, File())
        certain = self.certain(call, call.path)
        new = call.words >= {"create", "exclusive"}
        before = self._files.get(call.path) if certain and not new else None
        file = self._identified(call, before or File(), new=new)
        file.learn(call)
        if certain and call.named is not False:
            self._files[call.path] = file
        elif self._files.get(call.path) is not file and call.named is not False:
            self._files.pop(call.path, None)
        return file

    def looked(self, call: Call, file: File | None) -> File | None:
        """The file that a stat was of, which it tells more of.

        Args:
            call: a look.
            file: what its descriptor leads to, if it was by a descriptor.
        """
        if call.error or not call.inode:
            return file
        if file is not None:
            return self._identified(call, file)
        if not call.path or not self.certain(call, call.path):
            return None
        found = self._identified(call, self._files.get(call.path) or File())
        self._files[call.path] = found
        return found

    def _identified(self, call: Call, file: File, *, new: bool = False) -> File:
        """The one object of an identity that the system has reported."""
        if not call.inode:
            return file
        identity = call.device, call.inode
        known = self._by_identity.get(identity)
        if known is not None and not new and known is not file:
            known.unsynced = known.unsynced or (None if file.inode else file.unsynced)
            file = known
        elif file.inode and (file.device, file.inode) != identity:
            file = File()
        file.learn(call)
        if call.links:
            self._by_identity[identity] = file
        return file

    def unlinked(self, call: Call) -> File | None:
        """A name is gone; the file that had it, if it is known."""
        return self._take(call, call.path, "removed")

    def _take(self, call: Call, path: str, how: str) -> File | None:
        file = self._files.get(path) if self.certain(call, path) else None
        self._files[path] = None
        self.removals[path] = Removal(call, how)
        if file is not None:
            file.count(-1)
            self._forget(file)
        return file

    def _forget(self, file: File) -> None:
        """Have the number of a file that is gone for good mean another one."""
        if file.links == 0 and self._by_identity.get((file.device, file.inode)) is file:
            del self._by_identity[file.device, file.inode]

    def renamed(self, call: Call) -> File | None:
        """A file has another name, or two have each other's; the first file, if it is known."""
        if call.path == call.other:
            return self._files.get(call.path)
        if "exchange" in call.words:
            mine, others = self._files.get(call.path), self._files.get(call.other)
            for path in (call.path, call.other):
                self.removals[path] = Removal(call, "exchanged")
            self._files[call.path], self._files[call.other] = others, mine
            return mine
        file = self._take(call, call.path, f"renamed to {call.other}")
        if self._files.get(call.other) is not file or file is None:
            self._take(call, call.other, "replaced")
        self._give(call, file)
        self._move_below(call)
        return file

    def _move_below(self, call: Call) -> None:
        """What was in a directory is in it under its new name."""
        below = call.path + "/"
        for path in [path for path in self._files if path.startswith(below)]:
            self._files[call.other + path[len(call.path) :]] = self._files.pop(path)

    def linked(self, call: Call, file: File | None) -> File | None:
        """A file has one name more; the file, if it is known.

        Args:
            call: a link.
            file: what its descriptor leads to, if it was by a descriptor.
        """
        if file is None and self.certain(call, call.path):
            file = self._files.get(call.path)
        self._give(call, file)
        return file

    def _give(self, call: Call, file: File | None) -> None:
        if file is None or not self.certain(call, call.other):
            self._files.pop(call.other, None)
            return
        file.count(1)
        self._files[call.other] = file
        if file.inode:
            self._by_identity[file.device, file.inode] = file


class _Changes:
    """When each name was given or taken, to tell what ran at the same time."""

    def __init__(self, calls: Iterable[Call]) -> None:
        times: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for call in calls:
            for path in {call.path, call.other or call.path} if _changes_name(call) else ():
                times[path].append((call.begun, call.ended))
        self._begun = {path: sorted(each) for path, each in times.items()}
        self._ended = {path: sorted(end for _, end in each) for path, each in times.items()}

    def most(self, path: str, begun: int, ended: int, count: int) -> bool:
        """Whether no more than so many changes of a name overlap with a part of the trace."""
        if path not in self._begun:
            return True
        # Those that had begun by its end, without those that had ended before its beginning.
        before = bisect_right(self._begun[path], (ended, 1 << 200))
        return before - bisect_left(self._ended[path], begun) <= count


def _changes_name(call: Call) -> int:
    """How many changes of its name a call is."""
    if call.error:
        return 0
    if call.name == "open":
        return int("create" in call.words)
    return int(call.name in {"unlink", "rename", "link"})
