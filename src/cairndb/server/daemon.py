"""The daemon: opens a database, serves it until it is told to stop or can't, and says how it ended.

    listen                addresses that can't be had are told before anything else is done
    open                  recovery; who connects meanwhile waits
    serve                 all in one event loop; methods that take long in threads
    SIGHUP                tokens and certificates are read again
    SIGTERM, SIGINT       nothing new is begun; what has begun has `drain` seconds; then it is cut
    a second of these     ends the process at once
    a failed database     as SIGTERM, but for the exit code: whoever supervises starts it anew

However it ends, by SIGKILL too, nothing that was acknowledged is lost: there is no work at the end
that a crash could skip. What is cut is a wait or a block that hasn't been committed; a thread that
doesn't come back is left with its process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from prometheus_client import ProcessCollector

from cairndb.cancellation import CancelToken
from cairndb.errors import CairnError, DatabaseFailed, UsageError
from cairndb.server.handling import handler_of
from cairndb.server.logs import log
from cairndb.server.memory import Watermark
from cairndb.server.metrics import Metrics
from cairndb.server.process_figures import ProcessFigures
from cairndb.server.running import Promises, Runner
from cairndb.server.supervision import Supervision, described, stacks
from cairndb.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from types import FrameType

    from cairndb.database import Database
    from cairndb.server.encryption import Encryption
    from cairndb.server.listeners import Listener, Name
    from cairndb.server.notifying import Notifier
    from cairndb.server.settings import Settings
    from cairndb.server.tokens import Tokens
    from cairndb.service import Handler, Middleware
    from cairndb.service_access import Grant

STOPPED: Final = 0
FAILED: Final = 75
"""EX_TEMPFAIL of sysexits.h: to be tried again, by opening the database again."""

_BEAT_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.02
_GRACE_SECONDS: Final = 1.0
"""How long after the drain what doesn't end is waited for still."""
_LAST_WORDS_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 30.0
"""How long the last sync may take."""


