"""Where a daemon listens: addresses that can't be had, sockets of others, and who may connect."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairndb.errors import CairnError, UsageError
from cairndb.server import listeners
from cairndb.server.addresses import Address, parse_address
from cairndb.server.listeners import Listener, check_exposure, open_listeners
from cairndb.server.peers import grant_of_peer, peer_of
from cairndb.server.settings import load

if TYPE_CHECKING:
    from collections.abc import Iterator

OFF = ("--resp=off", "--http=off")


@pytest.fixture(name="stack")
def _stack() -> Iterator[ExitStack]:
    """Closes what a test opens."""
    with ExitStack() as stack:
        yield stack


def opened(stack: ExitStack, *arguments: str) -> list[Listener]:
    """The listeners of a command line."""
    found = open_listeners(load([*OFF, *arguments]), {})
    for each in found:
        stack.callback(each.close)
    return found


@given(st.integers(0, 65535), st.sampled_from(["127.0.0.1", "localhost", "::1", "fe80::1%eth0"]))
def test_an_address_is_what_it_says(port: int, host: str) -> None:
    """Host and port come back; an IPv6 address is in brackets."""
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    assert parse_address(shown) == Address(host, port)


@given(st.text("off:[].0123456789", max_size=24))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """Nothing but ValueError, and what is taken has a host and a port."""
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert (address is None) == (text in {"", "off"})
    assert address is None or (address.host and 0 <= address.port < 65536)


def test_the_system_chooses_a_port(stack: ExitStack) -> None:
    """Port 0 is any that is free, the same for all addresses of a name."""
    found = opened(stack, "--http=localhost:0")

    assert {each.where.rpartition(":")[2] for each in found} != {"0"}
    assert len({each.where.rpartition(":")[2] for each in found}) == 1


def test_an_occupied_port_is_told(stack: ExitStack) -> None:
    """The refusal says which flag, and what to do; what was opened before is closed again."""
    (taken,) = opened(stack, "--http=127.0.0.1:0")

    with pytest.raises(CairnError, match=r"--resp 127.*: another process listens there: end it"):
        opened(stack, f"--resp={taken.where}")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.EACCES, "Ports below 1024 need the capability CAP_NET_BIND_SERVICE"),
        (errno.EADDRNOTAVAIL, "this machine has no such address"),
        (errno.ENOBUFS, "No buffer space"),
    ],
)
def test_why_an_address_cannot_be_had_is_told(code: int, expected: str) -> None:
    """Each kind of refusal of the system says what to do."""
    assert expected in listeners._why(OSError(code, os.strerror(code)), "--http")


def test_who_is_gone_without_a_word_is_found(stack: ExitStack) -> None:
    """The system asks silent connections whether anybody is there."""
    (listener,) = opened(stack, "--http=127.0.0.1:0")
    address = listener.socket.getsockname()
    stack.enter_context(closing(socket.create_connection(address)))
    accepted = stack.enter_context(closing(listener.socket.accept()[0]))

    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
    if hasattr(socket, "TCP_KEEPIDLE"):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_an_address_of_another_machine_is_told(stack: ExitStack) -> None:
    """As the system says it: 192.0.2.1 is for documentation, and no machine's."""
    with pytest.raises(CairnError, match=r"192\.0\.2\.1:0: this machine has no such address"):
        opened(stack, "--http=192.0.2.1:0")


def test_nothing_to_listen_at_is_told() -> None:
    """A daemon that nobody can reach is a mistake."""
    with pytest.raises(UsageError, match="every address is off"):
        open_listeners(load(OFF), {})


def test_a_unix_socket_is_for_its_own_user(stack: ExitStack, tmp_path: Path) -> None:
    """Its permissions are 0600, or as asked for; it is removed when it is closed."""
    paths = [tmp_path / name for name in ("resp", "http")]
    found = opened(stack, f"--resp-unix={paths[0]}")
    found += opened(stack, f"--http-unix={paths[1]}", "--unix-mode=0660")

    modes = [stat.S_IMODE(path.stat().st_mode) for path in paths]
    for each in found:
        each.close()

    assert modes == [0o600, 0o660]
    assert not any(path.exists() for path in paths)


def test_a_dead_processs_socket_is_replaced(stack: ExitStack, tmp_path: Path) -> None:
    """A file that nobody listens at is what a killed process has left."""
    path = tmp_path / "resp"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()

    (listener,) = opened(stack, f"--resp-unix={path}")

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert listener.is_unix


def test_a_live_processs_socket_is_left_alone(stack: ExitStack, tmp_path: Path) -> None:
    """It is told, also while so many wait to be accepted that nobody else can connect."""
    path = tmp_path / "resp"
    live = stack.enter_context(socket.socket(socket.AF_UNIX))
    live.bind(str(path))
    live.listen(0)
    for expected in range(2):
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
        waiting.setblocking(False)
        waiting.connect_ex(str(path))

        with pytest.raises(CairnError, match="another process listens there"):
            opened(stack, f"--resp-unix={path}")
        assert path.is_socket(), expected


