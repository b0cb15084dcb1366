"""The commands that tell of the server, its connections and its commands: CLIENT, INFO and others.

Clients ask for some of this before their first call. What they look at is answered as Redis would
where there is such a thing here; a setting or section of Redis that means nothing here isn't made
up.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from cairndb.errors import UsageError
from cairndb.server import resp_values as values
from cairndb.server.resp_table import Command, word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cairndb.server.resp_connection import Connection

REDIS_VERSION: Final = "7.4.0"
"""Whose commands and replies these are, for clients that ask before they use them."""
_NAME_CHARACTERS: Final = 256


def set_name(connection: Connection, name: bytes) -> None:
    """Give a connection its name, as CLIENT LIST shows it."""
    connection.name = _shown_word(name)


def _shown_word(given: bytes) -> str:
    text = word(given)
    if len(text) > _NAME_CHARACTERS or not all("!" <= character <= "~" for character in text):
        raise UsageError("names have up to 256 characters of ASCII, without spaces or line breaks")
    return text


def client(connection: Connection, command: list[bytes]) -> bytes:
    """CLIENT: about connections."""
    _, below, *arguments = command
    match below.upper(), arguments:
        case b"ID", []:
            return values.encoded(connection.number, connection.protocol)
        case b"GETNAME", []:
            return values.encoded(connection.name or None, connection.protocol)
        case b"SETNAME", [name]:
            set_name(connection, name)
        case b"SETINFO", [kind, text] if kind.upper() == b"LIB-NAME":
            connection.library = _shown_word(text)
        case b"SETINFO", [kind, text] if kind.upper() == b"LIB-VER":
            connection.library_version = _shown_word(text)
        case b"INFO", []:
            return values.encoded(_line(connection) + "\n", connection.protocol)
        case b"LIST", _:
            listed = (
                connection.server.connections.values() if _is_admin(connection) else [connection]
            )
            lines = "".join(f"{_line(each)}\n" for each in listed)
            return values.encoded(lines, connection.protocol)
        case b"NO-EVICT" | b"NO-TOUCH", [_]:
            pass
        case b"REPLY", [mode] if mode.upper() == b"ON":
            pass
        case _:
            raise _unknown_below("CLIENT", below)
    return values.OK


def _is_admin(connection: Connection) -> bool:
    return connection.grant is not None and connection.grant.admin


def _unknown_below(name: str, below: bytes) -> UsageError:
    shown = below[:40].decode(errors="replace")
    return UsageError(f"unknown subcommand '{shown}' of {name}, or a wrong number of arguments")


def _line(connection: Connection) -> str:
    now = connection.server.loop.time()
    fields = {
        "id": connection.number,
        "addr": connection.peer,
        "name": connection.name,
        "age": int(now - connection.began),
        "idle": int(now - connection.heard),
        "db": 0,
        "sub": 0,
        "psub": len(connection.streams),
        "obl": connection.output_bytes,
        "cmd": connection.last_command or "NULL",
        "user": connection.grant.name.replace(" ", "_") if connection.grant else "",
        "lib-name": connection.library,
        "lib-ver": connection.library_version,
        "resp": connection.protocol,
    }
    return " ".join(f"{name}={value}" for name, value in fields.items())


def commands(connection: Connection, command: list[bytes]) -> bytes:
    """COMMAND: about commands."""
    table = connection.server.commands
    below, names = command[1].upper() if len(command) > 1 else b"", command[2:]
    wanted: list[Command | None] = list(table.values())
    if names:
        wanted = [table.get(name.upper()) for name in names]
    there = [each for each in wanted if each is not None]
    found: Any
    match below:
        case b"":
            found = [_described(each) for each in there]
        case b"INFO":
            found = [each and _described(each) for each in wanted]
        case b"DOCS":
            found = {each.name.lower(): _documented(each) for each in there}
        case b"COUNT":
            found = len(table)
        case b"LIST":
            found = [each.name.lower() for each in table.values()]
        case _:
            raise _unknown_below("COMMAND", below)
    return values.encoded(found, connection.protocol)


def _described(command: Command) -> list[Any]:
    arity = command.least + 1
    flags = ["write" if command.writes else "readonly", *(["no_auth"] if command.is_open else [])]
    if command.most != command.least:
        arity = -arity
    name = command.name.lower()
    return [name, arity, [*map(values.Status, flags)], 0, 0, 0, [], [], [], []]


def _documented(command: Command) -> dict[str, Any]:
    return {
        "summary": command.summary,
        "since": "1.0.0",
        "group": command.group,
        "arguments": [_argument(each) for each in command.words],
    }


def _argument(shown: str) -> dict[str, Any]:
    name = shown.strip("[].")
    signs = {"optional": "[", "multiple": "..."}
    flags = [values.Status(flag) for flag, sign in signs.items() if sign in shown]
    argument = {"name": name, "type": "string", "display_text": name}
    return argument | ({"flags": flags} if flags else {})


def config(connection: Connection, command: list[bytes]) -> bytes:
    """CONFIG: what Redis would call its settings, as far as there is such a thing here."""
    _, below, *patterns = command
    if below.upper() == b"RESETSTAT":
        return values.OK
    if below.upper() != b"GET" or not patterns:
        raise UsageError("settings are given to `cairn serve` when it starts; there is CONFIG GET")
    limits = connection.server.limits
    settings = {
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
        "databases": "1",
        "maxclients": str(limits.connections),
        "timeout": str(int(limits.idle_seconds)),
        "proto-max-bulk-len": str(limits.request_bytes),
    }
    texts = [word(pattern).lower() for pattern in patterns]
    found = {
        name: value
        for name, value in settings.items()
        if any(fnmatchcase(name, text) for text in texts)
    }
    return values.encoded(found, connection.protocol)


def info(connection: Connection, command: list[bytes]) -> bytes:
    """INFO: figures, in sections."""
    wanted = {word(name).lower() for name in command[1:]}
    if wanted & {"all", "default", "everything"}:
        wanted = set()
    parts = []
    for name, section in _SECTIONS.items():
        if not wanted or name in wanted:
            lines = "".join(f"{key}:{value}\r\n" for key, value in section(connection))
            parts.append(f"# {name.capitalize()}\r\n{lines}")
    return values.encoded("\r\n".join(parts), connection.protocol)


def _server(connection: Connection) -> Iterator[tuple[str, Any]]:
    server = connection.server
    yield "redis_version", REDIS_VERSION
    yield "redis_mode", "standalone"
    yield "server_name", "cairndb"
    yield "cairndb_version", server.version
    yield "uptime_in_seconds", int(server.loop.time() - server.began)


def _clients(connection: Connection) -> Iterator[tuple[str, Any]]:
    server = connection.server
    yield "connected_clients", len(server.connections)
    yield "maxclients", server.limits.connections
    streams = sum(len(each.streams) for each in server.connections.values())
    yield "watches", streams


def _persistence(connection: Connection) -> Iterator[tuple[str, Any]]:
    database = connection.server.service.database
    yield "loading", 0
    yield "aof_enabled", 1
    yield "lsn", database.lsn
    yield "durable_lsn", database.durable_lsn


def _stats(connection: Connection) -> Iterator[tuple[str, Any]]:
    server = connection.server
    yield "total_connections_received", server.connections_begun
    yield "total_commands_processed", server.commands_begun
    yield "rejected_connections", server.connections_refused


def _replication(_connection: Connection) -> Iterator[tuple[str, Any]]:
    yield "role", "master"
    yield "connected_slaves", 0


def _methods(connection: Connection) -> Iterator[tuple[str, Any]]:
    for name, method in connection.server.service.methods.items():
        yield name, f"{method.mode} {' '.join(each.name for each in method.parameters)}".rstrip()


_SECTIONS: Final[dict[str, Callable[[Connection], Iterator[tuple[str, Any]]]]] = {
    "server": _server,
    "clients": _clients,
    "persistence": _persistence,
    "stats": _stats,
    "replication": _replication,
    "methods": _methods,
}


def function(connection: Connection, command: list[bytes]) -> bytes:
    """FUNCTION LIST: the methods, as Redis tells of a library's functions."""
    if command[1].upper() != b"LIST":
        raise UsageError("methods are those of the root's class; there is FUNCTION LIST")
    service = connection.server.service
    functions = [
        {
            "name": name,
            "description": method.documentation or None,
            "flags": {"no-writes"} if method.mode == "query" else set(),
        }
        for name, method in service.methods.items()
    ]
    if not functions:
        return values.encoded([], connection.protocol)
    name = next(iter(service.methods.values())).qualified_name.rpartition(".")[0]
    library = {"library_name": name, "engine": "PYTHON", "functions": functions}
    return values.encoded([library], connection.protocol)
