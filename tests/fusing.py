"""A FUSE file system that is an empty directory: of any type that its name says.

The little of the protocol that it takes (linux/fuse.h, 7.31): a greeting, the attributes of the
root, and to open and read that. Mounting needs root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

_REQUEST = struct.Struct("=IIQQIIIHH")
_ANSWER = struct.Struct("=IiQ")
_INIT = struct.Struct("=IIIIHHIIHHI28x")
_ATTRIBUTES = struct.Struct("=QI4x6Q3I7I")
_OPENED = struct.Struct("=QI4x")
_GETATTR, _INITIALISE, _OPENDIR, _READDIR = 3, 26, 27, 28
SETLK, SETLKW = 32, 33
_DETACH = 2
_LONGEST = 1 << 20


class FuseMount:
    """One mounted directory, and the thread that answers for it.

    Args:
        path: a directory to mount it on.
        kind: its type behind `fuse.`.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.operations: list[int] = []
        """What it was asked for."""
        self._path = os.fsencode(path)
        self._library = ctypes.CDLL(None, use_errno=True)
        try:
            self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            pytest.skip(f"there is no FUSE here: {error}")
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0".encode()
        if self._library.mount(b"test", self._path, f"fuse.{kind}".encode(), 0, options) != 0:
            os.close(self._device)
            pytest.skip(f"mounting isn't possible here: {os.strerror(ctypes.get_errno())}")
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        while True:
            try:
                request = os.read(self._device, _LONGEST)
            except OSError:  # it was unmounted
                return
            _, operation, unique, *_ = _REQUEST.unpack_from(request)
            self.operations.append(operation)
            answer = self._content(operation)
            wrong = 0 if answer is not None else -errno.ENOSYS
            content = answer or b""
            os.write(
                self._device, _ANSWER.pack(_ANSWER.size + len(content), wrong, unique) + content
            )

    @staticmethod
    def _content(operation: int) -> bytes | None:
        if operation == _INITIALISE:
            return _INIT.pack(7, 31, _LONGEST, 0, 0, 0, 1 << 16, 1, 0, 0, 0)
        if operation == _GETATTR:
            return _ATTRIBUTES.pack(60, 0, 1, *[0] * 8, 0o40755, 2, *[0] * 5)
        return {_OPENDIR: _OPENED.pack(1, 0), _READDIR: b""}.get(operation)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._library.umount2(self._path, _DETACH)
        self._thread.join(30)
        os.close(self._device)
