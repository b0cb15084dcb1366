"""The daemon as a process: how it begins, how it ends, and what it says of it."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import cairndb
from daemons import SECONDS, Daemon, Refused, Resp, eventually, refusal
from patient import Patient

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")

PATIENT = "patient:Patient"


def contents(path: Path) -> tuple[dict[str, int], list[str]]:
    """What is in the database by now, as a reader beside its owner sees it."""
    with cairndb.open(path, Patient, read_only=True) as db, db.view() as root:
        return dict(root.counts), list(root.done)


class Waiting:
    """A method that runs in a daemon until `go`.

    Args:
        daemon: which.
        flag: a file that isn't there yet.
    """

    def __init__(self, daemon: Daemon, flag: Path) -> None:
        self.flag = flag
        self.asked = daemon.resp()
        self.asked.send("FCALL", "wait_for_file", "0", str(flag))
        eventually(Path(f"{flag}.begun").exists)

    def go(self) -> None:
        """Let it end."""
        self.flag.touch()


def in_thread(daemon: Daemon, folder: Path) -> None:
    """Have such methods run in threads from now on, as what has taken long does."""
    waiting = Waiting(daemon, folder / "slow")
    time.sleep(0.05)  # what is measured is that it takes so long
    waiting.go()
    assert waiting.asked.receive() == "done"
    waiting.asked.close()


def test_serves_both_protocols_until_told_to_stop(tmp_path: Path) -> None:
    """An update by one protocol is seen by the other, and is there after SIGTERM; it exits by 0."""
    path = tmp_path / "bank.cairn"
    with Daemon(path, "--middleware=patient:polite", root=PATIENT) as daemon:
        with daemon.resp() as resp:
            assert resp.run("count", "a") == 1
            with pytest.raises(Refused, match="say please"):  # by the application's middleware
                resp.run("count", "rude")
        assert daemon.http("/run/total", "POST") == (200, b"1")
        assert daemon.http("/readyz")[0] == 200
        status, figures = daemon.http("/metrics")
        assert status == 200
        for figure in ("cairndb_connections{", "process_resident_memory_bytes", "cairndb_lsn 2"):
            assert figure in figures.decode()
        assert b"MainThread;" in daemon.http("/debug/profile?seconds=0.05")[1]

        assert daemon.stop() == 0

        (stopping,) = daemon.events("stopping")
        assert stopping["why"] == "SIGTERM"
        assert daemon.events("stopped")[0]["lsn"] == 2
        assert all({"time", "level", "logger", "event"} <= set(each) for each in daemon.events())
    assert contents(path) == ({"a": 1}, [])


@pytest.mark.parametrize("where", ["in the loop", "in a thread"])
def test_what_has_begun_is_finished(where: str, tmp_path: Path) -> None:
    """SIGTERM during a method: nobody new is let in, the method ends, its reply arrives."""
    path = tmp_path / "bank.cairn"
    with Daemon(path, root=PATIENT) as daemon:
        if where == "in a thread":
            in_thread(daemon, tmp_path)
        port = daemon.port("resp")
        waiting = Waiting(daemon, tmp_path / "flag")
        daemon.signal()
        if where == "in a thread":
            daemon.wait_for("stopping")
            eventually(lambda: _is_refused(port))
        waiting.go()

        assert waiting.asked.receive() == "done"
        assert daemon.ended() == 0
    assert contents(path)[1][-1] == str(waiting.flag)


def test_watches_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """They are ended at once, by both protocols: they would never end by themselves."""
    with (
        Daemon(tmp_path / "bank.cairn", "--drain=1000", root=PATIENT) as daemon,
        socket.create_connection(("127.0.0.1", daemon.port("http")), SECONDS) as watching,
    ):
        watching.sendall(b"GET /watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert watching.recv(100).startswith(b"HTTP/1.1 200")
        resp = daemon.resp()
        resp("HELLO", "3")
        resp("CAIRN.WATCH", "/*")

        assert daemon.stop() == 0
        while watching.recv(1 << 16):
            pass


def _is_refused(port: int) -> bool:
    try:
        Resp(port).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("where", ["in the loop", "in a thread"])
def test_what_does_not_end_is_cut(where: str, tmp_path: Path) -> None:
    """After `--drain` seconds a method is left with the process: its update never was; exit 0."""
    path = tmp_path / "bank.cairn"
    with Daemon(path, "--drain=0.1", root=PATIENT) as daemon:
        if where == "in a thread":
            in_thread(daemon, tmp_path)
        waiting = Waiting(daemon, tmp_path / "flag")
        daemon.signal()

        with pytest.raises(ConnectionError):
            waiting.asked.receive()
        assert daemon.ended() == 0
        stack = str(daemon.events("left with what still runs")[0]["stacks"])
        assert "wait_for_file" in stack
    assert str(waiting.flag) not in contents(path)[1]


def test_logs_that_nobody_reads_do_not_keep_it(tmp_path: Path) -> None:
    """A loop that is stuck in writing them is left as one that is stuck in a method."""
    arguments = ("--drain=0", "--access-log")
    with Daemon(tmp_path / "bank.cairn", *arguments, root=PATIENT, read_log=False) as daemon:
        with daemon.resp() as resp:
            resp.socket.settimeout(1)
            with suppress(TimeoutError):
                while True:  # until the pipe is full
                    resp.run("total")

        assert daemon.stop() == 0


def test_a_reader_that_has_gone_does_not_end_it(tmp_path: Path) -> None:
    """Writing to nobody is an error, of logs as of replies, and not the end of the process."""
    path = tmp_path / "bank.cairn"
    with Daemon(path, "--access-log", root=PATIENT, read_log=False) as daemon:
        assert daemon.process.stderr is not None
        daemon.process.stderr.close()
        with daemon.resp() as resp:
            assert [resp.run("count", "a") for _ in range(3)] == [1, 2, 3]

        assert daemon.stop() == 0


@on_linux
def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """However long the drain may take."""
    with Daemon(tmp_path / "bank.cairn", "--drain=1000", root=PATIENT) as daemon:
        Waiting(daemon, tmp_path / "flag")
        daemon.signal()
        eventually(lambda: "SigCgt" in _status(daemon.process.pid) and not _pending(daemon))
        daemon.signal()

        assert daemon.ended() == -signal.SIGTERM


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def _pending(daemon: Daemon) -> bool:
    """Whether the first signal hasn't been taken yet: two of one kind become one."""
    pending = [line for line in _status(daemon.process.pid).splitlines() if line[3:7] == "Pnd:"]
    return any(int(line.split()[1], 16) for line in pending)


