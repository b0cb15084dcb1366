"""TLS, Unix sockets and tokens of a daemon, and that it reads its files again when told to."""

from __future__ import annotations

import http.client
import signal
import socket
import ssl
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trustme

from cairndb.errors import UsageError
from cairndb.server.encryption import Encryption
from cairndb.server.tokens import new_token, remove_token
from daemons import SECONDS, Daemon, Refused, Resp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Served(NamedTuple):
    """A daemon with all of these."""

    daemon: Daemon
    folder: Path
    authority: trustme.CA
    tokens: dict[str, str]
    """By their names."""

    @property
    def path(self) -> str:
        """Of the file of tokens."""
        return str(self.folder / "tokens.json")

    def client(self) -> ssl.SSLContext:
        """What a client trusts."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def resp(self, context: ssl.SSLContext | None = None) -> Resp:
        """A connection by TLS."""
        made = context or self.client()
        port = self.daemon.port("resp")
        return Resp(port, lambda plain: made.wrap_socket(plain, server_hostname="localhost"))

    def http(self, path: str, method: str = "GET", token: str = "") -> int:
        """The status of a request by TLS."""
        asking = http.client.HTTPSConnection(
            "localhost", self.daemon.port("http"), timeout=SECONDS, context=self.client()
        )
        with closing(asking):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            asking.request(method, path, headers=headers)
            return asking.getresponse().status

    def reload(self, event: str, count: int) -> None:
        """Have the daemon read its files again, and return when it says how that went."""
        self.daemon.signal(signal.SIGHUP)
        self.daemon.wait_for(event, count)


def certify(folder: Path, authority: trustme.CA) -> str:
    """A new certificate of this machine, in the file that has it; returns its serial number."""
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "certificate.pem")
    plain = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
    return plain.hex()


@pytest.fixture(name="served", scope="module")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    authority = trustme.CA()
    certify(folder, authority)
    path = folder / "tokens.json"
    tokens = {
        "reader": new_token(str(path), "reader", (), admin=False),
        "counter": new_token(str(path), "counter", ("count",), admin=False),
        "admin": new_token(str(path), "admin", (), admin=True),
    }
    with Daemon(
        folder / "bank.cairn",
        f"--tokens={path}",
        f"--tls-certificate={folder}/certificate.pem",
        f"--resp-unix={folder}/resp.sock",
        f"--http-unix={folder}/http.sock",
        root="patient:Patient",
    ) as daemon:
        yield Served(daemon, folder, authority, tokens)


@pytest.mark.process
def test_by_resp_a_token_may_what_it_may(served: Served) -> None:
    """Nobody may do anything; a reader reads; who may count counts; wrong tokens are told."""
    with served.resp() as resp:
        with pytest.raises(Refused, match=r"^NOAUTH"):
            resp.run("total")
        with pytest.raises(Refused, match=r"^WRONGPASS"):
            resp("AUTH", "wrong")
        assert resp("AUTH", served.tokens["reader"]) == "OK"
        total = resp.run("total")
        with pytest.raises(Refused, match=r"^NOPERM"):
            resp.run("count", "a")
        assert resp("AUTH", served.tokens["counter"]) == "OK"
        resp.run("count", "a")
        assert resp.run("total") == total + 1


@pytest.mark.process
def test_by_http_a_token_may_what_it_may(served: Served) -> None:
    """The same by HTTPS; looking into the server from this machine needs none."""
    tokens = served.tokens

    assert served.http("/run/total", "POST") == 401
    assert served.http("/run/total", "POST", "wrong") == 401
    assert served.http("/run/total", "POST", tokens["reader"]) == 200
    assert served.http("/run/count", "POST", tokens["reader"]) == 403
    assert served.http("/metrics", token=tokens["reader"]) == 200
    assert served.http("/healthz") == 200


@pytest.mark.process
def test_by_a_unix_socket_the_own_user_needs_no_token(served: Served) -> None:
    """By both protocols, and without TLS; a token that is given counts instead."""
    with Resp(str(served.folder / "resp.sock")) as resp:
        assert isinstance(resp.run("total"), int)
    for token, status in (("", 200), (served.tokens["reader"], 403)):
        with socket.socket(socket.AF_UNIX) as plain:
            plain.settimeout(SECONDS)
            plain.connect(str(served.folder / "http.sock"))
            header = f"Authorization: Bearer {token}\r\n" if token else ""
            plain.sendall(
                f"POST /run/count HTTP/1.1\r\nHost: localhost\r\n{header}"
                'Content-Type: application/json\r\nContent-Length: 5\r\n\r\n["u"]'.encode()
            )
            assert plain.recv(1 << 16).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.process
def test_plain_or_old_connections_are_not_let_in(served: Served) -> None:
    """Where TLS is asked for there is nothing else, and nothing before version 1.2."""
    with Resp(served.daemon.port("resp")) as plain, pytest.raises((ConnectionError, ValueError)):
        plain.run("total")
    old = served.client()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        served.resp(old)


@pytest.mark.process
def test_certificates_are_read_again(served: Served) -> None:
    """On SIGHUP new connections get the new one, old ones go on; a broken file changes nothing."""
    daemon = served.daemon

    def shown(resp: Resp) -> str:
        assert isinstance(resp.socket, ssl.SSLSocket)
        certificate = resp.socket.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate.hex()

    with served.resp() as old:
        new = certify(served.folder, served.authority)
        count = len(daemon.events("reloaded"))
        served.reload("reloaded", count + 2)  # the tokens too
        with served.resp() as resp:
            assert shown(resp) == new
        assert shown(old) != new
        assert old("AUTH", served.tokens["reader"]) == "OK"

    good = (served.folder / "certificate.pem").read_text()
    (served.folder / "certificate.pem").write_text("nonsense")
    served.reload("not reloaded", 1)
    (served.folder / "certificate.pem").write_text(good)
    with served.resp() as resp:
        assert shown(resp) == new


@pytest.mark.process
def test_tokens_are_read_again(served: Served) -> None:
    """A removed token is nobody's, also on a connection it opened; a new one is known."""
    daemon = served.daemon
    name = "temporary"
    token = new_token(served.path, name, (), admin=False)
    served.reload("reloaded", len(daemon.events("reloaded")) + 2)
    with served.resp() as resp:
        assert resp("AUTH", token) == "OK"
        assert isinstance(resp.run("total"), int)
        remove_token(served.path, name)
        served.reload("reloaded", len(daemon.events("reloaded")) + 2)

        with pytest.raises(Refused, match=r"^NOAUTH"):
            resp.run("total")
        with pytest.raises(Refused, match=r"^WRONGPASS"):
            resp("AUTH", token)


