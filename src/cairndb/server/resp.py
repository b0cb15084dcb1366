"""The Redis protocol, versions 2 and 3, in front of a service.

    server = RespServer(service, runner, promises)
    await loop.create_server(server.connection, "127.0.0.1", 7379)

redis-cli, redis-benchmark and the Redis clients of all languages connect to it. What each command
is stands in one table, `COMMANDS`; more may be given, and what carries commands out may be wrapped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING, Final

from cairndb.errors import CairnError, UsageError
from cairndb.server import resp_about as about
from cairndb.server import resp_calls as calls
from cairndb.server import resp_commands as basic
from cairndb.server import resp_tail as tails
from cairndb.server import resp_values as values
from cairndb.server import resp_watches as watches
from cairndb.server.resp_connection import Connection
from cairndb.server.resp_errors import error_reply
from cairndb.server.resp_limits import RespLimits
from cairndb.server.resp_requests import Bounds
from cairndb.server.resp_table import Command
from cairndb.service_access import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from cairndb.server.running import Promises, Runner
    from cairndb.service import Service
    from cairndb.service_access import Grant

LOG: Final = logging.getLogger(__name__)

_SWEEP_SECONDS: Final = 1.0

CarryOut = Callable[[Connection, list[bytes]], bytes | None]
"""Carries a command out: gives its reply, or None if that comes by itself."""

_MESSAGES: Final = "Tell what changes, by messages of Pub/Sub"

COMMANDS: Final = (
    Command("HELLO", "[protover] [option ...]", "Agree on a protocol", basic.hello, is_open=True),
    Command("AUTH", "[username] token", "Say who one is", basic.auth, is_open=True),
    Command("RESET", "", "Begin anew", basic.reset, is_open=True),
    Command("QUIT", "", "Close the connection", basic.leave, is_open=True),
    Command("PING", "[message]", "Show that one is there", basic.ping),
    Command("ECHO", "message", "Send back what came", basic.echo),
    Command("SELECT", "index", "Choose the database 0", basic.select),
    Command("CLIENT", "subcommand [argument ...]", "Tell of connections", about.client),
    Command("COMMAND", "[subcommand] [name ...]", "Tell of commands", about.commands, "server"),
    Command("CONFIG", "subcommand [pattern ...]", "Tell of settings", about.config, "server"),
    Command("INFO", "[section ...]", "Tell figures", about.info, "server"),
    Command(
        "FUNCTION", "subcommand [argument ...]", "Tell of methods", about.function, "scripting"
    ),
    Command(
        "FCALL",
        "name numkeys [argument ...]",
        "Run a method",
        calls.call,
        "scripting",
        writes=True,
    ),
    Command(
        "FCALL_RO",
        "name numkeys [argument ...]",
        "Run a method that changes nothing",
        calls.call_to_read,
        "scripting",
    ),
    Command("CAIRN.GET", "path", "Read what stands at a path, as JSON", calls.get, "generic"),
    Command("CAIRN.SET", "path json", "Set a path", calls.put, "generic", writes=True),
    Command(
        "CAIRN.RUN",
        "name arguments [option ...]",
        "Run a method for cairndb's own client",
        calls.run,
        "scripting",
        writes=True,
    ),
    Command("CAIRN.SESSION", "", "Begin the request ids of a session", calls.session, "scripting"),
    Command("CAIRN.WATCH", "pattern [since]", "Tell what changes", watches.watch, "pubsub"),
    Command("CAIRN.UNWATCH", "[pattern ...]", "End watches", watches.unwatch, "pubsub"),
    Command("SUBSCRIBE", "pattern [pattern ...]", _MESSAGES, watches.subscribe, "pubsub"),
    Command("PSUBSCRIBE", "pattern [pattern ...]", _MESSAGES, watches.subscribe, "pubsub"),
    Command("UNSUBSCRIBE", "[pattern ...]", "End messages", watches.unsubscribe, "pubsub"),
    Command("PUNSUBSCRIBE", "[pattern ...]", "End messages", watches.unsubscribe, "pubsub"),
    Command("CAIRN.TAIL", "[position [database]]", "Follow as a replica", tails.tail, "pubsub"),
)


class RespServer:
    """What the connections of a service have in common.

    Args:
        service: what is served.
        runner: calls its handler.
        promises: holds replies back.
        loop: in whose thread all of this is called.
        limits: of each connection, and of their number.
        authenticate: whose token it is; None if no tokens are needed: then everybody may do all.
        recognise: who a connection is of, if it shows that without a token; None if nobody known.
        more: commands besides `COMMANDS`.
        around: wrap what carries commands out; the first is the outermost.
    """

    def __init__(
        self,
        service: Service,
        runner: Runner,
        promises: Promises,
        loop: asyncio.AbstractEventLoop,
        *,
        limits: RespLimits | None = None,
        authenticate: Callable[[str], Grant | None] | None = None,
        recognise: Callable[[asyncio.BaseTransport], Grant | None] | None = None,
        more: Sequence[Command] = (),
        around: Sequence[Callable[[CarryOut], CarryOut]] = (),
    ) -> None:
        # Set once:
        self.service = service
        self.runner = runner
        self.promises = promises
        self.loop = loop
        self.limits = limits or RespLimits()
        self.bounds = Bounds(self.limits.arguments, self.limits.request_bytes)
        self.open_to = EVERYTHING if authenticate is None else None
        """Who everybody is, where no tokens are needed."""
        self._authenticate = authenticate
        self._recognise = recognise
        self.commands = {each.name.encode(): each for each in (*COMMANDS, *more)}
        self.carry_out: CarryOut = self._carry_out
        for wrap in reversed(around):
            self.carry_out = wrap(self.carry_out)
        times = (
            self.limits.idle_seconds,
            self.limits.greeting_seconds,
            self.limits.stuck_seconds,
        )
        self._sweep_seconds = min([_SWEEP_SECONDS, *(each / 2 for each in times if each)])
        self.version = _installed_version()
        self.began = loop.time()
        # Written in the loop:
        self.connections: dict[int, Connection] = {}
        self.connections_begun = 0
        self.connections_refused = 0
        self.commands_begun = 0
        self.streams = 0
        self._is_stopping = False
        self._gone = asyncio.Event()
        self._sweep: asyncio.TimerHandle | None = None

    def connection(self) -> Connection:
        """A new connection: what `loop.create_server` wants."""
        self.connections_begun += 1
        return Connection(self, self.connections_begun)

    # What connections need.

    def enter(self, connection: Connection) -> bytes | None:
        """Have a connection among the others; if there is no place for it, what to tell it."""
        if self._is_stopping or len(self.connections) >= self.limits.connections:
            self.connections_refused += 1
            return values.error("ERR", "max number of clients reached")
        self.connections[connection.number] = connection
        if self._sweep is None:
            self._sweep = self.loop.call_later(self._sweep_seconds, self._let_go_of_the_idle)
        return None

    def leave(self, connection: Connection) -> None:
        """Have a connection no more."""
        self.connections.pop(connection.number, None)
        if not self.connections:
            self._gone.set()

    def check_room_for_watch(self) -> None:
        """Raise `UsageError` if there are as many watches as there may be."""
        if self.streams >= self.limits.watches:
            raise UsageError(f"{self.limits.watches:,} watches are open already: end one first")

    def recognise(self, transport: asyncio.BaseTransport) -> Grant | None:
        """What a connection may do that has said nothing yet."""
        if self.open_to is None and self._recognise is not None:
            return self._recognise(transport)
        return self.open_to

    def grant_of(self, token: bytes) -> Grant | None:
        """What a token allows; None if it isn't known."""
        if self._authenticate is None:
            return None
        try:
            return self._authenticate(token.decode())
        except UnicodeDecodeError:
            return None

    def _carry_out(self, connection: Connection, words: list[bytes]) -> bytes | None:
        command = self.commands.get(words[0]) or self.commands.get(words[0].upper())
        self.commands_begun += 1
        try:
            if command is None:
                return self._unknown(connection, words[0])
            connection.last_command = command.name
            if connection.grant is None and not command.is_open:
                return values.error("NOAUTH", "Authentication required: AUTH TOKEN")
            command.check(len(words) - 1)
            return command.handler(connection, words)
        except CairnError as error:
            return error_reply(error)
        except Exception as error:  # a fault of ours; the connection can go on
            LOG.exception("connection %d from %s: %s", connection.number, connection.peer, command)
            return error_reply(error)

    def _unknown(self, connection: Connection, name: bytes) -> bytes | None:
        shown = name[:60].decode(errors="backslashreplace")
        reply = values.error(
            "ERR", f"unknown command '{shown}': COMMAND LIST lists those there are"
        )
        if not connection.by_lines:
            return reply
        # The lines of a request of HTTP, perhaps, which a browser was made to send here: nothing in
        # it is to be taken for a command.
        connection.put(reply)
        connection.end()
        return None

    # Time, and the end.

    def _let_go_of_the_idle(self) -> None:
        self._sweep = None
        now, limits = self.loop.time(), self.limits
        for connection in list(self.connections.values()):
            stuck, idle = connection.stuck_since, now - connection.heard
            if stuck is not None and 0 < limits.stuck_seconds < now - stuck:
                connection.abort("it doesn't take what it asked for")
            elif connection.grant is None and 0 < limits.greeting_seconds < now - connection.began:
                connection.abort("it hasn't said who it is")
            elif connection.is_idle and 0 < limits.idle_seconds < idle:
                connection.abort("it has been idle")
        if self.connections:
            self._sweep = self.loop.call_later(self._sweep_seconds, self._let_go_of_the_idle)

    def revoke(self, grants: Collection[Grant]) -> None:
        """End what is sent by itself to those who aren't allowed anything any more."""
        for connection in list(self.connections.values()):
            if connection.streams and connection.grant in grants:
                connection.abort("its token isn't known any more")

    def stop(self) -> None:
        """Carry out nothing more: each connection is closed when its replies have left."""
        self._is_stopping = True
        for connection in list(self.connections.values()):
            connection.end_streams()
            connection.end()

    async def wait_until_gone(self) -> None:
        """After `stop`: return when no connection is left."""
        while self.connections:
            self._gone.clear()
            await self._gone.wait()

    def abort(self) -> None:
        """Close all connections at once."""
        self._is_stopping = True
        for connection in list(self.connections.values()):
            connection.abort("the server ends")


def _installed_version() -> str:
    try:
        return metadata.version("cairndb")
    except metadata.PackageNotFoundError:
        return "unknown"
