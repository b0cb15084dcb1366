"""Which files are on another machine, and what a lock means there.

On a local file system flock keeps out whoever uses flock. Over a network that depends on the
client, the server and the options of the mount, and nothing fails where it means less. So the type
of the file system is looked up, and who locks there is told, once.

    Linux          the device that stat tells, in /proc/self/mountinfo; the options with it
    macOS          fstatfs: its type, and that it isn't local

What isn't found there is taken for local: a mount of another namespace, another system, a file
system of a kind that isn't listed here. That it is local proves nothing either: below a loop device
or an overlay there may be a network.

Sources: flock(2) ("NFS details", "CIFS details"), nfs(5) (lock, local_lock, leases), fcntl(2)
("Lost locks"), mount.cifs(8) (nobrl), and Linux' sources for who has no operation of his own for
flock, so that the kernel locks for this host alone: the directories of nfs, cifs, 9p, afs and FUSE,
and the files of FUSE servers that don't ask for such locks (fs/fuse/file.c, fuse_file_flock).
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOUNTS: Final = Path("/proc/self/mountinfo")

_NFS: Final = frozenset({"nfs", "nfs4"})
_SMB: Final = frozenset({"cifs", "smb2", "smb3", "smbfs"})
_SHARED_DISKS: Final = frozenset({"ceph", "gfs2", "ocfs2"})
_OTHERS: Final = (
    frozenset({"9p", "afs", "beegfs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs", "orangefs"})
    | frozenset({"pvfs2"})
    # Directories of the host of a virtual machine or a container.
    | frozenset({"fakeowner", "prl_fs", "vboxsf", "virtiofs", "vmhgfs"})
)
_OF_FUSE: Final = (
    frozenset({"ceph", "ceph-fuse", "cephfs", "curlftpfs", "davfs", "gcsfuse", "glusterfs"})
    | frozenset({"goofys", "grpcfuse", "gvfsd-fuse", "juicefs", "lizardfs", "mfs", "moosefs"})
    | frozenset({"mountpoint-s3", "osxfs", "rclone", "s3fs", "smbnetfs", "sshfs", "vmhgfs-fuse"})
)
# Of what kinds a directory is locked for this host alone.
_LOCAL_DIRECTORIES: Final = _NFS | _SMB | {"9p", "afs", "virtiofs"}
# What a mount may be told, so that locks stay on this host.
_LOCAL_BY: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(_NFS, frozenset({"local_lock=flock", "local_lock=all", "nolock"})),
    **dict.fromkeys(_SMB, frozenset({"nobrl"})),
    "afs": frozenset({"flock=local"}),
    "gfs2": frozenset({"localflocks"}),
    "lustre": frozenset({"localflock"}),
    "ocfs2": frozenset({"localflocks"}),
}

# struct statfs of macOS, with inodes of 64 bits: what is asked for is at the end.
_STATFS: Final = struct.Struct("=56x 8x I 4x 16s")
_STATFS_BYTES: Final = 4096  # more than it has
_MNT_LOCAL: Final = 0x1000


class NetworkFileSystemWarning(UserWarning):
    """A lock was taken on a network file system; the message says what it means there."""


class Mount(NamedTuple):
    """A mounted file system."""

    type: str
    options: frozenset[str] = frozenset()


def network_file_system(file: int | str | os.PathLike[str]) -> str | None:
    """The type of the file system that a file is on, if it is a network's.

    Args:
        file: a descriptor or a path.

    Returns:
        As mount has it, "nfs4" say; None if it is local, or can't be found out.

    Raises:
        OSError: there is no such file.
    """
    mount = network_mount(file)
    return None if mount is None else mount.type


def network_mount(file: int | str | os.PathLike[str]) -> Mount | None:
    """The same, with the options."""
    if sys.platform == "darwin":
        return _mount_of_statfs(file)
    device = os.stat(file).st_dev  # noqa: PTH116  of a descriptor as well
    try:
        mount = parse_mountinfo(_MOUNTS.read_text(errors="surrogateescape")).get(device)
    except OSError:
        return None
    return mount if mount is not None and is_network(mount.type) else None


def is_network(kind: str) -> bool:
    """Whether a type of file system is one of several hosts, or of another one."""
    name, _, below = kind.partition(".")
    if name in {"fuse", "fuseblk"}:
        return below in _OF_FUSE
    return kind in _NFS | _SMB | _SHARED_DISKS | _OTHERS


def parse_mountinfo(text: str) -> dict[int, Mount]:
    """The mounted file systems by the device that stat tells.

    Source: proc_pid_mountinfo(5). The options of a mount and of its file system are put together.

    Args:
        text: of /proc/PID/mountinfo; lines that aren't as they should be are passed over.
    """
    mounts = {}
    for line in text.splitlines():
        place, _, content = line.partition(" - ")
        try:
            _, _, device, _, _, options = place.split(" ")[:6]
            kind, _, more = content.split(" ", 2)
            major, minor = map(int, device.split(":"))
            number = os.makedev(major, minor)
        except (ValueError, OverflowError):
            continue
        mounts[number] = Mount(kind, frozenset(options.split(",")) | frozenset(more.split(",")))
    return mounts


def _mount_of_statfs(file: int | str | os.PathLike[str]) -> Mount | None:
    import ctypes  # noqa: PLC0415  on macOS alone

    content = ctypes.create_string_buffer(_STATFS_BYTES)
    name = "fstatfs" if isinstance(file, int) else "statfs"
    try:
        library = ctypes.CDLL(None)
        # The name without the suffix is of another structure, but for processors that never had it.
        function = getattr(library, f"{name}$INODE64", None) or getattr(library, name)
        if function(file if isinstance(file, int) else os.fsencode(file), content) != 0:
            return None
    except (AttributeError, OSError):
        return None
    return parse_statfs(content.raw)


def parse_statfs(content: bytes) -> Mount | None:
    """The file system that macOS' statfs tells of, if it isn't local.

    Args:
        content: a struct statfs.
    """
    flags, name = _STATFS.unpack_from(content)
    kind = name.partition(b"\0")[0].decode(errors="replace")
    # What is mounted when it is first looked at isn't called local, and is no network's yet.
    return None if flags & _MNT_LOCAL or kind == "autofs" else Mount(kind)


def what_flock_means(
    mount: Mount, *, directory: bool = False, linux: bool = sys.platform == "linux"
) -> str:
    """What a lock keeps out on a network file system: a clause for people, without its end.

    Args:
        mount: of a network.
        directory: it is a directory that is locked, not a file.
        linux: whose client it is.
    """
    kind = mount.type
    local = mount.options & _LOCAL_BY.get(kind, frozenset())
    fuse = kind.startswith("fuse")
    if linux and (local or (directory and (fuse or kind in _LOCAL_DIRECTORIES))):
        why = f"it is mounted with {min(local)}" if local else "it is on a directory"
        return f"a lock there keeps out processes of this host only: {why}"
    if linux and kind in _NFS:
        return (
            "flock locks the file on the server, also against other hosts; it is lost without "
            "notice if the server hears nothing of this host for some time"
        )
    if linux and kind in _SMB:
        return (
            "flock locks the file on the server, also against other hosts, since Linux 5.5; "
            "others can't read or write it meanwhile"
        )
    if linux and kind in _SHARED_DISKS:
        return "flock locks the file against the other hosts that have it mounted"
    if linux and (fuse or kind == "virtiofs"):
        return "flock keeps out processes of this host only, unless its server handles such locks"
    return "whether flock keeps out other hosts depends on its server and its options"


# Devices that were looked at.
_known: set[int] = set()


def warn_once(descriptor: int, path: str, *, stacklevel: int = 2) -> None:
    """Warn of a lock on a network file system, the first time in this process for each of them.

    Args:
        descriptor: of what is locked.
        path: for the message.
        stacklevel: how far up the caller is that is told of, as `warnings.warn` counts.

    Raises:
        NetworkFileSystemWarning: where warnings are made errors.
        OSError: the descriptor isn't open.
    """
    status = os.fstat(descriptor)
    if status.st_dev in _known:
        return
    _known.add(status.st_dev)
    mount = network_mount(descriptor)
    if mount is not None:
        meaning = what_flock_means(mount, directory=stat.S_ISDIR(status.st_mode))
        warnings.warn(
            f"{path} is on a network file system ({mount.type}): {meaning}",
            NetworkFileSystemWarning,
            stacklevel=stacklevel + 1,
        )
