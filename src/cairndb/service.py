"""What a database does for others, by name: methods are run, paths read and set.

A request is a value; what handles it is a function, `Handler`, and what wraps one, for limits,
logs, figures or an application's own purposes, is a `Middleware`. Protocols make requests of what
they read and write what comes back; they are the same here.

A handler doesn't wait for the disk. Its answer says which position it is based on, and **whoever
sends it waits until that is promised**, so that many updates share a sync. That holds for errors,
too: what a method raised may be about what it saw.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

import msgspec
from msgspec import Raw, Struct

from cairndb import calls, codec
from cairndb.chain import Position
from cairndb.errors import CairnError, LockTimeout, UsageError, ValidationError
from cairndb.locks_holders import WouldBlock
from cairndb.notation import to_json
from cairndb.requests import Once, RequestId
from cairndb.service_access import Grant, require_admin, require_read, require_run
from cairndb.service_methods import Form, Method, methods_of
from cairndb.service_once import answers_of, encoded_result, new_session
from cairndb.service_paths import find, locate, put
from cairndb.transaction import Update, View
from cairndb.watch_items import position_text
from cairndb.watch_start import watch_own
from cairndb.watch_tasks import AsyncWatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cairndb.database import Database
    from cairndb.kinds import Kind
    from cairndb.patch import Call
    from cairndb.watch_items import Start
    from cairndb.watch_start import Wish


class Conflict(CairnError):  # noqa: N818  names the state of the database
    """The database isn't at the position that the request was made for; nothing has happened."""


class Request(Struct):
    """What somebody asks for.

    Args:
        operation: `run` a method, `get` a path, or `set` it.
        target: the method's name, or the path.
        form: of `data`, and of what `get` answers with.
        data: the arguments, as `Method.arguments` takes them; of `set` the value.
        grant: what who asks may do; None for somebody unknown.
        protocol: by which it came, for logs and figures.
        peer: from where it came, for logs.
        trace: what it is a part of, as the header `traceparent` says it (W3C Trace Context).
        reads: whether to refuse what would change anything.
        once: which request of a client's session it is: an update is executed at most once for it,
            and whoever asks again gets the answer that there was; None for nobody who may.
        expected: the position that the database must be at, or nothing happens; None for any.
        timeout: seconds to wait for a lock; 0 doesn't.
    """

    operation: Literal["run", "get", "set"]
    target: str
    form: Form = "json"
    data: bytes | Sequence[bytes] = b""
    grant: Grant | None = None
    protocol: str = ""
    peer: str = ""
    trace: str = ""
    reads: bool = False
    once: RequestId | None = None
    expected: Start | None = None
    timeout: float | None = None


class Answer(Struct):
    """What becomes of a request.

    Args:
        position: nobody may see this before it is promised; None if nothing was looked at.
        value: what the method returned, out of the tree; of `get` the encoded value, as is what is
            told again to a request of the form `msgpack`.
        error: why there is none.
    """

    position: Position | None = None
    value: Any = None
    error: Exception | None = None


Handler = Callable[[Request], Answer]
Middleware = Callable[[Handler], Handler]


def as_json(kind: Kind, value: Any) -> bytes:
    """A part of the state as JSON, in the types that JSON has; floats that it hasn't are null.

    Args:
        kind: of the value.
        value: live.
    """
    try:
        return msgspec.json.encode(value)
    except TypeError:  # keys that aren't texts: written as the command line shows them
        return msgspec.json.encode(to_json(codec.decode(kind.encode(value))))


def wrapped(handler: Handler, middleware: Sequence[Middleware]) -> Handler:
    """A handler with others around it: the first is the outermost."""
    return reduce(lambda inner, wrap: wrap(inner), reversed(middleware), handler)