@pytest.mark.process
def test_what_a_removed_token_watches_ends(served: Served) -> None:
    """Nothing more is sent to who isn't allowed anything any more, by either protocol."""
    token = new_token(served.path, "passing", (), admin=False)
    served.reload("reloaded", len(served.daemon.events("reloaded")) + 2)
    asking = http.client.HTTPSConnection(
        "localhost", served.daemon.port("http"), timeout=SECONDS, context=served.client()
    )
    with served.resp() as resp, served.resp() as idle, closing(asking):
        assert resp("AUTH", token) == idle("AUTH", token) == "OK"
        assert resp("SUBSCRIBE", "/**")[0] == b"subscribe"
        asking.request("GET", "/watch/**", headers={"Authorization": f"Bearer {token}"})
        answer = asking.getresponse()
        assert answer.readline().startswith(b"retry: ")
        remove_token(served.path, "passing")
        served.reload("reloaded", len(served.daemon.events("reloaded")) + 2)

        with pytest.raises((ConnectionError, ssl.SSLError)):
            resp.receive()
        assert b"data:" not in answer.read()
        with pytest.raises(Refused, match=r"^NOAUTH"):
            idle.run("total")


@pytest.fixture(name="authority", scope="module")
def _authority() -> trustme.CA:
    return trustme.CA()


def test_clients_can_be_asked_for_certificates(tmp_path: Path, authority: trustme.CA) -> None:
    """With authorities, who has no certificate of theirs isn't let in."""
    certify(tmp_path, authority)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    pem = str(tmp_path / "certificate.pem")
    encryption = Encryption(pem, authorities=str(tmp_path / "authority.pem"))
    client = ssl.create_default_context()
    authority.configure_trust(client)

    assert encryption.context("http").minimum_version == ssl.TLSVersion.TLSv1_2
    assert not _shakes_hands(encryption.context("resp"), client)
    authority.issue_cert("client").configure_cert(client)
    assert _shakes_hands(encryption.context("resp"), client)


def _shakes_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    """Whether two sides find together, in memory."""
    wires = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        server.wrap_bio(wires[0], wires[1], server_side=True),
        client.wrap_bio(wires[1], wires[0], server_hostname="localhost"),
    ]
    done = [False, False]
    for _ in range(20):
        for number, side in enumerate(sides):
            try:
                side.do_handshake()
                done[number] = True
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return all(done)


@pytest.mark.parametrize("kind", ["nowhere", "nonsense", "without key", "of another", "encrypted"])
def test_files_that_are_no_certificates_are_refused(
    kind: str, tmp_path: Path, authority: trustme.CA
) -> None:
    """With the flags and what is wrong; a password is never asked for."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    issued, other = (authority.issue_cert("localhost") for _ in range(2))
    issued.cert_chain_pems[0].write_to_path(certificate)
    other.private_key_pem.write_to_path(key)
    if kind == "nonsense":
        key.write_text("nonsense")
    if kind == "encrypted":
        key.write_text(ENCRYPTED)
    paths = {"nowhere": (tmp_path / "nowhere", ""), "without key": (certificate, "")}

    with pytest.raises(UsageError, match=r"--tls-certificate .*--tls-key") as refused:
        Encryption(*map(str, paths.get(kind, (certificate, key))))

    assert kind != "encrypted" or "without a password" in str(refused.value)


def _encrypted() -> str:
    """A key that has a password."""
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415  trustme's
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            forms.Encoding.PEM,
            forms.PrivateFormat.PKCS8,
            forms.BestAvailableEncryption(b"secret"),
        )
        .decode()
    )


ENCRYPTED = _encrypted()