class Served(Protocol):
    """One protocol: all connections that speak it."""

    @property
    def connections(self) -> int:
        """How many there are."""

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way that should be answered."""

    def protocol(self) -> asyncio.BaseProtocol:
        """A new connection."""

    def tick(self) -> None:
        """Called every second."""

    def revoke(self, grants: Collection[Grant]) -> None:
        """End what goes on for those who have one of these grants."""

    def drain(self) -> None:
        """Begin nothing new, and close what is idle."""

    def cut(self) -> None:
        """End all connections."""


class Parts(NamedTuple):
    """What is served, and by what means; of one daemon."""

    settings: Settings
    service: Service
    handler: Handler
    runner: Runner
    promises: Promises
    tokens: Tokens | None
    watermark: Watermark
    supervision: Supervision
    metrics: Metrics
    state: State
    is_exposed: bool
    """Whether it can be reached from other machines."""


class State:
    """What a daemon is at.

    Attributes:
        stop: cancelled when it is to end: by a signal, or since the database has failed.
        cut: cancelled when what has begun has had its time.
        failure: why the database can't be used any more.
        started: when it began, in seconds since the epoch.
        served: its protocols, by their names.
    """

    def __init__(self) -> None:
        self.stop = CancelToken()
        self.cut = CancelToken()
        self.failure: CairnError | None = None
        self.started = time.time()
        self.served: Mapping[Name, Served] = {}


def leave_process(code: int, last_words: Callable[[], None]) -> None:
    """End the process at once, whatever its threads do.

    Args:
        code: the exit code.
        last_words: logs why. Nobody waits for that for long: a thread may be stuck in writing logs.
    """

    def say() -> None:
        last_words()
        logging.shutdown()

    teller = threading.Thread(target=say, name="cairndb last words", daemon=True)
    teller.start()
    teller.join(_LAST_WORDS_SECONDS)
    os._exit(code)


class Daemon:
    """Serves an open database.

    Args:
        database: open; closed at the end.
        root: the type of its root.
        settings: of the daemon.
        listeners: that listen already; closed at the end.
        encryption: of what listens at TCP.
        tokens: that are asked for.
        notifier: tells systemd.
        protocols: makes what serves connections, by the names of their protocols.
        middleware: the application's own, around all requests.
        leave: ends the process at once, whatever its threads do.
    """

    def __init__(
        self,
        database: Database[Any],
        root: Any,
        settings: Settings,
        *,
        listeners: list[Listener],
        encryption: Encryption | None,
        tokens: Tokens | None,
        notifier: Notifier,
        protocols: Callable[[Parts], Mapping[Name, Served]],
        middleware: Sequence[Middleware] = (),
        leave: Callable[[int, Callable[[], None]], None] = leave_process,
    ) -> None:
        # Set once:
        self._database = database
        self._settings = settings
        self._listeners = listeners
        self._encryption = encryption
        self._tokens = tokens
        self._notifier = notifier
        self._protocols = protocols
        self._middleware = middleware
        self._leave = leave
        self._watermark = Watermark(settings.memory_watermark, settings.memory_bytes)
        self._supervision = Supervision(settings.method_seconds, self._overdue)
        self._service = Service(database, root)
        self.state = State()
        # Made in the loop:
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        # Written by the signals' handler, in the main thread:
        self._signals = 0

    async def run(self) -> int:
        """Serve until it ends.

        Returns:
            How the process should end: `STOPPED` or `FAILED`.
        """
        loop = self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        (stopped,) = self.state.stop.descriptors()
        loop.add_reader(stopped, self._end.set)
        settings = self._settings
        metrics = Metrics(self._service)
        handler = handler_of(
            self._service,
            self._supervision,
            self._watermark,
            self._tokens,
            self._failed,
            access_log=settings.access_log,
            middleware=[metrics.counted, *self._middleware],
        )
        runner = Runner(handler, loop, lock_seconds=settings.lock_seconds, threads=settings.threads)
        parts = Parts(
            settings,
            self._service,
            handler,
            runner,
            Promises(self._service.engine, loop),
            self._tokens,
            self._watermark,
            self._supervision,
            metrics,
            self.state,
            any(each.is_exposed for each in self._listeners),
        )
        figures = ProcessFigures(self.state, self._supervision, self._watermark)
        metrics.registry.register(figures)
        ProcessCollector(registry=metrics.registry)
        self.state.served = self._protocols(parts)
        self._supervision.start()
        with self._signals_taken():
            servers = [await self._accept(listener) for listener in self._listeners]
            self._say_ready()
            beat = asyncio.create_task(self._beat())
            await self._end.wait()
            loop.remove_reader(stopped)
            for server in servers:
                server.close()
            self._say_stopping()
            await self._drain()
            beat.cancel()
            await self._close(runner)
        log().info("stopped", lsn=self._database.lsn, failed=self.state.failure is not None)
        return self._code()

    def _code(self) -> int:
        return STOPPED if self.state.failure is None else FAILED

    # Beginning.

    async def _accept(self, listener: Listener) -> asyncio.Server:
        served = self.state.served[listener.protocol]
        encryption = None if listener.is_unix else self._encryption
        context = None if encryption is None else encryption.context(listener.protocol)
        handshake = self._settings.slow or None
        listener.socket.setblocking(False)
        server = await self._loop.create_server(
            served.protocol,
            sock=listener.socket,
            backlog=self._settings.backlog,
            ssl=context,
            ssl_handshake_timeout=handshake if context else None,
        )
        log().info(
            "listening", protocol=listener.protocol, at=listener.where, tls=context is not None
        )
        return server

    def _say_ready(self) -> None:
        where = ", ".join(f"{each.protocol} at {each.where}" for each in self._listeners)
        self._notifier.ready(f"serves {self._database.path}: {where}")
        log().info("started", database=self._database.path, lsn=self._database.lsn)

    # Signals.

    @contextlib.contextmanager
    def _signals_taken(self) -> Any:
        # By `signal` rather than by the loop: these are heard also while a method keeps the loop.
        # A token can be cancelled wherever a signal comes in between.
        handlers = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._hang_up,
        }
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            del handlers[signal.SIGINT]  # in the background of a shell it is for who is in front
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._supervision.end_by = time.monotonic() + self._settings.drain + _GRACE_SECONDS
        self.state.stop.cancel(signal.Signals(number).name)

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self.reload)

    def reload(self) -> None:
        """Read tokens and certificates again; what can't be read stays as it was."""
        self._notifier.reloading()
        for name, each in (("tokens", self._tokens), ("certificate", self._encryption)):
            if each is None:
                continue
            try:
                each.reload()
            except UsageError as error:
                log().error("not reloaded", what=name, error=str(error))
            else:
                log().info("reloaded", what=name)
        if self._tokens is not None and self._tokens.revoked:
            for served in self.state.served.values():
                served.revoke(self._tokens.revoked)
        self._notifier.tell("READY=1")

    def _failed(self, error: DatabaseFailed) -> None:  # in any thread
        if self.state.failure is None:
            self.state.failure = error
            self._supervision.end_by = time.monotonic() + self._settings.drain + _GRACE_SECONDS
            log().critical("the database has failed", error=str(error))
            self.state.stop.cancel("the database has failed")

    async def _beat(self) -> None:
        """What is done every second, as a sign that the loop goes round."""
        engine = self._service.engine
        seconds = min(_BEAT_SECONDS, (self._notifier.watchdog_seconds or 60.0) / 2)
        while True:
            self._notifier.alive()
            for served in self.state.served.values():
                served.tick()
            if engine.flusher.failure is not None:
                self._failed(engine.flusher.failed())
            await asyncio.sleep(seconds)

    # Ending.

    def _say_stopping(self) -> None:
        self._notifier.stopping(f"finishing what has begun, for {self._settings.drain:g} s")
        log().info(
            "stopping",
            why=self.state.stop.reason,
            drain_seconds=self._settings.drain,
            connections={name: served.connections for name, served in self.state.served.items()},
            running=len(self._supervision.running()),
        )

    async def _drain(self) -> None:
        until = time.monotonic() + (self._settings.drain if self.state.failure is None else 1.0)
        served = self.state.served.values()
        for each in served:
            each.drain()
        # Looked at, rather than told: of what ends, most is in threads and in foreign code.
        while time.monotonic() < until and self._is_busy():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
        for running in self._supervision.running():
            log().warning("cut", **described(running, time.monotonic()))
        self.state.cut.cancel("the daemon ends")
        for each in served:
            each.cut()
        await asyncio.sleep(0)  # so that what was cut says so

    def _is_busy(self) -> bool:
        return bool(self._supervision.running()) or any(
            served.is_busy for served in self.state.served.values()
        )

    async def _close(self, runner: Runner) -> None:
        runner.close()
        for listener in self._listeners:
            listener.close()
        # A block that goes on can't be stopped. It hasn't been committed, and won't be.
        seconds = _GRACE_SECONDS if self._supervision.running() else _CLOSE_SECONDS
        self._supervision.end_by = time.monotonic() + seconds
        try:
            await self._database.close_async()
        except CairnError as error:
            if self.state.failure is None:
                self.state.failure = error
                log().critical("the database couldn't be closed", error=str(error))
        # It goes on to look: the application's own threads may keep the process.
        self._supervision.end_by = time.monotonic() + _GRACE_SECONDS

    def _overdue(self) -> None:  # in the supervision's thread
        running = stacks()
        self._leave(
            self._code(), lambda: log().warning("left with what still runs", stacks=running)
        )
