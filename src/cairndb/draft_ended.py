"""What a draft becomes when its update has ended: one that raises at every access."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cairndb.errors import StaleDraft

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDED = (
    "the update of this draft has ended. Open a new one (with db.update() as root: ...) and take "
    "the node from its root; what is needed after the block, copy in it: cairndb.plain(draft)"
)


def ended_getattribute(draft: Any, name: str) -> Any:
    """Every access to a draft that has ended; `isinstance` asks for the class and may have it."""
    if name == "__class__":
        return object.__getattribute__(draft, name)
    raise StaleDraft(ENDED)


def ended_repr(_draft: Any) -> str:
    """What a traceback or a log shows of a draft that has ended."""
    return "<a draft whose update has ended>"


def ended_setattr(_draft: Any, _name: str, _value: Any = None) -> None:
    """Every write to a draft that has ended."""
    raise StaleDraft(ENDED)


class Ended:
    """Mixed in before a container draft's class: what the draft becomes when its update ends.

    The methods of the draft itself stay where they are: each begins with an attribute of its draft.
    """

    __slots__ = ()

    __getattribute__ = ended_getattribute
    __repr__ = ended_repr

    def __iter__(self) -> Iterator[Any]:
        raise StaleDraft(ENDED)

    def __eq__(self, other: object) -> bool:
        raise StaleDraft(ENDED)

    __hash__ = None  # type: ignore[assignment]  # as every container