def test_a_slow_update_is_logged_with_its_stack(tmp_path: Path) -> None:
    """What holds the lock for longer than `--method-seconds`, and who waits for it, is told."""
    with Daemon(tmp_path / "bank.cairn", "--method-seconds=0.05", root=PATIENT) as daemon:
        in_thread(daemon, tmp_path)
        before = len(daemon.events("a request takes long"))
        waiting = Waiting(daemon, tmp_path / "flag")
        with daemon.resp() as other:
            other.send("FCALL", "count", "0", "a")
            slow = daemon.wait_for("a request takes long", before + 1)
            waits = daemon.wait_for("a request waits for a lock")
            waiting.go()
            assert other.receive() == 1

        assert slow["target"] == "wait_for_file"
        assert "patient.py" in slow["stack"][-1]
        assert waits["target"] == "count"
        assert b"cairndb_slow_requests_total" in daemon.http("/metrics")[1]


@pytest.fixture(name="short_of_memory", scope="module")
def _short_of_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    path = tmp_path_factory.mktemp("memory") / "bank.cairn"
    with Daemon(path, "--memory-bytes=1", root=PATIENT) as daemon:
        yield daemon


def test_updates_are_refused_while_memory_is_short(short_of_memory: Daemon) -> None:
    """Above the watermark an update is an error by both protocols, and what reads goes on."""
    daemon = short_of_memory
    with daemon.resp() as resp:
        with pytest.raises(Refused, match=r"^OOM .*--memory-bytes.*nothing has happened"):
            resp.run("count", "a")
        assert resp.run("total") == 0
    assert daemon.http("/run/count", "POST")[0] == 507
    assert b"cairndb_memory_refusals_total 2.0" in daemon.http("/metrics")[1]


