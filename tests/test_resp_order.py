"""The Redis protocol: when replies leave, in which order, and what limits there are."""

from __future__ import annotations

import errno
import json
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

from cairndb.server.resp_limits import RespLimits
from cairndb.server.running import QUICK_SECONDS
from cairndb.service_access import Grant
from serving_resp import Client, HeldSync, Served, packed
from threads import LIMIT_SECONDS, wait_until

if TYPE_CHECKING:
    from pathlib import Path


def silent(client: Client) -> bool:
    """Whether nothing has come, though the server has carried out all it got."""
    client.socket.setblocking(False)
    try:
        return not client.socket.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    finally:
        client.socket.settimeout(LIMIT_SECONDS)


def test_replies_come_in_the_order_of_commands(tmp_path: Path) -> None:
    """However many are sent at once, and whatever each of them takes."""
    with Served(tmp_path) as served, served.client() as client:
        commands = [packed("FCALL", "add_note", 0, number) for number in range(3000)]
        commands[1000:1000] = [packed("PING", "x"), packed("FCALL", "nothing", 0)]
        sender = threading.Thread(target=client.socket.sendall, args=(b"".join(commands),))
        sender.start()
        replies = [client.read() for _ in commands]
        sender.join()
        assert replies[1000] == "x"
        assert [reply for reply in replies if isinstance(reply, int)] == list(range(1, 3001))
        with served.db.view() as bank:
            assert bank.notes == [str(number) for number in range(3000)]


def test_more_than_may_wait_is_carried_out_in_turns(tmp_path: Path) -> None:
    """Though nothing that would let it go on comes from elsewhere."""
    with Served(tmp_path, limits=RespLimits(pipelined=10)) as served, served.client() as client:
        client.socket.sendall(packed("PING") * 1005)
        assert [client.read() for _ in range(1005)] == ["PONG"] * 1005


def test_what_takes_long_holds_up_its_own_connection_only(tmp_path: Path) -> None:
    """Its next command begins after it, as if it were alone; others are served meanwhile."""
    seconds = str(2 * QUICK_SECONDS)
    with Served(tmp_path) as served, served.client() as slow, served.client() as other:
        slow.ask("FCALL", "wait", 0, seconds)  # from here on it has a thread
        slow.socket.sendall(packed("FCALL", "wait", 0, "0.3") + packed("CLIENT", "SETNAME", "x"))
        wait_until(lambda: served.server.connections[1]._at_work)
        assert "name=x" not in other.ask("CLIENT", "LIST")
        assert [slow.read(), slow.read()] == ["0.3", "OK"]
        assert "name=x" in other.ask("CLIENT", "LIST")


def test_a_reply_leaves_when_what_it_shows_is_on_disk() -> None:
    """An update's, that of a query that has seen it, and whatever comes after these."""
    with (
        HeldSync() as served,
        served.client() as writer,
        served.client() as reader,
    ):
        assert [writer.ask("PING"), reader.ask("PING")] == ["PONG", "PONG"]
        served.hold()
        writer.send("FCALL", "add_note", 0, "x")
        assert served.entered.wait(LIMIT_SECONDS)
        reader.socket.sendall(packed("CAIRN.GET", "/notes") + packed("PING"))
        wait_until(lambda: len(served.server.connections[2]._slots) == 2)
        assert silent(writer)
        assert silent(reader)
        served.go_on.set()
        assert writer.read() == 1
        assert [reader.read(), reader.read()] == ['["x"]', "PONG"]


def test_one_sync_serves_all_that_wait() -> None:
    """What comes while one is under way shares the next."""
    with HeldSync() as served:
        clients = [served.client() for _ in range(20)]
        for client in clients:
            client.ask("PING")
        served.hold()
        clients[0].send("FCALL", "add_note", 0, "x")
        assert served.entered.wait(LIMIT_SECONDS)
        for client in clients[1:]:
            client.send("FCALL", "add_note", 0, "x")
        wait_until(lambda: sum(len(c._slots) for c in served.server.connections.values()) == 20)
        served.go_on.set()
        assert sorted(client.read() for client in clients) == list(range(1, 21))
        assert served.syncs == 2
        for client in clients:
            client.socket.close()


