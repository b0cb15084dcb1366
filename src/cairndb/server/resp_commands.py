"""The commands about a connection, as clients expect them of any Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cairndb.errors import UsageError
from cairndb.server import resp_values as values
from cairndb.server.resp_about import set_name
from cairndb.server.resp_table import number

if TYPE_CHECKING:
    from cairndb.server.resp_connection import Connection


def hello(connection: Connection, command: list[bytes]) -> bytes:
    """HELLO: agree on the version of the protocol, and say who one is."""
    protocol, options = connection.protocol, command[2:]
    if len(command) > 1:
        if command[1] not in {b"2", b"3"}:
            return values.error("NOPROTO", "unsupported protocol version: there are 2 and 3")
        protocol = int(command[1])
    name: bytes | None = None
    token: bytes | None = None
    while options:
        match [options[0].upper(), *options[1:]]:
            case [b"AUTH", _, token, *options]:
                pass
            case [b"SETNAME", name, *options]:
                pass
            case _:
                raise UsageError(f"syntax error in HELLO at {options[0][:40]!r}")
    if token is not None and (refusal := _recognise(connection, token)):
        return refusal
    if connection.grant is None:
        return values.error(
            "NOAUTH", "a token is needed here: HELLO 3 AUTH default TOKEN, or AUTH TOKEN first"
        )
    if name is not None:
        set_name(connection, name)
    connection.protocol = protocol
    return values.encoded(_who(connection), protocol)


def _who(connection: Connection) -> dict[str, Any]:
    return {
        "server": "cairndb",
        "version": connection.server.version,
        "proto": connection.protocol,
        "id": connection.number,
        "mode": "standalone",
        "role": "master",
        "modules": [],
    }


def auth(connection: Connection, command: list[bytes]) -> bytes:
    """AUTH: say who one is, by a token; a name before it is for clients that must send one."""
    return _recognise(connection, command[-1]) or values.OK


def _recognise(connection: Connection, token: bytes) -> bytes | None:
    if connection.server.open_to is not None:
        return values.error("ERR", "no token is needed here, and none is known: leave AUTH out")
    grant = connection.server.grant_of(token)
    if grant is None:
        return values.error("WRONGPASS", "this token isn't known here")
    connection.allow(grant)
    return None


def ping(connection: Connection, command: list[bytes]) -> bytes:
    """PING: show that one is there; to a subscriber by what it takes for a message."""
    if connection.protocol == 2 and connection.subscriptions():
        return values.encoded([b"pong", command[1] if len(command) > 1 else b""], 2)
    return values.text(command[1]) if len(command) > 1 else b"+PONG\r\n"


def echo(_connection: Connection, command: list[bytes]) -> bytes:
    """ECHO: send back what came."""
    return values.text(command[1])


def select(_connection: Connection, command: list[bytes]) -> bytes:
    """SELECT: there is one database, and it has the number 0."""
    if number(command[1], "a database's number") != 0:
        raise UsageError("DB index is out of range: there is the one, 0")
    return values.OK


def reset(connection: Connection, _command: list[bytes]) -> bytes:
    """RESET: make a connection as it was at its beginning."""
    connection.forget()
    return b"+RESET\r\n"


def leave(connection: Connection, _command: list[bytes]) -> None:
    """QUIT: close when all replies have left."""
    connection.put(values.OK)
    connection.end()
