"""The tables of descriptors of all processes: what open, dup, fork, exec and close do to them.

What a descriptor leads to is whatever the user of the tables puts there. Descriptors that come in a
message from another process aren't seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from cairndb.tracing_events import Call

T = TypeVar("T")


class Tables(Generic[T]):
    """By process and descriptor, what it leads to, and whether that ends with an exec."""

    def __init__(self) -> None:
        self._tables: dict[int, dict[int, tuple[T, bool]]] = {}

    def of(self, process: int) -> dict[int, tuple[T, bool]]:
        """The table of a process."""
        return self._tables.setdefault(process, {})

    def get(self, process: int, descriptor: int) -> T | None:
        """What a descriptor leads to; None if that was never seen."""
        found = self.of(process).get(descriptor)
        return None if found is None else found[0]

    def put(self, process: int, descriptor: int, value: T, *, close_on_exec: bool) -> T | None:
        """Have a descriptor lead there.

        Returns:
            What it led to before, and doesn't now.
        """
        table = self.of(process)
        before = table.get(descriptor)
        table[descriptor] = value, close_on_exec
        return None if before is None else before[0]

    def follow(self, call: Call) -> list[T]:
        """Do what a call does to the tables; an open's own descriptor is the user's to put.

        Returns:
            What some descriptor led to and doesn't any more, once for each descriptor.
        """
        if call.error and call.name != "close":  # Linux has let go of it even so
            return []
        table = self.of(call.process)
        gone: list[T] = []
        match call.name:
            case "close":
                gone = self._drop(table, [call.descriptor])
            case "closerange":
                gone = self._drop(table, [n for n in table if call.descriptor <= n <= call.target])
            case "exec":
                gone = self._drop(table, [n for n, (_, ends) in table.items() if ends])
            case "exit":
                gone = self._drop(table, list(table))
            case "keep" if call.descriptor in table:
                table[call.descriptor] = table[call.descriptor][0], "close on exec" in call.words
            case "fork" if "thread" not in call.words:
                # What shares its files with its parent is nearly always a thread.
                self._tables[call.target] = dict(table)
            case "dup" if call.target != call.descriptor:
                gone = self._drop(table, [call.target])
                if call.descriptor in table:
                    found, _ = table[call.descriptor]
                    table[call.target] = found, "close on exec" in call.words
            case _:
                pass
        return gone

    @staticmethod
    def _drop(table: dict[int, tuple[T, bool]], descriptors: list[int]) -> list[T]:
        return [table.pop(number)[0] for number in descriptors if number in table]