def test_when_the_disk_fails_the_outcome_is_unknown() -> None:
    """Who waits is told that, and what comes later that the database has failed."""
    with HeldSync() as served, served.client() as client:
        client.ask("PING")
        served.hold()
        client.socket.sendall(packed("FCALL", "add_note", 0, "x") + packed("PING"))
        assert served.entered.wait(LIMIT_SECONDS)
        served.world.faults = {len(served.world.calls) + 1: errno.EIO}
        served.go_on.set()
        assert str(client.read()).startswith("OUTCOMEUNKNOWN ")
        assert client.read() == "PONG"
        assert client.refused("FCALL", "add_note", 0, "x").startswith("FAILED ")
        assert client.refused("FCALL", "total", 0).startswith("FAILED ")


def test_who_sends_its_end_still_gets_its_replies() -> None:
    """A half-closed connection is closed when the last reply has left."""
    with HeldSync() as served, served.client() as client:
        client.ask("PING")
        served.hold()
        client.send("FCALL", "add_note", 0, "x")
        client.send("PING")
        client.socket.shutdown(socket.SHUT_WR)
        assert served.entered.wait(LIMIT_SECONDS)
        served.go_on.set()
        assert client.rest() == b":1\r\n+PONG\r\n"


def test_what_a_vanished_client_asked_for_is_done(tmp_path: Path) -> None:
    """And nothing is left of it."""
    reset = struct.pack("ii", 1, 0)
    with Served(tmp_path) as served:
        for number in range(20):
            with served.client() as client:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                client.ask("CLIENT", "ID")
                client.send("FCALL", "add_note", 0, number)
                if number % 2:
                    client.socket.sendall(b"*3\r\n$5\r\nFCA")
        wait_until(lambda: not served.server.connections)
        with served.db.view() as bank:
            # Bytes that a reset overtakes are lost with it: those weren't asked for.
            assert set(bank.notes) <= {str(number) for number in range(20)}
        with served.client() as client:
            assert client.ask("PING") == "PONG"


def test_a_client_that_reads_nothing_costs_little(tmp_path: Path) -> None:
    """It isn't read from, then closed; the server keeps no more than it may."""
    limits = RespLimits(output_bytes=1 << 16, stuck_seconds=0.5, pipelined=100)
    with Served(tmp_path, limits=limits) as served, served.client() as client:
        assert client.ask("CAIRN.SET", "/notes", json.dumps(["x" * 10_000])) == "OK"
        client.socket.settimeout(0.2)
        try:
            while True:
                client.socket.sendall(packed("CAIRN.GET", "/notes") * 1000)
        except (TimeoutError, ConnectionError):
            pass
        (connection,) = served.server.connections.values()
        assert connection.output_bytes < (1 << 20)
        wait_until(lambda: not served.server.connections)


def test_a_connection_that_says_nothing_is_closed(tmp_path: Path) -> None:
    """After a while, if that is set; one that watches isn't."""
    limits = RespLimits(idle_seconds=0.1)
    with Served(tmp_path, limits=limits) as served, served.client() as watching:
        watching.ask("HELLO", 3)
        assert watching.ask("CAIRN.WATCH", "/notes") == "OK"
        with served.client() as idle:
            idle.ask("PING")
            assert idle.rest() == b""
        assert watching.ask("PING") == "PONG"


def test_somebody_who_stays_unknown_is_closed(tmp_path: Path) -> None:
    """Where tokens are needed, and none is said in time."""
    limits = RespLimits(greeting_seconds=0.1)
    options: dict[str, Any] = {"limits": limits, "authenticate": {"x": Grant("x")}.get}
    with Served(tmp_path, **options) as served, served.client() as known, served.client() as other:
        assert known.ask("AUTH", "x") == "OK"
        other.socket.sendall(b"*2\r\n$4\r\nAU")
        assert other.rest() == b""
        assert known.ask("PING") == "PONG"


def test_there_is_an_end_to_connections(tmp_path: Path) -> None:
    """One too many is told so, and closed; the others go on."""
    with Served(tmp_path, limits=RespLimits(connections=1)) as served, served.client() as first:
        first.ask("PING")
        with served.client() as second:
            assert second.rest() == b"-ERR max number of clients reached\r\n"
        assert first.ask("PING") == "PONG"


def test_a_reply_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    """The connection goes on."""
    limits = RespLimits(reply_bytes=200)
    with Served(tmp_path, limits=limits) as served, served.client() as client:
        client.ask("CAIRN.SET", "/notes", json.dumps(["x" * 300]))
        assert "the reply would have 312 bytes" in client.refused("CAIRN.GET", "/notes")
        assert client.ask("PING") == "PONG"


