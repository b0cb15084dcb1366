"""The Redis protocol: what commands do, and how their replies look."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from cairndb.service_access import Grant
from cairndb.wire import Reply
from serving_resp import Client, Served, packed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKENS = {
    "all": Grant("boss", admin=True),
    "notes": Grant("clerk", run=("add_*",)),
    "look": Grant("guest"),
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A bank."""
    with Served(tmp_path) as server:
        yield server


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    """A connection to it."""
    with served.client() as connection:
        yield connection


def test_a_connection_is_greeted_as_by_redis(client: Client) -> None:
    """What clients send first has replies that they understand."""
    assert client.ask("PING") == "PONG"
    assert client.ask("ping", "x") == "x"
    assert client.ask("ECHO", "y") == "y"
    assert client.ask("SELECT", 0) == "OK"
    assert "one, 0" in client.refused("SELECT", 1)
    greeting = client.ask("HELLO", 3, "SETNAME", "me")
    assert (greeting["server"], greeting["proto"]) == ("cairndb", 3)
    assert client.ask("CLIENT", "GETNAME") == "me"
    assert client.ask("CLIENT", "ID") == greeting["id"]
    assert client.ask("CLIENT", "SETINFO", "LIB-NAME", "test") == "OK"
    assert "name=me" in client.ask("CLIENT", "LIST")
    assert "lib-name=test" in client.ask("CLIENT", "INFO")
    assert client.refused("HELLO", 4).startswith("NOPROTO")
    assert client.ask("RESET") == "RESET"
    assert client.ask("CLIENT", "GETNAME") is None
    assert client.ask("QUIT") == "OK"
    with pytest.raises(EOFError):
        client.read()


def test_clients_are_told_of_the_server(served: Served, client: Client) -> None:
    """INFO, CONFIG GET, COMMAND and FUNCTION LIST, as far as there is such a thing here."""
    info = client.ask("INFO")
    assert "server_name:cairndb\r\n" in info
    assert f"durable_lsn:{served.db.durable_lsn}\r\n" in info
    assert "transfer:update source target amount\r\n" in info
    assert (
        client.ask("INFO", "replication")
        == "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n"
    )
    assert client.ask("CONFIG", "GET", "append*") == [
        "appendonly",
        "yes",
        "appendfsync",
        "always",
    ]
    assert "cairn serve" in client.refused("CONFIG", "SET", "save", "")
    commands = {each[0]: each[1] for each in client.ask("COMMAND")}
    assert len(commands) == client.ask("COMMAND", "COUNT")
    assert (commands["fcall"], commands["cairn.get"], commands["ping"]) == (-3, 2, -1)
    assert client.ask("COMMAND", "INFO", "nothing") == [None]
    client.ask("HELLO", 3)
    documented = client.ask("COMMAND", "DOCS", "FCALL")["fcall"]
    assert [each["name"] for each in documented["arguments"]] == ["name", "numkeys", "argument"]
    (library,) = client.ask("FUNCTION", "LIST")
    functions = {each["name"]: each for each in library["functions"]}
    assert library["library_name"] == "Bank"
    assert list(functions["total"]["flags"]) == ["no-writes"]
    assert functions["transfer"]["description"] == "Move money, and return what is left."


