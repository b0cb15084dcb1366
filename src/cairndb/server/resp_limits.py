"""What a connection that speaks the Redis protocol may take up."""

from __future__ import annotations

from msgspec import Struct


class RespLimits(Struct, frozen=True, kw_only=True):
    """Limits of each connection, and of their number; a time of 0 never ends.

    Args:
        connections: at once; whoever comes then is told, and closed.
        request_bytes: of all arguments of a command.
        arguments: of a command, its name included; at most 9,999.
        pipelined: commands whose replies wait, for the disk or for a method; as many are carried
            out before others have their turn.
        reply_bytes: of one reply; a longer one is replaced by an error.
        output_bytes: of replies that wait to be sent; while there is more, nothing is carried out.
        idle_seconds: without a word from a connection that watches nothing; then it is closed.
        greeting_seconds: until somebody has to be known, where tokens are needed.
        watches: of all connections; each takes a thread.
        stuck_seconds: for which a reader may take nothing of what it was sent; then it is closed.
    """

    connections: int = 10_000
    request_bytes: int = 1 << 24
    arguments: int = 1024
    pipelined: int = 1000
    reply_bytes: int = 1 << 26
    output_bytes: int = 1 << 25
    idle_seconds: float = 0.0
    greeting_seconds: float = 10.0
    stuck_seconds: float = 60.0
    watches: int = 1000

    def __post_init__(self) -> None:
        if not 10 <= self.arguments <= 9_999:
            raise ValueError("arguments: from 10 to 9,999")
        if self.pipelined < 1 or self.connections < 1:
            raise ValueError("pipelined, connections: at least 1")
