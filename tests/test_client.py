"""A client of a served database: the same calls as embedded, from elsewhere."""

from __future__ import annotations

import ssl
import threading
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import pytest
import trustme

import cairndb
import serving
from cairndb.cancellation import CancelToken
from cairndb.client import connect
from cairndb.errors import Cancelled, RemoteError, SchemaError, Unavailable, UsageError
from cairndb.service_access import Forbidden, Grant, Unauthenticated
from cairndb.service_methods import ArgumentError
from cairndb.service_paths import NoSuchPath
from forking import in_child
from remote import Cut, Served, Wire
from remote_root import Tally, client_of, count_of, served
from serving import Account, Bank, Colour, InsufficientFunds
from tasks import BACKENDS, run, until
from threads import Aside, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cairndb.client import Client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A bank that is served."""
    with serving.opened(tmp_path) as db, Served(db, Bank) as found:
        yield found


@pytest.fixture
def client(server: Served) -> Iterator[Client[Bank]]:
    """A client of it."""
    with connect(server.url, Bank) as found:
        yield found


def test_a_call_is_as_embedded(server: Served, client: Client[Bank]) -> None:
    """Arguments by position and by name, defaults, records both ways, and other typed values."""
    assert client.run(Bank.total) == 100
    assert client.run(Bank.transfer, "alice", "bob", amount=30) == 70
    assert client.run(Bank.open_account, "carol", "Carol") == Account("Carol")
    client.run(Bank.put_account, "dave", Account("Dave", 5, ["new"]))
    assert client.run(Bank.add_note, "hello", twice=True) == 2
    assert client.run(Bank.holders, owner="Dave") == {"dave": Account("Dave", 5, ["new"])}
    with server.service.database.view() as bank:
        assert bank.accounts["bob"].balance == 30
    key = UUID(int=5)
    echoed = client.run(Bank.echo, Colour.RED, date(2026, 1, 2), Decimal("1.50"), key, 2.5)
    assert echoed == ["red", "2026-01-02", "1.50", str(key), 2.5]


def test_arguments_from_the_state_and_from_drafts_are_copied(client: Client[Bank]) -> None:
    """What comes out of a view or a draft of another database can be an argument."""
    account = client.run(Bank.holders)["alice"]
    client.run(Bank.put_account, "copy", account)
    assert client.run(Bank.holders)["copy"] == account


def test_an_exception_is_of_its_class_and_says_where_it_comes_from(client: Client[Bank]) -> None:
    """The application's exceptions, Python's and cairndb's are raised as what they were."""
    with pytest.raises(InsufficientFunds) as caught:
        client.run(Bank.transfer, "alice", "bob", 1000)
    assert caught.value.args == ("alice", 1000)
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteError)
    assert "serving.InsufficientFunds, raised in the owner's process" in str(cause)
    with pytest.raises(KeyError, match="nobody"):
        client.run(Bank.transfer, "nobody", "bob", 1)
    with pytest.raises(ArgumentError, match="amount"):
        client.run(Bank.transfer, "alice", "bob", 0)
    with pytest.raises(cairndb.ValidationError) as refused:
        client.run(Bank.open_account, "eve", "Eve", -1)
    assert refused.value.path == ("accounts", "eve", "balance")
    assert client.run(Bank.total) == 100


def test_what_cannot_be_sent_is_refused_here(client: Client[Bank]) -> None:
    """Wrong arguments, values of no use elsewhere, functions that aren't methods of the root."""
    with pytest.raises(TypeError, match="missing a required argument"):
        client.run(Bank.transfer, "alice")  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="can't be sent"):
        client.run(Bank.put_account, "x", object())  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="isn't a method of Bank"):
        client.run(Tally.count, "x")  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="isn't marked"):
        client.run(len)  # type: ignore[call-overload]


def test_limits_beside_the_arguments(client: Client[Bank]) -> None:
    """`timeout` and `cancel` among the arguments are the call's, if the method has none."""
    assert client.run(Bank.total, timeout=5.0, cancel=CancelToken()) == 100
    with pytest.raises(Unavailable):
        client.run(Bank.wait, 0.3, timeout=0.05)
    token = CancelToken()
    token.cancel("no more")
    with pytest.raises(Cancelled, match="no more"):
        client.run(Bank.total, cancel=token)
    with pytest.raises(Cancelled, match="no more"):
        client.within(cancel=token).run(Bank.total)
    with pytest.raises(Unavailable):
        client.within(timeout=0.0).run(Bank.total)
    assert client.within(timeout=None).run(Bank.total) == 100


class Waiting(cairndb.Record):
    """A root whose method has a parameter with a name of ours."""

    n: int = 0

    @cairndb.update
    def wait(self, timeout: int) -> int:
        """Take it."""
        self.n = timeout
        return self.n


def test_a_parameter_called_timeout_is_the_methods(tmp_path: Path) -> None:
    """What a method declares is the method's, whatever it is called."""
    with (
        cairndb.open(tmp_path / "waiting.cairn", Waiting) as db,
        Served(db, Waiting) as server,
        connect(server.url, Waiting) as client,
    ):
        assert client.run(Waiting.wait, timeout=7) == 7
        assert client.within(timeout=5.0).run(Waiting.wait, timeout=8) == 8


def test_a_path_is_read(client: Client[Bank]) -> None:
    """`get` gives plain data, or what one asks for."""
    assert client.get("/accounts/alice") == {"owner": "Alice", "balance": 100, "tags": []}
    assert client.get("/accounts/alice", Account) == Account("Alice", 100)
    assert client.get("/accounts/alice/balance", int) == 100
    with pytest.raises(NoSuchPath, match="/accounts/zoe"):
        client.get("/accounts/zoe")
    with pytest.raises(SchemaError, match="/accounts"):
        client.get("/accounts", int)