def test_another_file_is_left_alone(stack: ExitStack, tmp_path: Path) -> None:
    """Whatever stands at the path of a socket and isn't one."""
    path = tmp_path / "resp"
    path.write_text("precious")

    with pytest.raises(CairnError, match="a file that isn't a socket; it is left alone"):
        opened(stack, f"--resp-unix={path}")

    assert path.read_text() == "precious"


def test_anothers_socket_is_not_removed(stack: ExitStack, tmp_path: Path) -> None:
    """Whoever has put a socket in its place keeps it."""
    path = tmp_path / "resp"
    (listener,) = opened(stack, f"--resp-unix={path}")
    path.rename(tmp_path / "older")
    with socket.socket(socket.AF_UNIX) as newer:
        newer.bind(str(path))
        listener.close()

        assert path.is_socket()


@pytest.mark.parametrize("path", ["/nowhere/at/all", "x" * 200])
def test_a_path_that_cannot_be_is_told(stack: ExitStack, path: str) -> None:
    """With the flag and the system's reason."""
    with pytest.raises(CairnError, match="--http-unix"):
        opened(stack, f"--http-unix={path}")


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("insecure", [False, True])
@pytest.mark.parametrize("address", ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"])
def test_others_are_let_in_by_tls_and_tokens_only(
    stack: ExitStack,
    address: str,
    insecure: bool,  # noqa: FBT001
    tokens: bool,  # noqa: FBT001
    encrypted: bool,  # noqa: FBT001
) -> None:
    """Beyond this machine nothing listens without both, unless that is said in so many words."""
    found = opened(stack, f"--http={address}")
    allowed = insecure or (encrypted and tokens) or address in {"127.0.0.1:0", "[::1]:0"}
    if allowed:
        check_exposure(found, encrypted=encrypted, tokens=tokens, insecure=insecure)
        return

    with pytest.raises(UsageError, match="--insecure-listen says that everybody may") as error:
        check_exposure(found, encrypted=encrypted, tokens=tokens, insecure=insecure)

    assert ("--tls-certificate" in str(error.value)) is not encrypted
    assert ("--tokens" in str(error.value)) is not tokens


def test_a_unix_socket_for_others_needs_tokens(stack: ExitStack, tmp_path: Path) -> None:
    """Who may connect would else do everything."""
    open_to_all = opened(stack, f"--http-unix={tmp_path}/all", "--unix-mode=0666")
    own = opened(stack, f"--http-unix={tmp_path}/own")

    check_exposure(own, encrypted=False, tokens=False, insecure=False)
    check_exposure(open_to_all, encrypted=False, tokens=True, insecure=False)
    with pytest.raises(UsageError, match="by other users of this machine"):
        check_exposure(open_to_all, encrypted=False, tokens=False, insecure=False)


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({}, 0),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "resp"}, 0),  # somebody else's
        ({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}, -1),  # no name
        ({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "ftp"}, -1),
        ({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "http"}, 1),
    ],
)
def test_what_is_handed_over_is_served_by_its_name(
    environment: dict[str, str],
    count: int,
    stack: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A socket is for the protocol that its name says; the variables are taken away."""
    (given_socket,) = opened(stack, "--http=127.0.0.1:0")
    number = os.dup(given_socket.socket.fileno())
    os.set_inheritable(number, True)
    monkeypatch.setattr(listeners, "FIRST_INHERITED", number)
    loaded = load([])
    try:
        if count < 0:
            with pytest.raises(UsageError, match="FileDescriptorName=resp or"):
                open_listeners(loaded, environment)
        else:
            found = list(listeners.inherited(environment))
            assert [each.protocol for each in found] == ["http"] * count
            assert not any(each.socket.get_inheritable() for each in found)
            for each in found:
                each.close()
        assert environment == {}
    finally:
        if count == 0:
            os.close(number)


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="the system doesn't say who")
def test_the_own_user_needs_no_token() -> None:
    """Who has the daemon's own user is known by the system's word."""
    one, other = socket.socketpair()
    with one, other:
        peer = peer_of(one)
        assert peer is not None
        assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
        grant = grant_of_peer(one)
        assert grant is not None
        assert grant.admin
    with closing(socket.create_server(("127.0.0.1", 0))) as tcp:
        assert grant_of_peer(tcp) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="the system doesn't say who")
def test_another_user_needs_a_token() -> None:
    """Whoever else may connect is nobody, as over TCP."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        Path(folder).chmod(0o755)
        path = f"{folder}/resp"
        (listener,) = opened(stack, f"--resp-unix={path}", "--unix-mode=0666")
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        os.seteuid(65534)
        try:
            client.connect(path)
        finally:
            os.seteuid(0)
        accepted = stack.enter_context(listener.socket.accept()[0])

        assert peer_of(accepted) is not None
        assert grant_of_peer(accepted) is None
