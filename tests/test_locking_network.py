"""Network file systems: which they are, and that a lock there isn't taken without a word."""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING

import pytest

from cairndb import locking_network
from cairndb.descriptors import Descriptor
from cairndb.locking_network import (
    Mount,
    NetworkFileSystemWarning,
    is_network,
    network_file_system,
    parse_mountinfo,
    parse_statfs,
    warn_once,
    what_flock_means,
)
from fusing import SETLK, SETLKW, FuseMount

if TYPE_CHECKING:
    from pathlib import Path

MOUNTS = r"""
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
98 22 0:52 / /srv/a\040b rw,relatime shared:50 - nfs4 10.0.0.2:/x rw,vers=4.2,local_lock=none
99 22 0:53 / /srv/b rw,nosuid - nfs host:/y rw,vers=3,nolock,proto=tcp,local_lock=all
100 22 0:54 / /srv/c rw master:3 propagate_from:2 - cifs //h/c rw,vers=3.1.1,nobrl
101 22 0:55 / /srv/d rw - fuse.sshfs me@host: rw,user_id=0
102 22 0:56 / /srv/e rw -  fuseblk
103 22 x:57 / /srv/f rw - nfs4 a b
104 22 99999999999999999999:5 / /srv/f rw - nfs4 a b
- - - - -

"""


def test_mounts_are_read_with_all_their_options() -> None:
    """A file system is found by its device, with the options of the mount and its own."""
    mounts = parse_mountinfo(MOUNTS)

    assert mounts[os.makedev(259, 2)].type == "ext4"
    assert mounts[os.makedev(0, 52)].type == "nfs4"
    assert {"relatime", "vers=4.2", "local_lock=none"} <= mounts[os.makedev(0, 52)].options
    assert {"nosuid", "nolock"} <= mounts[os.makedev(0, 53)].options
    assert "nobrl" in mounts[os.makedev(0, 54)].options
    assert mounts[os.makedev(0, 55)].type == "fuse.sshfs"


def test_lines_that_are_no_mounts_are_passed_over() -> None:
    """What isn't as it should be hides nothing of the rest."""
    assert len(parse_mountinfo(MOUNTS)) == 5
    assert parse_mountinfo("") == {}


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "fuse.sshfs", "virtiofs"]
)
def test_a_network_is_known_by_its_type(kind: str) -> None:
    """The usual ones, in the kernel and by FUSE."""
    assert is_network(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "btrfs", "tmpfs", "overlay", "fuse", "fuseblk", "fuse.ntfs-3g", "sshfs", ""]
)
def test_the_rest_is_local(kind: str) -> None:
    """Local file systems aren't warned of, nor what isn't known."""
    assert not is_network(kind)


@pytest.mark.parametrize(
    ("mount", "directory", "words"),
    [
        (Mount("nfs4", frozenset({"local_lock=none"})), False, "on the server"),
        (Mount("nfs4", frozenset({"local_lock=none"})), True, "this host only: it is on a dir"),
        (Mount("nfs4", frozenset({"local_lock=posix"})), False, "on the server"),
        (Mount("nfs", frozenset({"local_lock=all"})), False, "this host only: it is mounted with"),
        (Mount("nfs", frozenset({"local_lock=flock"})), False, "with local_lock=flock"),
        (Mount("nfs", frozenset({"nolock"})), True, "this host only: it is mounted with nolock"),
        (Mount("cifs"), False, "can't read or write it"),
        (Mount("smb3", frozenset({"nobrl"})), False, "this host only: it is mounted with nobrl"),
        (Mount("lustre", frozenset({"localflock"})), False, "with localflock"),
        (Mount("lustre"), False, "depends on its server"),
        (Mount("gfs2"), True, "the other hosts that have it mounted"),
        (Mount("fuse.sshfs"), False, "unless its server handles such locks"),
        (Mount("fuse.sshfs"), True, "this host only: it is on a directory"),
        (Mount("gpfs"), False, "depends on its server"),
    ],
)
def test_what_a_lock_means_is_said(mount: Mount, directory: bool, words: str) -> None:  # noqa: FBT001
    """By type and options, and otherwise for a directory: a database's owner locks one."""
    assert words in what_flock_means(mount, directory=directory, linux=True)


def test_elsewhere_than_on_linux_less_is_known() -> None:
    """What another system's client does isn't taken from Linux' manual."""
    assert "depends" in what_flock_means(Mount("nfs"), linux=False)


def test_statfs_of_macos_tells_who_is_local() -> None:
    """The structure of 64-bit inodes: flags at byte 64, the type at 72."""

    def statfs(flags: int, kind: bytes) -> bytes:
        return bytes(64) + flags.to_bytes(4, sys.byteorder) + bytes(4) + kind.ljust(2096, b"\0")

    assert parse_statfs(statfs(0x1008, b"apfs")) is None
    assert parse_statfs(statfs(0x0008, b"autofs")) is None
    assert parse_statfs(statfs(0x0018, b"smbfs")) == Mount("smbfs")


def test_a_local_file_is_locked_without_a_word(tmp_path: Path) -> None:
    """What the tests run on is local: by path, by descriptor, for the first time and later."""
    assert network_file_system(tmp_path) is None
    number = os.open(tmp_path, os.O_RDONLY)
    try:
        assert network_file_system(number) is None
        warn_once(number, "x")
        warn_once(number, "x")
    finally:
        os.close(number)


@pytest.mark.process
@pytest.mark.skipif(
    os.geteuid() != 0 or os.uname().sysname != "Linux", reason="mounting needs root on Linux"
)
def test_a_network_file_system_is_warned_of_once(tmp_path: Path) -> None:
    """A mounted sshfs, as far as the system can tell; its directory is locked for this host only.

    The server is never asked for the lock.
    """
    locking_network._known.clear()  # the device's number may have been another's
    with FuseMount(tmp_path, "sshfs") as mounted:
        hold = Descriptor(os.open(tmp_path, os.O_RDONLY | os.O_CLOEXEC), "the path")
        assert network_file_system(tmp_path) == "fuse.sshfs"
        with pytest.warns(NetworkFileSystemWarning, match=r"the path is on .*fuse\.sshfs.*only"):
            warn_once(hold.number, hold.path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_once(hold.number, hold.path)
        assert hold.take_lock(shared=False)
        hold.close()
        assert not {SETLK, SETLKW} & set(mounted.operations)
