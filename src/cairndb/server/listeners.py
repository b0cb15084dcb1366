"""Sockets that listen: made, inherited from systemd, or found to be somebody else's.

Each is bound and listens before the database is opened, so that an address that can't be had is
told at once; who connects meanwhile waits until it is open.

A Unix socket is a file. One that nobody listens at any more, since its process was killed, is
replaced; one that somebody listens at never is. Its directory is locked meanwhile, so that two that
start at the same moment don't both find the same file dead. Its permissions are set before it
listens: until then nobody can connect.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from cairndb.errors import CairnError, UsageError
from cairndb.locking import FileLock
from cairndb.server.addresses import parse_address, parse_path

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from cairndb.server.settings import Loaded, Settings

Name = Literal["resp", "http"]
NAMES: Final[tuple[Name, ...]] = ("resp", "http")

FIRST_INHERITED: Final = 3  # sd_listen_fds(3)
_LOCK_SECONDS: Final = 10.0
_KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


class Listener(NamedTuple):
    """A socket that listens."""

    protocol: Name
    socket: socket.socket
    path: str | None = None
    """Of a Unix socket that was made here, to be removed at the end."""
    inode: int = 0
    """Of that: whoever has put another in its place keeps it."""

    @property
    def is_unix(self) -> bool:
        """Whether it is a Unix socket."""
        return self.socket.family == socket.AF_UNIX

    @property
    def where(self) -> str:
        """Its address, for people."""
        name = self.socket.getsockname()
        if self.is_unix:
            return str(name)
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

    @property
    def is_exposed(self) -> bool:
        """Whether other machines may reach it."""
        if self.is_unix:
            return False
        address = ipaddress.ip_address(self.socket.getsockname()[0].partition("%")[0])
        return not (getattr(address, "ipv4_mapped", None) or address).is_loopback

    @property
    def is_open_to_others(self) -> bool:
        """Whether other users of this machine may connect, of a Unix socket that is a file."""
        name = self.socket.getsockname()
        if not isinstance(name, str):  # an abstract name of Linux's: everybody's
            return True
        others = 0o022 if sys.platform == "linux" else 0o077  # who connects writes
        return Path(name).stat().st_mode & others != 0

    def close(self) -> None:
        """Stop listening, and remove the file if it is still this one's."""
        self.socket.close()
        if self.path is not None:
            with suppress(OSError):
                if Path(self.path).lstat().st_ino == self.inode:
                    Path(self.path).unlink()


def open_listeners(loaded: Loaded, environment: MutableMapping[str, str]) -> list[Listener]:
    """All that the settings say, and those that systemd has handed over.

    Where it has handed over any, the default addresses aren't listened at: only what somebody gave.

    Args:
        loaded: the settings.
        environment: of this process; what concerns the handing over is taken out of it.

    Raises:
        UsageError: an address is none, or what was handed over has no meaning here.
        CairnError: an address can't be had; the message says why and what to do.
    """
    listeners: list[Listener] = []
    try:
        listeners.extend(inherited(environment))
        has_inherited = bool(listeners)
        for protocol in NAMES:
            if loaded.given(protocol) or not has_inherited:
                listeners.extend(_tcp(protocol, loaded.settings))
            listeners.extend(_unix(protocol, loaded.settings))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    if not listeners:
        raise UsageError("there is nothing to listen at: every address is off")
    return listeners


def inherited(environment: MutableMapping[str, str]) -> Iterator[Listener]:
    """The sockets that systemd has handed over: sd_listen_fds(3).

    Which protocol one is for says its name, `FileDescriptorName=` of its unit: it has `resp` or
    `http` in it.
    """
    given = [environment.pop(f"LISTEN_{key}", "") for key in ("PID", "FDS", "FDNAMES")]
    pid, count, names = given
    if pid != str(os.getpid()) or not count.isdecimal():
        return
    texts = names.split(":")
    for number in range(int(count)):
        found = socket.socket(fileno=FIRST_INHERITED + number)
        found.set_inheritable(False)
        name = texts[number] if number < len(texts) else ""
        meant = [protocol for protocol in NAMES if protocol in name.lower()]
        if len(meant) != 1 or not _listens(found):
            found.close()
            raise UsageError(
                f"the socket {name!r} that was handed over can't be served: its unit must say "
                "FileDescriptorName=resp or FileDescriptorName=http, and ListenStream="
            )
        _find_the_dead(found)
        yield Listener(meant[0], found)


