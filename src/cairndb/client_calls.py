"""The calls of a client, with a time limit and something that ends them sooner.

    client.run(Bank.transfer, "alice", "bob", 5)
    client.within(timeout=1.0, cancel=token).run(Bank.transfer, "alice", "bob", 5)
    client.run(Bank.transfer, "alice", "bob", 5, timeout=1.0, cancel=token)

The last is short for the one before, for methods without a parameter of that name: what a method
declares is always the method's. Type checkers check its result, but not its arguments, which is
more than Python's parameter specifications can say; `within` has both checked.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar, overload

import msgspec
from msgspec import UNSET, UnsetType

from cairndb.cancellation import CancelToken
from cairndb.client_exchange import Exchange
from cairndb.client_waiting import Wait
from cairndb.client_watch import RemoteWatch
from cairndb.errors import SchemaError
from cairndb.flusher_async import in_thread
from cairndb.service_paths import NoSuchPath
from cairndb.wire import GET, RUN

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.client_exceptions import Exceptions
    from cairndb.client_exchange import Link
    from cairndb.client_methods import RemoteMethod, RemoteMethods

R = TypeVar("R")
T = TypeVar("T")
P = ParamSpec("P")

_OPTIONS: Final = ("timeout", "cancel")


class Limits(msgspec.Struct, frozen=True):
    """What ends a call.

    Args:
        timeout: seconds that it may take, all its tries together; None for no end.
        cancel: ends it as soon as it is cancelled.
    """

    timeout: float | None
    cancel: CancelToken | None = None

    def changed(
        self,
        timeout: float | UnsetType | None = UNSET,
        cancel: CancelToken | UnsetType | None = UNSET,
    ) -> Limits:
        """The same with what is given."""
        return Limits(
            self.timeout if timeout is UNSET else timeout,
            self.cancel if cancel is UNSET else cancel,
        )


class Target(msgspec.Struct, frozen=True):
    """What is called, and what is known of it here.

    Args:
        link: to the server.
        methods: of the root.
        exceptions: that can be raised here.
    """

    link: Link
    methods: RemoteMethods
    exceptions: Exceptions


class Calls(Generic[R]):
    """Calls of a server within the same limits.

    Args:
        target: what is called.
        limits: of each call.
    """

    def __init__(self, target: Target, limits: Limits) -> None:
        self._target = target
        self._limits = limits

    def within(
        self,
        *,
        timeout: float | UnsetType | None = UNSET,
        cancel: CancelToken | UnsetType | None = UNSET,
    ) -> Calls[R]:
        """The same calls with other limits.

        Args:
            timeout: seconds that a call may take, all its tries together; None for no end.
            cancel: ends calls as soon as it is cancelled; None for nothing that does.
        """
        return Calls(self._target, self._limits.changed(timeout, cancel))

    @overload
    def run(
        self,
        method: Callable[Concatenate[R, ...], T],
        /,
        *args: Any,
        timeout: float | None,
        cancel: CancelToken | None = ...,
        **kwargs: Any,
    ) -> T: ...

    @overload
    def run(
        self,
        method: Callable[Concatenate[R, ...], T],
        /,
        *args: Any,
        cancel: CancelToken | None,
        **kwargs: Any,
    ) -> T: ...

    @overload
    def run(
        self, method: Callable[Concatenate[R, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    def run(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the root, in the owner's process, in its own view or update.

        Args:
            method: marked `@cairndb.update` or `@cairndb.query`, as `Bank.transfer`.
            args: its arguments.
            kwargs: its arguments by name; `timeout` and `cancel` are limits, as `within` takes
                them, if the method has no such parameters.

        Returns:
            What it returns. An update is on the owner's disk then, and was applied once.

        Raises:
            Exception: what the method raises there, of its class if it can be had here, else
                `RemoteError`; nothing has happened then.
            Unavailable: no server answered in time; nothing has happened.
            Cancelled: cancelled; nothing has happened.
            OutcomeUnknown: an update was sent, and no answer came; it may have been applied.
            UsageError: it isn't marked, or isn't the root's, or an argument can't be sent.
        """
        return self._run(method, args, kwargs)

    def _run(
        self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        remote = self._target.methods.of(method)
        limits = self._limits_of(remote, kwargs)
        return self._call(remote, remote.arguments(args, kwargs), limits)

    @overload
    async def run_async(
        self,
        method: Callable[Concatenate[R, ...], T],
        /,
        *args: Any,
        timeout: float | None,  # noqa: ASYNC109  of all tries, in a thread
        cancel: CancelToken | None = ...,
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run_async(
        self,
        method: Callable[Concatenate[R, ...], T],
        /,
        *args: Any,
        cancel: CancelToken | None,
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run_async(
        self, method: Callable[Concatenate[R, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    async def run_async(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As `run`, for a task of asyncio or trio.

        Cancelled, the task stops waiting, and so does the call; whether an update that was under
        way has been applied isn't said.
        """
        return await self._run_async(method, args, kwargs)

    async def _run_async(
        self, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        remote = self._target.methods.of(method)
        limits = self._limits_of(remote, kwargs)
        data = remote.arguments(args, kwargs)
        # The loop does nothing of it: encoding is quick, and the rest is a thread's.
        token = CancelToken(parents=() if limits.cancel is None else (limits.cancel,))
        try:
            return await in_thread(
                "cairndb call", partial(self._call, remote, data, limits.changed(cancel=token))
            )
        finally:
            token.cancel("the task was cancelled")

    def _limits_of(self, remote: RemoteMethod, kwargs: dict[str, Any]) -> Limits:
        """The limits of a call, some of which may be among its arguments, and are taken out."""
        given = {
            name: kwargs.pop(name)
            for name in _OPTIONS
            if name in kwargs and name not in remote.parameters
        }
        return self._limits.changed(**given) if given else self._limits

    def _call(self, remote: RemoteMethod, data: bytes, limits: Limits) -> Any:
        target = self._target
        wait = Wait(limits.timeout, limits.cancel)
        words = (RUN, remote.name, data)
        exchange = Exchange(target.link, words, remote.qualified_name, wait, updates=remote.updates)
        reply = exchange.run()
        self._answered(reply.lsn, wait)
        if reply.failure is not None:
            raise target.exceptions.of(reply.failure)
        return remote.result(reply.result)

    def _answered(self, lsn: int, wait: Wait) -> None:
        """For who has something to do with an answer, before it is handed out."""

    @overload
    def get(self, path: str) -> Any: ...

    @overload
    def get(self, path: str, as_type: type[T]) -> T: ...

    def get(self, path: str, as_type: Any = Any) -> Any:
        """What stands at a path of the state.

        Args:
            path: `/accounts/alice`.
            as_type: what to make of it, `Account` say; without, it is what JSON has.

        Raises:
            NoSuchPath: nothing stands there.
            SchemaError: it isn't of that type.
            Unavailable: no server answered in time.
            Cancelled: cancelled.
        """
        target = self._target
        wait = Wait(self._limits.timeout, self._limits.cancel)
        found = Exchange(target.link, (GET, path), f"getting {path}", wait).ask()
        if found is None:
            raise NoSuchPath(f"there is nothing at {path}")
        try:
            return msgspec.json.decode(found, type=as_type)
        except (TypeError, ValueError) as error:
            raise SchemaError(f"what is at {path} isn't what was asked for: {error}") from error

    def watch(
        self,
        pattern: str = "/**",
        *,
        since: str | int | None = None,
        initial: bool = False,
        timeout: float | None = None,
    ) -> RemoteWatch:
        """The changes under a pattern, as they become durable: `for change in client.watch(...)`.

        Each update that changed something there is one item, in order, without a gap, once, also
        if the server is restarted meanwhile. Values are what JSON has.

        Args:
            pattern: of paths: exact steps, `*` for any one, `**` for any number.
            since: the `position` of an item to go on after, or an LSN; None begins now.
            initial: whether the first item is all that is there now.
            timeout: seconds without an item that end the iteration; None waits for ever.

        Raises:
            UsageError: the server doesn't take the pattern, or its log doesn't go back so far.
            Unavailable: no server answered within the time of a call.
            Cancelled: cancelled.
        """
        link, limits = self._target.link, self._limits
        watch = RemoteWatch(
            link, pattern, since=since, initial=initial, timeout=timeout, cancel=limits.cancel
        )
        wait = Wait(limits.timeout, limits.cancel)
        Exchange(link, (), f"watching {pattern}", wait).until(lambda: watch.begin(wait))
        return watch

    @property
    def lsn(self) -> int:
        """The position of the newest answer: at least so far is what was seen here."""
        return self._target.link.lsn