class Service:
    """The operations of an open database.

    Args:
        database: open for writing.
        root: the type of its root.

    Attributes:
        methods: of the root, by name.

    Raises:
        UsageError: a method of the root can't be called from outside.
    """

    def __init__(self, database: Database[Any], root: Any) -> None:
        self.database = database
        self.engine = database._engine  # noqa: SLF001  a part of what is served
        self.hub = database._hub  # noqa: SLF001  as above
        self.methods = methods_of(root)
        self.answers = answers_of(self.engine)

    def session(self) -> tuple[int, int]:
        """What names a new session, for `RequestId`: its born and nonce. Nothing is written."""
        return new_session(self.engine)

    def handle(self, request: Request) -> Answer:
        """Do what is asked for; the innermost `Handler`. It raises nothing that a method raises."""
        match request.operation:
            case "run":
                return self._run(request)
            case "get":
                return self._get(request)
            case "set":
                return self._set(request)

    def method(self, name: str) -> Method:
        """The method of a name.

        Raises:
            UsageError: there is none.
        """
        method = self.methods.get(name)
        if method is None:
            known = ", ".join(sorted(self.methods)) or "no methods at all"
            raise UsageError(f"there is no method {name!r:.100} here; there are: {known}")
        return method

    def watch(self, wish: Wish) -> AsyncWatch:
        """The changes under a pattern, with values that look as they are stored, see `notation`.

        Args:
            wish: what is asked for; its timeout is for whoever iterates.

        Raises:
            UsageError: it can't be meant.
        """
        self.engine.check_usable()
        wish.check()
        return AsyncWatch(lambda: watch_own(self.hub, wish, typed=False), wish.timeout)

    def _run(self, request: Request) -> Answer:
        method = self.method(request.target)
        if method.mode == "query":
            require_read(request.grant)
        else:
            require_run(request.grant, method.name)
            if request.reads:
                raise UsageError(f"{method.name} changes the state: call it as an update")
        arguments = method.arguments(request.form, request.data)
        if method.mode == "query":
            return self._query(method, arguments, request)
        call = None
        if self.database._audit:  # noqa: SLF001  a part of what is served
            call = calls.call_of(method.qualified_name, (), arguments)
        return self._update(
            request,
            lambda root: calls.result_of(method.function(root, **arguments), method.name),
            call,
        )

    def _query(self, method: Method, arguments: dict[str, Any], request: Request) -> Answer:
        return self._view(
            request, lambda root: calls.result_of(method.function(root, **arguments), method.name)
        )

    def _get(self, request: Request) -> Answer:
        require_read(request.grant)
        kind = self.engine.tree.kind

        def read(root: Any) -> Raw:
            place = find(kind, root, request.target)
            if request.form != "json":
                return Raw(place.kind.encode(place.value))
            return Raw(as_json(place.kind, place.value))

        return self._view(request, read)

    def _set(self, request: Request) -> Answer:
        require_admin(request.grant)
        kind = self.engine.tree.kind
        decode = msgspec.json.decode if request.form == "json" else msgspec.msgpack.decode

        def write(root: Any) -> None:
            place = locate(kind, self.engine.tree.root, request.target)
            assert isinstance(request.data, bytes)
            try:
                value = decode(request.data, type=place.kind.annotation)
            except (ValueError, RecursionError) as error:
                raise ValidationError(f"{request.target}: {error}") from None
            put(root, place, value)

        return self._update(request, write)

    def _view(self, request: Request, read: Callable[[Any], Any]) -> Answer:
        answer = Answer()
        view: View[Any] = View(self.engine, request.timeout, durable=False)
        with view as root:
            answer.position = self.engine.position
            try:
                self._expect(request, answer.position)
                answer.value = read(root)
            except Exception as error:  # noqa: BLE001  the answer to who asks
                answer.error = error
        return answer

    def _update(
        self, request: Request, write: Callable[[Any], Any], call: Call | None = None
    ) -> Answer:
        if request.once is not None:
            return self._update_once(request, request.once, write, call)

        if request.expected is None:
            return self._commit(request, write, call, None)

        def write_here(root: Any) -> Any:
            self._expect(request, self.engine.position)
            return write(root)

        return self._commit(request, write_here, call, None)

    def _update_once(
        self,
        request: Request,
        identity: RequestId,
        write: Callable[[Any], Any],
        call: Call | None,
    ) -> Answer:
        identity.check()
        once, answers, is_new = Once(identity), self.answers, True

        def write_if_new(root: Any) -> Any:
            nonlocal is_new
            is_new = False
            found = answers.find(identity, self.engine)
            if found is not None:
                return self._told_again(request, found)
            is_new = True
            self._expect(request, self.engine.position)
            value = write(root)
            once.result = encoded_result(value, request.target)
            return value

        answers.begin(identity, request.timeout)
        try:
            answer = self._commit(request, write_if_new, call, once)
            impatient = request.timeout == 0 and isinstance(answer.error, LockTimeout | WouldBlock)
            if is_new and not impatient and (answer.error or not once.written):
                answers.keep(identity, answer.error or once.result)
        finally:
            answers.end(identity)
        return answer

    def _told_again(self, request: Request, found: bytes) -> Any:
        """A kept answer, as a protocol takes one."""
        if request.form == "msgpack":
            return Raw(found)
        returns = self.method(request.target).returns if request.operation == "run" else Any
        try:
            return msgspec.msgpack.decode(found, type=returns)
        except (ValueError, TypeError):  # not what is declared, or nothing that msgspec knows
            return msgspec.msgpack.decode(found)

    def _commit(
        self,
        request: Request,
        write: Callable[[Any], Any],
        call: Call | None,
        once: Once | None,
    ) -> Answer:
        answer = Answer()
        engine = self.engine
        # Without its parameter, which would be noted on the object, at some cost.
        update: Update[Any] = Update(engine, request.timeout, False, call, once)
        try:
            with update as root:
                answer.position = engine.position
                answer.value = write(root)
        except Exception as error:  # noqa: BLE001  the answer to who asks
            answer.error, answer.value = error, None
        # Exactly its own: others may have gone on by now, with what who asks hasn't seen.
        change, seen = update._change, answer.position  # noqa: SLF001  for this
        if change is not None and change.lsn and seen is not None:
            answer.position = Position(change.lsn, crc32(change.entry, seen.running))
        return answer

    def _expect(self, request: Request, position: Position) -> None:
        expected = request.expected
        if expected is None:
            return
        if expected.lsn != position.lsn or expected.running not in {None, position.running}:
            raise Conflict(
                f"the database is at {position_text(position)}, and this was asked for "
                f"{expected.lsn}: read again, and ask for what is there now"
            )