def _listens(found: socket.socket) -> bool:
    return (
        found.type == socket.SOCK_STREAM
        and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 0
    )


def _tcp(protocol: Name, settings: Settings) -> Iterator[Listener]:
    text = getattr(settings, protocol)
    address = parse_address(text)
    if address is None:
        return
    flag = f"--{protocol}"
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise CairnError(f"{flag} {text}: {address.host} can't be looked up: {error}") from None
    port = address.port
    for family, kind, number, _, (host, *_rest) in found:
        made = socket.socket(family, kind, number)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((host, port))
            made.listen(settings.backlog)
        except OSError as error:
            made.close()
            raise CairnError(f"{flag} {text}: {_why(error, flag)}") from None
        _find_the_dead(made)
        port = made.getsockname()[1]  # where 0 was asked for, the same for all addresses
        yield Listener(protocol, made)


def _find_the_dead(listening: socket.socket) -> None:
    """Have connections closed whose other side is gone without a word, in about two minutes.

    What is accepted inherits that from what listens, on Linux at least.
    """
    if listening.family == socket.AF_UNIX:
        return
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            listening.setsockopt(socket.IPPROTO_TCP, option, value)


def _why(error: OSError, flag: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"another process listens there: end it, or give another address with {flag} "
                "HOST:PORT (port 0: any that is free)"
            )
        case errno.EACCES | errno.EPERM:
            return (
                "this user may not listen there. Ports below 1024 need the capability "
                "CAP_NET_BIND_SERVICE, or a socket that systemd hands over: give a higher port"
            )
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address: 0.0.0.0 stands for all that it has"
        case _:
            return str(error.strerror or error)


def _unix(protocol: Name, settings: Settings) -> Iterator[Listener]:
    path = parse_path(getattr(settings, f"{protocol}_unix"))
    if path is None:
        return
    flag = f"--{protocol}-unix"
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with FileLock(
            Path(path).absolute().parent, record=False, create=False, timeout=_LOCK_SECONDS
        ):
            _bind(made, path, flag)
            Path(path).chmod(int(settings.unix_mode, 8))
            made.listen(settings.backlog)
            inode = Path(path).lstat().st_ino
    except OSError as error:
        made.close()
        raise CairnError(f"{flag} {path}: {error.strerror or error}") from None
    except BaseException:
        made.close()
        raise
    yield Listener(protocol, made, path, inode)


def _bind(made: socket.socket, path: str, flag: str) -> None:
    try:
        made.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    else:
        return
    if not stat.S_ISSOCK(Path(path).lstat().st_mode):
        raise CairnError(f"{flag} {path}: there is a file that isn't a socket; it is left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        reached = trial.connect_ex(path)
    if reached != errno.ECONNREFUSED:
        raise CairnError(
            f"{flag} {path}: another process listens there: end it, or give another path"
        )
    Path(path).unlink()
    made.bind(path)


def check_exposure(
    listeners: list[Listener], *, encrypted: bool, tokens: bool, insecure: bool
) -> None:
    """Refuse to be reached by just anybody.

    Args:
        listeners: all of them.
        encrypted: whether TCP is by TLS.
        tokens: whether tokens are asked for.
        insecure: whether that was said to be meant.

    Raises:
        UsageError: one can be reached from other machines, without TLS and tokens both, or by other
            users through a file, without tokens; the message says what to do.
    """
    if insecure:
        return
    for each in listeners:
        if each.is_unix and not tokens and each.is_open_to_others:
            raise UsageError(
                f"{each.protocol} at {each.where} can be reached by other users of this machine, "
                "and there are no tokens: give --tokens FILE (made by 'cairn token new FILE NAME'),"
                " or --unix-mode 0600 (SocketMode= of what systemd hands over); --insecure-listen "
                "says that everybody may"
            )
        if each.is_exposed and not (encrypted and tokens):
            missing = {
                "TLS": "" if encrypted else "--tls-certificate FILE",
                "tokens": "" if tokens else "--tokens FILE (made by 'cairn token new FILE NAME')",
            }
            raise UsageError(
                f"{each.protocol} at {each.where} can be reached from other machines, without "
                f"{' and without '.join(name for name, flag in missing.items() if flag)}: give "
                f"{' and '.join(filter(None, missing.values()))}, or listen at 127.0.0.1; "
                "--insecure-listen says that everybody may"
            )