def test_the_end_of_the_server_is_orderly() -> None:
    """Replies that wait leave first; nothing more is carried out; watches end."""
    with HeldSync() as served, served.client() as client, served.client() as watching:
        client.ask("PING")
        watching.ask("HELLO", 3)
        assert watching.ask("CAIRN.WATCH", "/notes") == "OK"
        served.hold()
        client.send("FCALL", "add_note", 0, "x")
        assert served.entered.wait(LIMIT_SECONDS)
        served.call(served.server.stop)
        client.send("FCALL", "add_note", 0, "y")
        assert watching.rest() == b""
        served.go_on.set()
        assert client.rest() == b":1\r\n"
        with served.client() as late:
            assert late.rest().startswith(b"-ERR max number")
        with served.db.view() as bank:
            assert bank.notes == ["x"]


def test_changes_are_told_beside_replies(tmp_path: Path) -> None:
    """By CAIRN.WATCH in version 3, from a position on that an earlier message had."""
    with Served(tmp_path) as served, served.client() as client:
        client.ask("HELLO", 3)
        assert client.ask("CAIRN.WATCH", "/notes/*", "initial") == "OK"
        told, pattern, first, item = client.read()
        assert (told, pattern, json.loads(item)["changes"]) == ("cairn.watch", "/notes/*", [])
        assert client.ask("FCALL", "add_note", 0, "x") == 1
        _, _, second, item = client.read()
        assert json.loads(item)["changes"] == [{"path": "/notes/0", "after": "x"}]
        assert client.ask("CAIRN.UNWATCH") == 1
        assert client.ask("CAIRN.UNWATCH", "/notes/*") == 0
        assert client.ask("FCALL", "add_note", 0, "y") == 2
        assert client.ask("CAIRN.WATCH", "/notes/*", first) == "OK"
        assert client.read()[2] == second
        assert json.loads(client.read()[3])["changes"] == [{"path": "/notes/1", "after": "y"}]
        assert "isn't a position" in client.refused("CAIRN.WATCH", "/notes/*", "x")
        assert client.refused("CAIRN.WATCH", "/notes/*", "1-00000000").startswith(
            "UNKNOWNPOSITION "
        )
        assert client.refused("CAIRN.WATCH", "/nothing").startswith("ERR ")


def test_changes_are_messages_of_pub_sub(tmp_path: Path) -> None:
    """For clients of version 2, and others that know nothing of ours."""
    with Served(tmp_path) as served, served.client() as client, served.client() as other:
        assert client.ask("SUBSCRIBE", "/notes/*", "/accounts/bob/balance") == [
            "subscribe",
            "/notes/*",
            1,
        ]
        assert client.read() == ["subscribe", "/accounts/bob/balance", 2]
        assert client.ask("PSUBSCRIBE", "/notes") == ["psubscribe", "/notes", 3]
        assert client.ask("PING") == ["pong", ""]
        assert other.ask("FCALL", "transfer", 0, "alice", "bob", 5) == 95
        kind, channel, item = client.read()
        assert (kind, channel) == ("message", "/accounts/bob/balance")
        assert json.loads(item)["changes"][0]["after"] == 5
        assert client.ask("UNSUBSCRIBE", "/notes/*") == ["unsubscribe", "/notes/*", 2]
        assert client.ask("UNSUBSCRIBE") == ["unsubscribe", "/accounts/bob/balance", 1]
        assert client.ask("UNSUBSCRIBE") == ["unsubscribe", None, 1]
        assert client.ask("PUNSUBSCRIBE") == ["punsubscribe", "/notes", 0]
        assert client.ask("PING") == "PONG"


def test_there_is_an_end_to_watches(tmp_path: Path) -> None:
    """One too many is refused, and there is room again when one has ended."""
    with Served(tmp_path, limits=RespLimits(watches=1)) as served, served.client() as client:
        client.ask("HELLO", 3)
        assert client.ask("CAIRN.WATCH", "/notes") == "OK"
        assert "already" in client.refused("CAIRN.WATCH", "/holidays")
        assert client.ask("CAIRN.UNWATCH") == 1
        wait_until(lambda: served.server.streams == 0)
        assert client.ask("CAIRN.WATCH", "/holidays") == "OK"