def test_methods_run_with_texts(client: Client) -> None:
    """FCALL converts what it is given; keys come before the other arguments."""
    assert client.ask("FCALL", "transfer", 0, "alice", "bob", 5) == 95
    assert client.ask("FCALL", "transfer", 2, "alice", "bob", 5) == 90
    assert client.ask("FCALL_RO", "total", 0) == 100
    assert client.ask("CAIRN.GET", "/accounts/bob/balance") == "10"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("FCALL", "transfer", 0, "alice"), "ERR transfer takes 3 arguments"),
        (("FCALL", "transfer", 0, "alice", "bob", "x"), "ERR transfer: amount: "),
        (("FCALL", "transfer", 0, "alice", "bob", "-5"), "ERR transfer: amount: "),
        (("FCALL", "transfer", 0, "alice", "bob", "500"), "ERR InsufficientFunds: ('alice', 500)"),
        (("FCALL", "transfer", 4, "alice", "bob", "5"), "ERR numkeys is greater"),
        (("FCALL", "transfer", "x", "alice", "bob", "5"), "ERR numkeys is an integer"),
        (("FCALL_RO", "add_note", 0, "x"), "ERR add_note changes the state"),
        (("FCALL", "nothing", 0), "ERR there is no method 'nothing'"),
        (("FCALL", b"\xff", 0), "ERR b'\\xff' isn't UTF-8"),
        (("FCALL", "total"), "ERR wrong number of arguments for 'FCALL': call it as FCALL name"),
        (("PING", 1, 2), "ERR wrong number of arguments for 'PING'"),
        (("NOTHING", 1), "ERR unknown command 'NOTHING'"),
        (("CAIRN.SET", "/notes", "{"), "ERR ValidationError: "),
        (("CAIRN.SET", "/nothing/x", "1"), "ERR there is nothing at /nothing"),
        (("CLIENT", "KILL"), "ERR unknown subcommand 'KILL' of CLIENT"),
        (("HELLO", 3, "AUTH", "x"), "ERR syntax error in HELLO at b'AUTH'"),
        (("AUTH", "x"), "ERR no token is needed here"),
        (("CAIRN.RUN", "total", b"\x80", "TWICE"), "ERR what follows the arguments is ONCE"),
        (("CAIRN.WATCH", "/**"), "ERR CAIRN.WATCH sends messages beside replies"),
    ],
)
def test_what_is_wrong_is_told(client: Client, words: tuple[str, ...], error: str) -> None:
    """Each error says what, in one line, and the connection goes on."""
    assert client.refused(*words).startswith(error)
    assert client.ask("FCALL", "total", 0) == 100


def test_an_error_is_one_line(client: Client) -> None:
    """Whatever its message has: nothing in it can be taken for another reply."""
    refusal = client.refused("NOTHING\r\n+OK\r\n")
    assert refusal.startswith("ERR unknown command 'NOTHING  +OK  '")
    assert client.ask("PING") == "PONG"


def test_paths_are_read_and_set(client: Client) -> None:
    """As JSON; where nothing stands there is nothing, which isn't null."""
    assert json.loads(client.ask("CAIRN.GET", "/accounts/alice")) == {
        "owner": "Alice",
        "balance": 100,
        "tags": [],
    }
    assert client.ask("CAIRN.SET", "/notes", '["a"]') == "OK"
    assert client.ask("CAIRN.GET", "/notes/0") == '"a"'
    assert client.ask("CAIRN.GET", "/notes/1") is None
    assert "balance" in client.refused("CAIRN.SET", "/accounts/bob/balance", "-1")


