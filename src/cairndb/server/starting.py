"""From settings to a daemon that serves: in the order in which things can be found wrong."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from cairndb.server import application, logs
from cairndb.server.daemon import Daemon
from cairndb.server.encryption import Encryption
from cairndb.server.listeners import check_exposure, open_listeners
from cairndb.server.notifying import Notifier
from cairndb.server.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cairndb.server.daemon import Parts, Served
    from cairndb.server.listeners import Listener, Name
    from cairndb.server.settings import Loaded, Settings

_TELL_SECONDS: Final = 5.0


def serve(loaded: Loaded, protocols: Callable[[Parts], Mapping[Name, Served]]) -> int:
    """Serve until it ends; this takes over the process.

    Args:
        loaded: the settings.
        protocols: makes what serves connections.

    Returns:
        The exit code: `daemon.STOPPED` or `daemon.FAILED`.

    Raises:
        UsageError: the settings don't fit together, or files that they name aren't what they should
            be.
        CairnError: an address can't be had, or the database can't be opened.
    """
    settings = loaded.settings
    # A client that has gone is an error of a write, not the end of the process.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    open_files = _raise_open_files()
    notifier = Notifier(os.environ)
    thing = application.found(settings.application, settings.app_dir)
    middleware = application.middleware_of(settings.middleware, settings.app_dir)
    tokens = Tokens(settings.tokens) if settings.tokens else None
    encryption = _encryption(settings)
    listeners = open_listeners(loaded, os.environ)
    try:
        check_exposure(
            listeners,
            encrypted=encryption is not None,
            tokens=tokens is not None,
            insecure=settings.insecure_listen,
        )
        logs.configure(settings.log_format, settings.log_level, sys.stderr)
        logs.log_uncaught()
        for name in loaded.unknown:
            logs.log().warning("this variable is no setting", name=name)
        if open_files < settings.connections:
            logs.log().warning(
                "fewer files than --connections can be open", limit=open_files, flag="ulimit -n"
            )
        served = application.opened(thing, loaded, _Telling(notifier))
        with closing(served.database):  # already, unless something is wrong here
            daemon = Daemon(
                served.database,
                served.root,
                settings,
                listeners=listeners,
                encryption=encryption,
                tokens=tokens,
                notifier=notifier,
                protocols=protocols,
                middleware=middleware,
            )
            code = asyncio.run(daemon.run())
    finally:
        _close(listeners)
    return code


def _raise_open_files() -> int:
    """Have as many descriptors as this process may: the usual limit is for programs that select."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    have, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if have == resource.RLIM_INFINITY else have


def _encryption(settings: Settings) -> Encryption | None:
    if not settings.tls_certificate:
        return None
    return Encryption(settings.tls_certificate, settings.tls_key, settings.tls_client_authorities)


def _close(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()


class _Telling:
    """Says how far opening has got, now and then.

    Args:
        notifier: gives more time, since who waits for a start gives up otherwise.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._told_at = time.monotonic()

    def __call__(self, read: int, total: int) -> None:
        """Called with the bytes read so far, and those to read."""
        now = time.monotonic()
        if now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            percent = round(100 * read / total) if total else 0
            self._notifier.opening(f"opening the database: {percent} %")
            logs.log().info("opening", percent=percent, bytes=read)
