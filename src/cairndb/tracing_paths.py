"""From paths as processes give them to absolute ones, and from patterns to what is asked for.

The current directory of each process is followed, and the path by which each descriptor was opened.
Names that lead through symbolic links are taken as they are written, but where the tracer says what
was opened.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from typing import TYPE_CHECKING

import msgspec

from cairndb.tracing_events import CURRENT_DIRECTORY, NO_DESCRIPTOR, Call
from cairndb.tracing_tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_OWN_DESCRIPTOR = re.compile(r"/(?:proc/(?:self|thread-self|\d+)|dev)/fd/(\d+)$")


def resolved(calls: Iterable[Call], directory: str) -> list[Call]:
    """The same calls with absolute paths; what is about a descriptor has the path of its opening.

    Args:
        calls: in the order of the trace.
        directory: of the first process.
    """
    paths = _Paths(directory)
    return [paths.resolve(call) for call in calls]


class _Paths:
    def __init__(self, directory: str) -> None:
        self._first = directory
        self._directories: dict[int, str] = {}
        self._tables: Tables[str] = Tables()

    def resolve(self, call: Call) -> Call:
        """The call with its paths; whatever it does to directories and descriptors is done."""
        changed = self._by_path(call) if call.path or call.other else self._by_descriptor(call)
        if call.name == "open" and not call.error and changed.path:
            ends = "close on exec" in call.words
            self._tables.put(call.process, call.descriptor, changed.path, close_on_exec=ends)
        elif call.name == "fork":
            self._directories[call.target] = self._directory(call.process)
        elif call.name == "chdir" and not call.error and changed.path:
            self._directories[call.process] = changed.path
        self._tables.follow(call)
        return changed

    def _directory(self, process: int) -> str:
        return self._directories.get(process, self._first)

    def _by_path(self, call: Call) -> Call:
        path = self._absolute(call, call.path, call.directory, call.base)
        other = self._absolute(call, call.other, call.other_directory, call.other_base)
        descriptor = call.descriptor if call.name == "open" else NO_DESCRIPTOR
        if call.name == "link" and (own := _OWN_DESCRIPTOR.search(path)):
            descriptor = int(own[1])
            path = self._tables.get(call.process, descriptor) or path
        elif call.name == "link" and not call.path:
            descriptor = call.directory
            path = self._tables.get(call.process, descriptor) or call.base
        return msgspec.structs.replace(call, path=path, other=other, descriptor=descriptor)

    def _by_descriptor(self, call: Call) -> Call:
        path = self._tables.get(call.process, call.descriptor) or call.base
        return msgspec.structs.replace(call, path=path if path.startswith("/") else "")

    def _absolute(self, call: Call, path: str, directory: int, base: str) -> str:
        """A path from the root; empty if it isn't known."""
        if not path:
            return ""
        if not path.startswith("/"):
            if not base.startswith("/"):
                base = self._directory(call.process)
                if directory != CURRENT_DIRECTORY:
                    base = self._tables.get(call.process, directory) or ""
            if not base:
                return ""
            path = f"{base}/{path}"
        return posixpath.normpath(path).replace("//", "/")


def asked_for(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A test of whether a path is one of those that were asked for.

    Args:
        patterns: absolute: a file, a directory, which means all that is below it, or with `*`,
            `?` or `[` a pattern, of which `*` goes over any number of directories.
    """
    plain = tuple(pattern for pattern in patterns if not _is_glob(pattern))
    globs = [re.compile(fnmatch.translate(pattern)) for pattern in patterns if _is_glob(pattern)]

    def test(path: str) -> bool:
        return any(path == one or path.startswith(one.rstrip("/") + "/") for one in plain) or any(
            glob.match(path) for glob in globs
        )

    return test


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")
