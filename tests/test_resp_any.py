"""Any bytes to a connection of the Redis protocol, without a network: the same replies always."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import hiredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairndb.server.resp import RespServer
from cairndb.server.resp_limits import RespLimits
from cairndb.server.running import Promises, Runner
from cairndb.service import Service
from serving import Bank, opened
from serving_resp import Memory, packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

COMMANDS = st.one_of(
    st.lists(st.binary(max_size=8), min_size=1, max_size=4).map(lambda words: packed(*words)),
    st.sampled_from(
        [
            packed("PING"),
            packed("ECHO", b"\r\n"),
            packed("HELLO", 3),
            packed("HELLO", 2),
            packed("FCALL", "total", 0),
            packed("FCALL_RO", "holders", 0, "Bob"),
            packed("FCALL", "nothing", 0, b"\xff"),
            packed("CAIRN.GET", "/accounts/bob"),
            packed("CAIRN.RUN", "total", b"\xc1"),
            packed("CLIENT", "SETNAME", "x"),
            packed("COMMAND", "DOCS"),
            packed("RESET"),
            packed("QUIT"),
            b"PING\r\n",
        ]
    ),
    st.binary(max_size=8),
)
STREAMS = st.lists(COMMANDS, max_size=8).map(b"".join)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RespServer]:
    """A server that listens nowhere; what it is asked to do later isn't done."""
    path: Path = tmp_path_factory.mktemp("any")
    loop = asyncio.new_event_loop()
    with opened(path) as db:
        service = Service(db, Bank)
        runner, promises = Runner(service.handle, loop), Promises(service.engine, loop)
        limits = RespLimits(request_bytes=1000, arguments=20, idle_seconds=0.0)
        yield RespServer(service, runner, promises, loop, limits=limits)
        runner.close()
    loop.close()


def replies(server: RespServer, pieces: Iterable[bytes]) -> bytes:
    """All that a connection says to a stream in pieces."""
    connection, transport = server.connection(), Memory()
    connection.number = 1  # which HELLO tells
    connection.connection_made(cast("Any", transport))
    for piece in pieces:
        if transport.is_reading and not transport.is_closed:
            connection.data_received(piece)
    connection.connection_lost(None)
    return bytes(transport.written)


@given(STREAMS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_have_the_same_replies(server: RespServer, stream: bytes) -> None:
    """Whole or byte by byte: replies that a client can read, and no exception."""
    whole = replies(server, [stream])
    assert replies(server, (stream[at : at + 1] for at in range(len(stream)))) == whole
    reader = hiredis.Reader()
    reader.feed(whole)
    while reader.gets() is not False:
        pass
    assert not reader.has_data()
    assert not server.connections