def test_the_python_client_gets_typed_results(client: Client) -> None:
    """CAIRN.RUN takes arguments by name, and its errors travel in the reply."""

    def run(name: str, *more: int | str, **arguments: Any) -> Reply:
        data = client.ask("CAIRN.RUN", name, msgspec.msgpack.encode(arguments), *more)
        return msgspec.msgpack.decode(data.encode(errors="surrogateescape"), type=Reply)

    reply = run("transfer", source="alice", target="bob", amount=5)
    assert (msgspec.msgpack.decode(reply.result), reply.failure) == (95, None)
    failure = run("transfer", source="alice", target="bob", amount=500).failure
    assert failure is not None
    assert (failure.module, failure.name) == ("serving", "InsufficientFunds")
    assert failure.arguments == ["alice", 500]
    session = client.ask("CAIRN.SESSION")
    first = run("add_note", "ONCE", *session, 0, 0, text="x")
    again = run("add_note", "ONCE", *session, 0, 0, text="x")
    assert first == again
    assert client.ask("CAIRN.GET", "/notes") == '["x"]'


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    """Without one nothing is done; with one what it allows, and no more."""
    with Served(tmp_path, authenticate=TOKENS.get) as served, served.client() as client:
        for words in (("PING",), ("FCALL", "total", 0), ("HELLO", 3), ("COMMAND",)):
            assert client.refused(*words).startswith("NOAUTH ")
        assert client.refused("AUTH", "wrong").startswith("WRONGPASS ")
        assert client.refused("AUTH", b"\xff").startswith("WRONGPASS ")
        assert client.refused("HELLO", 3, "AUTH", "default", "wrong").startswith("WRONGPASS ")
        assert client.ask("AUTH", "look") == "OK"
        assert client.ask("FCALL", "total", 0) == 100
        assert client.refused("FCALL", "add_note", 0, "x").startswith("NOPERM ")
        assert client.ask("AUTH", "clerk", "notes") == "OK"
        assert client.ask("FCALL", "add_note", 0, "x") == 1
        assert client.refused("FCALL", "transfer", 0, "alice", "bob", 5).startswith("NOPERM ")
        assert client.refused("CAIRN.SET", "/notes", "[]").startswith("NOPERM ")
        assert client.ask("HELLO", 3, "AUTH", "default", "all")["proto"] == 3
        assert client.ask("CAIRN.SET", "/notes", "[]") == "OK"
        assert client.ask("RESET") == "RESET"
        assert client.refused("PING").startswith("NOAUTH ")
        assert client.ask("QUIT") == "OK"


def test_who_shows_who_it_is_needs_no_token(tmp_path: Path) -> None:
    """As the other side of a Unix socket does, by the process that it is."""
    options = {"authenticate": TOKENS.get, "recognise": lambda _: TOKENS["look"]}
    with Served(tmp_path, **options) as served, served.client() as client:
        assert client.ask("FCALL", "total", 0) == 100
        assert client.refused("FCALL", "add_note", 0, "x").startswith("NOPERM ")


@pytest.mark.parametrize("data", [packed("AUTH", b"x" * 20_000), packed("AUTH", *("x" * 10))])
def test_somebody_unknown_may_send_little(tmp_path: Path, data: bytes) -> None:
    """Not more than Redis takes of them; the connection is closed."""
    with Served(tmp_path, authenticate=TOKENS.get) as served, served.client() as client:
        client.socket.sendall(data)
        assert client.rest().startswith(b"-ERR Protocol error")


def test_lines_are_commands_for_people(served: Served) -> None:
    """Somebody with netcat is understood; who speaks something else is told, and closed."""
    with served.client() as client:
        client.socket.sendall(b"PING\r\nFCALL add_note 0 'two words'\n\nCAIRN.GET /notes\r\n")
        assert [client.read() for _ in range(3)] == ["PONG", 1, '["two words"]']
        client.socket.sendall(b"GET / HTTP/1.1\r\nFCALL add_note 0 x\r\n")
        assert client.rest().startswith(b"-ERR unknown command 'GET'")
    with served.client() as client:
        client.socket.sendall(b"PING 'x\r\n")
        assert b"can't be split" in client.rest()
    with served.db.view() as bank:
        assert bank.notes == ["two words"]


def test_middleware_sees_every_command(tmp_path: Path) -> None:
    """What carries commands out can be wrapped, where the server is made."""
    seen: list[bytes] = []

    def noted(inner: Any) -> Any:
        def carry_out(connection: Any, command: list[bytes]) -> Any:
            seen.append(command[0])
            return inner(connection, command)

        return carry_out

    with Served(tmp_path, around=[noted]) as served, served.client() as client:
        assert client.ask("PING") == "PONG"
        assert client.ask("FCALL", "total", 0) == 100
    assert seen == [b"PING", b"FCALL"]