def test_the_position_of_what_was_seen(server: Served, client: Client[Bank]) -> None:
    """`lsn` is that of the newest answer."""
    assert client.lsn == 0
    client.run(Bank.transfer, "alice", "bob", 1)
    assert client.lsn == server.service.database.lsn


@pytest.mark.parametrize("backend", BACKENDS)
def test_tasks_call_without_holding_up_their_loop(server: Served, backend: str) -> None:
    """`run_async` is `run` for tasks of asyncio and trio, and many of them share a client."""

    async def program() -> None:
        async with (
            connect(server.url, Bank, connections=4) as client,
            anyio.create_task_group() as tasks,
        ):
            for _ in range(20):
                tasks.start_soon(client.run_async, Bank.transfer, "alice", "bob", 1)
        async with connect(server.url, Bank) as client:
            assert await client.run_async(Bank.total, timeout=10.0) == 100
            with pytest.raises(InsufficientFunds):
                await client.run_async(Bank.transfer, "alice", "bob", 81)

    run(backend, program)
    with server.service.database.view() as bank:
        assert bank.accounts["bob"].balance == 20


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cancelled_task_ends_its_call(server: Served, backend: str) -> None:
    """Cancelled, a task goes on at once, and the thread of its call ends, too."""

    def calls() -> list[str]:
        return [t.name for t in threading.enumerate() if t.name == "cairndb call"]

    async def program(url: str) -> None:
        async with connect(url, Bank, timeout=None) as client:
            with anyio.move_on_after(0.05) as scope:
                await client.run_async(Bank.total)
            assert scope.cancelled_caught
            await until(lambda: not calls())

    with Wire(server.port, Cut(withholds=b"CAIRN.RUN", stalls=True)) as wire:
        run(backend, lambda: program(wire.url))


def test_over_a_unix_socket(tmp_path: Path) -> None:
    """The same over a Unix socket."""
    with (
        serving.opened(tmp_path) as db,
        Served(db, Bank, str(tmp_path / "socket")) as server,
        connect(server.url, Bank) as client,
    ):
        assert client.run(Bank.transfer, "alice", "bob", 1) == 99


def test_over_tls(tmp_path: Path) -> None:
    """The same over TLS; a server whose certificate isn't trusted is refused at once."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with serving.opened(tmp_path) as db, Served(db, Bank, ssl=context) as server:
        with connect(server.url, Bank, tls=trusting) as client:
            assert client.run(Bank.transfer, "alice", "bob", 1) == 99
        with (
            connect(server.url, Bank) as client,
            pytest.raises(Unavailable, match="certificate"),
        ):
            client.run(Bank.total)


def test_with_a_token(tmp_path: Path) -> None:
    """A token is sent with each connection; without one that is known, nothing is done."""
    grants = {"secret": Grant("reader")}
    with serving.opened(tmp_path) as db, Served(db, Bank, authenticate=grants.get) as server:
        with connect(server.url, Bank, token="secret") as client:  # noqa: S106
            assert client.run(Bank.total) == 100
            with pytest.raises(Forbidden, match="transfer"):
                client.run(Bank.transfer, "alice", "bob", 1)
        with connect(server.url, Bank, token=lambda: "secret") as client:
            assert client.run(Bank.total) == 100
        for options in ({}, {"token": "other"}):
            wrong: dict[str, Any] = options
            with connect(server.url, Bank, **wrong) as client, pytest.raises(Unauthenticated):
                client.run(Bank.total)


def test_threads_share_a_client(tmp_path: Path) -> None:
    """Sixteen threads with four connections: every call is answered, each update applied once."""
    with served(tmp_path) as server, client_of(server.url, connections=4) as client:
        threads = [
            Aside(lambda t=t: [client.run(Tally.count, f"{t}") for _ in range(50)])  # type: ignore[misc]
            for t in range(16)
        ]
        for thread in threads:
            assert thread.result() == list(range(1, 51))
        assert len(server.resp.connections) <= 4


def test_a_forked_child_has_its_own_connections_and_session(tmp_path: Path) -> None:
    """Parent and child go on with the same client, and neither gets the other's answers."""
    with served(tmp_path) as server, client_of(server.url) as client:
        assert client.run(Tally.count, "parent") == 1
        before = client._target.link.sessions.current
        assert in_child(
            lambda: (
                client._target.link.sessions.current is None
                and [client.run(Tally.count, "child") for _ in range(3)] == [1, 2, 3]
            )
        )
        assert client._target.link.sessions.current is before
        assert [client.run(Tally.count, "parent") for _ in range(3)] == [2, 3, 4]
        assert count_of(server, "child") == 3
        assert server.resp.connections_begun == 2


def test_a_closed_client_refuses(server: Served) -> None:
    """After `close` calls are refused, and the server has no connection of it any more."""
    client = connect(server.url, Bank)
    client.run(Bank.total)
    client.close()
    client.close()
    with pytest.raises(UsageError, match="closed"):
        client.run(Bank.total)
    wait_until(lambda: not server.resp.connections)
    assert "closed" in repr(client)


def test_a_forgotten_client_says_so(server: Served) -> None:
    """A client that nobody closes warns, as files do."""
    client = connect(server.url, Bank)
    client.run(Bank.total)
    with pytest.warns(ResourceWarning, match="unclosed client"):
        del client


def test_a_server_of_another_root_says_so(tmp_path: Path) -> None:
    """A method that the server doesn't have is refused in the server's words."""
    with (
        served(tmp_path) as server,
        connect(server.url, Bank) as client,
        pytest.raises(UsageError, match="there is no method 'total'"),
    ):
        client.run(Bank.total)
