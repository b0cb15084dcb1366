"""What the drafts of dicts, lists and sets share: their place in the tree, and their children.

Most drafts are made to look through and are gone with their update, a few microseconds later. So a
draft that was not written to has no tables of its own, and one that nobody can have kept is not
ended but dropped.
"""

from __future__ import annotations

from sys import getrefcount
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cairndb.draft_base import CLEAN, NOTED, REMOVED, bury, path_of, refer

if TYPE_CHECKING:
    from cairndb.draft_base import ChildReference, Draft, Notes
    from cairndb.kinds import Kind
    from cairndb.patch import Operation

# What a container's draft has for tables until something comes in: making them takes as long as
# all the rest of it, and most drafts are looked through only.
NOTHING: Any = MappingProxyType({})


class _Unheld:
    """How many references there are to an object that nobody has but who asks."""

    def asked(self) -> int:
        return getrefcount(self)

    @staticmethod
    def popped() -> int:
        _, value = {None: object()}.popitem()
        return getrefcount(value)


# Asked of this interpreter, since they differ: a draft whose count is higher is one that the
# application may have kept. To end only those spares most updates the ending of what they made.
_UNHELD_SELF = [_Unheld()].pop().asked()
_UNHELD_CHILD = _Unheld.popped()


class ContainerDraft:
    """The place and the children of a draft of a dict or list, and the place of a set's."""

    __slots__ = (
        "__cairn_base__",
        "__cairn_depth__",
        "__cairn_key__",
        "__cairn_notes__",
        "__cairn_parent__",
        "__cairn_state__",
        "__weakref__",
        "_children",
        "_hidden",
        "_kind",
        "_written",
    )

    __cairn_base__: Any
    __cairn_parent__: Draft | None
    __cairn_key__: Any
    __cairn_depth__: int
    __cairn_notes__: Notes
    __cairn_state__: int
    _ended: type[Any]

    def __init__(self, kind: Kind, base: Any, parent: Draft | None, key: Any) -> None:
        self.__cairn_base__ = base
        self.__cairn_parent__ = parent
        self.__cairn_key__ = key
        if parent is None:
            self.__cairn_depth__ = 0
            self.__cairn_state__ = CLEAN
        else:
            self.__cairn_depth__ = parent.__cairn_depth__ + 1
            self.__cairn_state__ = REMOVED if parent.__cairn_state__ == REMOVED else CLEAN
        self._kind: Any = kind
        # Children that were written to, and weakly those that weren't.
        self._written: dict[Any, Draft] = NOTHING
        self._children: dict[Any, ChildReference] = NOTHING
        self._hidden: dict[Any, ChildReference] = NOTHING

    def _child(self, kind: Kind, key: Any, value: Any) -> Any:
        """A value as the block sees it: the draft of a node, or the value itself."""
        maker = kind.draft_maker
        if maker is None:  # a union, or Any
            kind = kind.member(value)
            maker = kind.draft_maker
            if maker is None:
                return value
        child = maker(kind, value, self, key)
        if self._children is NOTHING:
            self._children = {}
        refer(self._children, key, child)
        return child

    def _alive(self, key: Any) -> Any:
        child = self._written.get(key)
        if child is None:
            reference = self._children.get(key)
            return None if reference is None else reference()
        return child

    def _drop(self, key: Any) -> None:
        """The node at a key is being removed or replaced."""
        child = self._alive(key)
        if child is not None:
            del (self._written if key in self._written else self._children)[key]
            bury(self, child)

    def _drop_all(self) -> None:
        for key in (*self._written, *self._children):
            self._drop(key)

    def __cairn_mark__(self, state: int) -> None:
        self.__cairn_state__ = state

    def __cairn_keep__(self, key: Any, child: Draft) -> None:
        if self._written is NOTHING:
            self._written = {}
        self._written[key] = child
        self._children.pop(key, None)

    def __cairn_hide__(self, child: Draft) -> None:
        if self._hidden is NOTHING:
            self._hidden = {}
        refer(self._hidden, id(child), child)

    def _weakly(self) -> list[Draft]:
        references = (*self._children.values(), *self._hidden.values())
        return [child for reference in references if (child := reference()) is not None]

    def __cairn_live__(self) -> list[Draft]:
        return [*self._written.values(), *self._weakly()]

    def __cairn_step__(self, key: Any) -> Any:
        return key

    def _check_length(self, length: int) -> None:
        if self._kind.is_bounded:
            self._kind.check_length(length, path_of(self))

    @property
    def __cairn_kind__(self) -> Kind:
        kind: Kind = self._kind
        return kind

    def __cairn_peek__(self, step: Any) -> Any:
        raise NotImplementedError

    def __cairn_merged__(self) -> Any:
        raise NotImplementedError

    def __cairn_collect__(self, path: list[Any], operations: list[Operation]) -> None:
        raise NotImplementedError

    def __cairn_plain__(self) -> Any:
        return self._kind.plain(self.__cairn_merged__())

    def __cairn_end__(self, alive: list[Draft]) -> None:
        if self._written:
            self._let_go(alive)
        if self._children or self._hidden:
            alive += self._weakly()
            self._children = self._hidden = NOTHING
        if getrefcount(self) > _UNHELD_SELF:
            self._finish()

    def _let_go(self, alive: list[Draft]) -> None:
        written = self._written
        while written:
            _, child = written.popitem()
            if getrefcount(child) > _UNHELD_CHILD:  # its own children hold it, too
                alive.append(child)

    def _finish(self) -> None:
        """Let go of what is shown, and refuse whatever comes."""
        self.__cairn_base__ = self.__cairn_parent__ = None
        self.__class__ = self._ended

    def __copy__(self) -> Any:
        return self.copy()  # type: ignore[attr-defined]  # every container has it

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.__cairn_plain__()

    def __reduce__(self) -> tuple[Any, ...]:
        plain = self.__cairn_plain__()
        return type(plain), (self._items_of(plain),)

    @staticmethod
    def _items_of(plain: Any) -> Any:
        return list(plain.items()) if isinstance(plain, dict) else list(plain)


def note_in(root: Draft, notes: Notes) -> None:
    """Have every write to the draft of a root noted, and to all below it."""
    if isinstance(root, ContainerDraft):
        root.__cairn_notes__ = notes
    else:  # by setattr it would be a field
        vars(root)["__cairn_notes__"] = notes
    root.__cairn_mark__(NOTED)
