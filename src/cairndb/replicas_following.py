"""The thread that keeps a copy up: it connects, takes what comes, and connects again.

Rules:

1. Where the stream breaks off, for whatever reason, it is begun anew at the position that the copy
   has; only where that can't be gone on from, with a checkpoint.
2. An owner that says nothing for some seconds is gone, whatever the network thinks.
3. It never gives up, but on a copy that is dead: an owner may come back, another one may have types
   that can be followed again, a token may be made good. What is in the way is said in `problem`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from cairndb.cancellation import CancelToken
from cairndb.client_connection import Lost, Refused
from cairndb.client_waiting import OutOfTime, Pauses, Wait
from cairndb.errors import CairnError, Cancelled, Unavailable, UsageError
from cairndb.flusher import Background
from cairndb.replicas_engine import StreamError
from cairndb.service_access import Forbidden, Unauthenticated
from cairndb.watch_items import position_text
from cairndb.wire import TAIL
from cairndb.wire_tail import (
    HEARTBEAT_SECONDS,
    Begin,
    Entries,
    Heartbeat,
    Loaded,
    Piece,
    decode_item,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.client_connection import Connection
    from cairndb.replicas_engine import Copy
    from cairndb.wire_tail import Item

logger = logging.getLogger("cairndb")

SILENCE_SECONDS: Final = 5 * HEARTBEAT_SECONDS
"""After which an owner is gone that hasn't said anything."""
CONNECT_SECONDS: Final = 10.0
REFUSED_SECONDS: Final = 10.0
"""Between tries, where trying alone doesn't help."""

_CODES: Final[dict[str, type[CairnError]]] = {
    "NOAUTH": Unauthenticated,
    "NOPERM": Forbidden,
    "WRONGPASS": Unauthenticated,
}
_NOT_NOW: Final = frozenset({"BUSY", "FAILED", "LOADING", "TRYAGAIN"})
_TOO_MANY: Final = "max number of clients"  # as Redis says it, after ERR


def _is_not_now(refused: Refused) -> bool:
    return refused.code in _NOT_NOW or refused.message.startswith(_TOO_MANY)


class Following:
    """Keeps a copy up.

    Args:
        copy: what the stream is for.
        dial: connects to the owner.
        progress: told how much of a checkpoint has come, and how much there is of it.
        silence_seconds: see `SILENCE_SECONDS`.
        pauses: between tries.

    Attributes:
        problem: why nothing comes at the moment; None while something does.
        is_final: whether somebody has to do something about that.
        connections: how many there have been.
    """

    def __init__(
        self,
        copy: Copy,
        dial: Callable[[Wait], Connection],
        progress: Callable[[int, int], None] | None,
        *,
        silence_seconds: float = SILENCE_SECONDS,
        pauses: Callable[[], Pauses] = Pauses,
    ) -> None:
        # Set once:
        self._copy = copy
        self._dial = dial
        self._progress = progress
        self._silence_seconds = silence_seconds
        self._make_pauses = pauses
        self._stopping = CancelToken()
        self._background = Background("cairndb replica", self._work)
        # Written by the thread:
        self.problem: CairnError | None = None
        self.is_final = False
        self.connections = 0
        self._pauses = pauses()
        self._afresh = False
        self._connection: Connection | None = None

    def start(self) -> None:
        """Begin."""
        self._background.poke()

    def stop(self) -> None:
        """End it, and wait for the thread."""
        self._stopping.cancel("the replica is closed")
        self._background.stop()

    def forked(self) -> None:
        """In a forked child, where there is no thread: have no connection of the parent's."""
        if self._connection is not None:
            self._connection.close()

    def _work(self) -> float | None:
        """Follow until that ends; see `Background`."""
        try:
            self._follow()
        except Cancelled:
            return None
        except StreamError as error:
            self._afresh = error.afresh
            return self._failed(Unavailable(f"{self._copy.path}: {error}"))
        except (CairnError, Refused, Lost, OutOfTime, ValueError) as error:
            return self._failed(self._told(error))
        except Exception as error:  # noqa: BLE001  of the caller's function, or a fault of ours
            return self._failed(CairnError(f"{type(error).__name__}: {error}"), error)
        return None

    def _told(self, error: Exception) -> CairnError:
        if isinstance(error, CairnError):
            return error
        if isinstance(error, Refused) and not _is_not_now(error):
            return _CODES.get(error.code, UsageError)(f"{self._copy.path}: {error.message}")
        reason = getattr(error, "message", str(error)).removeprefix(f"{self._copy.path}: ")
        reason = reason or f"nothing came for {self._silence_seconds:g} s"
        return Unavailable(f"{self._copy.path}: {reason}")

    def _failed(self, problem: CairnError, cause: BaseException | None = None) -> float | None:
        """Say what is in the way; seconds until the next try."""
        copy = self._copy
        known = self.problem
        self.is_final = not isinstance(problem, Unavailable)
        self.problem = problem
        copy.arrivals.end()
        if copy.refusal is not None:
            logger.error("%s: this replica follows no more: %s", copy.path, copy.refusal())
            return None
        if known is None or str(known) != str(problem):
            level = logging.ERROR if self.is_final else logging.WARNING
            text = "%s: nothing comes to this replica, which is at LSN %d: %s"
            logger.log(level, text, copy.path, copy.applied_lsn, problem, exc_info=cause)
        return REFUSED_SECONDS if self.is_final else self._pauses.next()

    def _follow(self) -> None:
        connection = self._dial(Wait(CONNECT_SECONDS, self._stopping))
        self._connection = connection
        try:
            connection.ask((TAIL, *self._place()), Wait(CONNECT_SECONDS, self._stopping))
            self.connections += 1
            while True:
                message = connection.message(Wait(self._silence_seconds, self._stopping))
                if len(message) == 2:
                    self._take(decode_item(message[1]))
        finally:
            self._connection = None
            connection.close()
            self._copy.interrupted()

    def _place(self) -> tuple[str, ...]:
        """Where the copy is, as the command takes it."""
        copy = self._copy
        if self._afresh or not copy.ready:
            return ()
        return position_text(copy.position), str(copy.database)

    def _take(self, item: Item) -> None:
        copy = self._copy
        copy.take(item)
        if isinstance(item, Begin):
            self._afresh = False
        if isinstance(item, Entries | Heartbeat | Loaded):
            if self.problem is not None:
                logger.info("%s: this replica follows, at LSN %d", copy.path, copy.applied_lsn)
            self.problem, self.is_final = None, False
            self._pauses = self._make_pauses()
        if self._progress is not None and isinstance(item, Begin | Piece):
            loading = copy.loading
            if loading is not None:
                self._progress(*loading)
