"""The commands that look at the state and change it.

FCALL and FCALL_RO run a method of the root with texts, as people type them and as every client can
send them: first the keys, if any are said, then the other arguments, all of them by position.
CAIRN.RUN is what our own client sends, see `wire`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from cairndb.errors import UsageError
from cairndb.requests import RequestId
from cairndb.server import resp_values as values
from cairndb.server.resp_errors import error_reply, failure_of
from cairndb.server.resp_table import number, word
from cairndb.service import Answer, Request
from cairndb.service_paths import NoSuchPath
from cairndb.wire import Reply

if TYPE_CHECKING:
    from cairndb.server.resp_connection import Connection

_encode = msgspec.msgpack.Encoder().encode
_NIL = Raw(_encode(None))


def call(connection: Connection, command: list[bytes]) -> None:
    """FCALL: run a method."""
    _call(connection, command, reads=False)


def call_to_read(connection: Connection, command: list[bytes]) -> None:
    """FCALL_RO: run a method that changes nothing."""
    _call(connection, command, reads=True)


def _call(connection: Connection, command: list[bytes], *, reads: bool) -> None:
    texts = command[3:]
    if command[2] != b"0" and number(command[2], "numkeys") > len(texts):
        raise UsageError("numkeys is greater than the number of arguments that follow")
    request = Request("run", word(command[1]), form="text", data=texts, reads=reads)
    connection.ask(request, _value_reply)


def _value_reply(answer: Answer, protocol: int) -> bytes:
    if answer.error is not None:
        return error_reply(answer.error)
    return values.encoded(answer.value, protocol)


def get(connection: Connection, command: list[bytes]) -> None:
    """CAIRN.GET: what stands at a path, as JSON."""
    connection.ask(Request("get", word(command[1])), _json_reply)


def _json_reply(answer: Answer, protocol: int) -> bytes:
    if isinstance(answer.error, NoSuchPath):
        return values.NULL[protocol]
    if answer.error is not None:
        return error_reply(answer.error)
    return values.text(bytes(answer.value))


def put(connection: Connection, command: list[bytes]) -> None:
    """CAIRN.SET: set a path."""
    connection.ask(Request("set", word(command[1]), data=command[2]), _done_reply)


def _done_reply(answer: Answer, _protocol: int) -> bytes:
    return values.OK if answer.error is None else error_reply(answer.error)


def run(connection: Connection, command: list[bytes]) -> None:
    """CAIRN.RUN: run a method for our own client."""
    request = Request("run", word(command[1]), form="msgpack", data=command[2])
    if len(command) > 3:
        request.once = _identity(command[3:])
    connection.ask(request, _wire_reply)


def _identity(words: list[bytes]) -> RequestId:
    if len(words) != 5 or words[0].upper() != b"ONCE":
        raise UsageError("what follows the arguments is ONCE born nonce sequence first_incomplete")
    born, nonce, sequence, first_incomplete = (number(each, "each of them") for each in words[1:])
    identity = RequestId(born, nonce, sequence, first_incomplete)
    identity.check()
    return identity


def _wire_reply(answer: Answer, _protocol: int) -> bytes:
    lsn, running = answer.position or (0, 0)
    failure, result = None, _NIL
    if answer.error is not None:
        failure = failure_of(answer.error)
    else:
        try:
            result = Raw(_encode(answer.value))
        except Exception as error:  # noqa: BLE001  the answer to who asks
            failure = failure_of(error)
    return values.text(_encode(Reply(lsn, running, result, failure)))


def session(connection: Connection, _command: list[bytes]) -> None:
    """CAIRN.SESSION: what the request ids of a new session have in common."""
    born, nonce = connection.server.service.session()
    # Not before it is promised: after a crash this would be a session of the future.
    connection.put(values.encoded([born, nonce], connection.protocol), born)