@on_linux
def test_a_full_disk_refuses_updates_and_reads_go_on(tmp_path: Path) -> None:
    """Without room an update is refused; with room again it works, in the same process."""
    path = tmp_path / "bank.cairn"
    with Daemon(path, root=PATIENT) as daemon, daemon.resp() as resp:
        assert resp.run("count", "a") == 1
        unlimited = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
        most = max(each.stat().st_size for each in [*path.iterdir(), daemon.log]) + 1000
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (most, unlimited[1]))

        with pytest.raises(Refused, match=r"^DISKFULL"):
            resp.run("fill", "x", 8_000_000)
        assert resp.run("total") == 1
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, unlimited)
        assert resp.run("fill", "x", 8_000_000) == 8_000_000
        assert daemon.stop() == 0


@on_linux
def test_a_failed_database_ends_it_for_the_supervisor(tmp_path: Path) -> None:
    """A write that fails: what waited is told that its outcome is unknown, and it exits by 75."""
    path = tmp_path / "bank.cairn"
    with Daemon(path, root="patient:open_patient") as daemon:  # which opens it by itself
        with daemon.resp() as resp:
            assert resp.run("count", "a") == 1
            with suppress(Refused, ConnectionError):
                resp.run("sabotage")
                resp.run("count", "a")

        assert daemon.ended() == 75
        assert "failed" in daemon.events("the database has failed")[0]["error"]
    with Daemon(path, root=PATIENT) as again, again.resp() as resp:
        assert resp.run("count", "a") == 2


def test_killed_under_load_it_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """SIGKILL while connections update: what was answered is there, and not twice."""
    path = tmp_path / "bank.cairn"
    answered = [0] * 4
    with Daemon(path, root=PATIENT) as daemon:

        def work(number: int) -> None:
            with daemon.resp() as resp, suppress(ConnectionError):
                while True:
                    answered[number] = resp.run("count", str(number))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: min(answered) >= 20)
        daemon.signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
    with Daemon(path, root=PATIENT) as again, again.resp() as resp:
        for number, count in enumerate(answered):
            assert resp.run("count", number) - 1 in {count, count + 1}


def test_a_database_that_is_owned_is_told(tmp_path: Path) -> None:
    """One line says by whom, and the exit code that the database can't be had."""
    path = tmp_path / "bank.cairn"
    with cairndb.open(path, Patient):
        line = refusal(path, code=3, root=PATIENT)

    assert f"process {os.getpid()}" in line


def test_systemd_hands_over_sockets_and_is_told(tmp_path: Path) -> None:
    """Sockets that were inherited are served instead of the defaults; systemd hears how it is."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing,
    ):
        hearing.bind(str(tmp_path / "notify"))
        hearing.settimeout(30)
        environment = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "100000",
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": "cairn-resp",
        }
        with Daemon(
            tmp_path / "bank.cairn",
            addresses=(),
            root=PATIENT,
            environment=environment,
            before=("sh", "-c", 'export LISTEN_PID=$$; exec "$@"', "sh"),
            close_fds=False,
            preexec_fn=lambda: os.dup2(listening.fileno(), 3),
        ) as daemon:
            port = listening.getsockname()[1]
            listening.close()
            assert [each["protocol"] for each in daemon.events("listening")] == ["resp"]
            with Resp(port) as resp:
                assert resp.run("count", "a") == 1
            told = [hearing.recv(4096).decode() for _ in range(3)]
            assert "READY=1\nSTATUS=serves" in told[0]
            assert told[1:] == ["WATCHDOG=1"] * 2
            assert daemon.stop() == 0
            while "WATCHDOG=1" in told[-1]:
                told.append(hearing.recv(4096).decode())
            assert told[-1].startswith("STOPPING=1")
