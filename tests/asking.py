"""A database that counts what it is asked for, and clients that ask again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

import cairndb
from cairndb.requests import RequestId
from cairndb.service import Request
from cairndb.service_access import EVERYTHING
from serving import value

if TYPE_CHECKING:
    from cairndb.service import Service


class StrangeError(Exception):
    """Can't be made of its own arguments."""

    def __init__(self, total: int, text: str) -> None:
        super().__init__(f"{total}{text}")


class Counter(cairndb.Record):
    """What shows how often something was done."""

    total: int = 0
    open: bool = False
    limits: dict[str, int] = {}

    @cairndb.update
    def add(self, amount: int) -> int:
        """Return the total."""
        self.total += amount
        return self.total

    @cairndb.update
    def add_if_open(self, amount: int) -> bool:
        """Have no effect while it isn't open."""
        self.total += amount if self.open else 0
        return self.open

    @cairndb.update
    def add_or_raise(self, amount: int) -> None:
        """Raise while it isn't open."""
        self.total += amount
        if not self.open:
            raise KeyError(amount)

    @cairndb.update
    def strange(self, length: int) -> None:
        """Raise what can't be copied, or is long."""
        raise StrangeError(self.total, "x" * length)

    @cairndb.update
    def text(self, length: int) -> str:
        """Return something long."""
        self.total += 1
        return "x" * length

    @cairndb.update
    def odd(self) -> Any:
        """Return what nobody can send."""
        self.total += 1
        return object()

    @cairndb.update
    def limited(self) -> None:
        """Break the rule below."""
        self.total = -1

    @cairndb.check
    def never_negative(self) -> bool:
        """No debts."""
        return self.total >= 0


class Client:
    """Somebody with a session, who asks again what was answered already.

    Args:
        service: of a counter.
        session: to go on with; None for a new one.
    """

    def __init__(self, service: Service, session: tuple[int, int] | None = None) -> None:
        self.service = service
        self.session = session or service.session()

    def ask(
        self, sequence: int, target: str, *arguments: Any, first: int = 0, **options: Any
    ) -> Any:
        """What the service answers to a request; raises what that is."""
        once = RequestId(*self.session, sequence, first)
        data = msgspec.msgpack.encode(arguments)
        options = {"grant": EVERYTHING, "once": once} | options
        found = value(self.service.handle(Request("run", target, "msgpack", data, **options)))
        return msgspec.msgpack.decode(found) if isinstance(found, Raw) else found

    @property
    def total(self) -> int:
        """What has been added so far."""
        with self.service.database.view() as root:
            total: int = root.total
            return total
