"""The draft of a dict: the base, untouched, with what was changed, removed and added laid over it.

- `_changed`: new values of keys of the base; they keep their place in the order, and the stored
  key.
- `_removed`: keys of the base that are gone, or stand at the end now, put back.
- `_added`: keys that aren't in the base, or were removed from it, in the order they came.

A new value stands there encoded, as a `Raw`, where that could be done at once (`kinds_exact`),
until it is looked at: most never are before the end of the update.

So one key costs the same in a dict of ten and of a million, and the order is the base's without the
removed, then the added: what a dict does. `clear()` makes the base empty, and keeps the real one
(`__cairn_base__`) to compare with at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from cairndb import draft_base
from cairndb.draft_base import CLEAN, REMOVED, WRITTEN
from cairndb.draft_container import NOTHING, ContainerDraft
from cairndb.draft_dict_net import NetDict
from cairndb.draft_ended import Ended
from cairndb.draft_operators import DictOperators
from cairndb.draft_views import DictItems, DictKeys, DictValues

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cairndb.draft_base import Draft
    from cairndb.kinds import DictKind

_ABSENT: Any = object()


class DictDraft(NetDict, DictOperators):
    """A dict of the tree as an update's block sees it: the whole public interface of dict."""

    __slots__ = ("_backwards", "_holds_nodes")

    def __init__(
        self, kind: DictKind, base: dict[Any, Any], parent: Draft | None, key: Any
    ) -> None:
        ContainerDraft.__init__(self, kind, base, parent, key)  # super() takes half as long again
        self._base = base
        self._changed: dict[Any, Any] = NOTHING
        self._removed: set[Any] = NOTHING
        self._added: dict[Any, Any] = NOTHING
        self._length = len(base)
        self._holds_nodes = kind.value.is_node
        self._backwards: Iterator[Any] | None = None  # popitem's place in the base, from the end

    def __cairn_mark__(self, state: int) -> None:
        if self._changed is NOTHING and state != REMOVED:
            self._changed = {}
            self._removed = set()
            self._added = {}
        self.__cairn_state__ = state

    # Reading.

    def _value(self, key: Any) -> Any:
        base = self._base
        if key not in base or key in self._removed:
            return self._looked_at(self._added, key)
        if key in self._changed:
            return self._looked_at(self._changed, key)
        return base[key]

    def __getitem__(self, key: Any) -> Any:
        if not self._holds_nodes:
            return self._value(key)
        child = self._written.get(key)
        if child is None:
            reference = self._children.get(key)
            if reference is not None:
                child = reference()
            if child is None:
                return self._child(self._kind.value, key, self._value(key))
        return child

    def __contains__(self, key: object) -> bool:
        return key in self._added or (key in self._base and key not in self._removed)

    def __len__(self) -> int:
        return self._length

    def get(self, key: Any, default: Any = None, /) -> Any:  # noqa: D102  as dict's
        try:
            return self[key]
        except KeyError:
            return default

    def __iter__(self) -> Iterator[Any]:
        return self._iterate(iter, self._length)

    def __reversed__(self) -> Iterator[Any]:
        return self._iterate(reversed, self._length)

    def _iterate(self, direction: Any, length: int) -> Iterator[Any]:
        """Keys in either direction; refuses to go on after a change of size, as a dict does."""
        base = self._base
        for part in direction((base, self._added)):
            for key in direction(part):
                if self._length != length:
                    break
                if part is not base or key not in self._removed:
                    yield key
        if self._length != length:
            raise RuntimeError("dictionary changed size during iteration")
        if self._base is not base:
            raise RuntimeError("dictionary keys changed during iteration")

    def keys(self) -> DictKeys:
        """The keys, live."""
        return DictKeys(self)

    def values(self) -> DictValues:
        """The values, live; nodes among them are drafts."""
        return DictValues(self)

    def items(self) -> DictItems:
        """The pairs of key and value, live; nodes among the values are drafts."""
        return DictItems(self)

    def copy(self) -> dict[Any, Any]:
        """A plain dict of what is shown now; nodes among the values are drafts."""
        return {key: self[key] for key in self}

    @classmethod
    def fromkeys(cls, iterable: Iterable[Any], value: Any = None, /) -> dict[Any, Any]:
        """A plain dict, as `dict.fromkeys`."""
        return dict.fromkeys(iterable, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, dict | DictDraft):
            return NotImplemented
        if self._length != len(other):
            return False
        for key in self:
            if key not in other:
                return False
            mine, theirs = self[key], other[key]
            if mine is not theirs and mine != theirs:
                return False
        return True

    __hash__ = None  # type: ignore[assignment]  # as dict

    def __repr__(self) -> str:
        return repr(self.copy())

    # Writing.

    def __setitem__(self, key: Any, value: Any) -> None:
        if self.__cairn_state__ != WRITTEN:
            draft_base.touch(self, key)
        in_base = key in self._base and key not in self._removed
        known = in_base or key in self._added
        kind = self._kind
        if known and self._holds_nodes and value is not None and self._alive(key) is value:
            return  # a draft assigned to where it stands, as `d[k] += …` does
        # Bulk loads spend their time here, so for what they assign there are two short ways: the
        # usual key is taken without a call, the usual record as the bytes that it is stored as.
        if not known and not (type(key) is str and kind.has_plain_keys and key.isascii()):
            key = draft_base.copied_key(self, kind.key, key)
        packed = kind.pack(value) if self.__cairn_depth__ <= kind.pack_depth else None
        value = draft_base.copied(self, kind.value, value, key) if packed is None else packed
        if in_base:
            self._changed[key] = value
        else:
            self._added[key] = value
        if not known:
            self._length += 1
        elif self._holds_nodes:
            self._drop(key)

    def _remove(self, key: Any) -> None:
        """Take out a key that is there."""
        if key in self._added:
            del self._added[key]
        else:
            self._removed.add(key)
            self._changed.pop(key, None)
        self._length -= 1
        if self._holds_nodes:
            self._drop(key)

    def __delitem__(self, key: Any) -> None:
        if self.__cairn_state__ != WRITTEN:
            draft_base.touch(self, key)
        if key not in self:
            raise KeyError(key)
        self._remove(key)

    def pop(self, key: Any, default: Any = _ABSENT, /) -> Any:
        """Remove a key and return a plain copy of its value, or the default."""
        if self.__cairn_state__ != WRITTEN:
            draft_base.touch(self, key)
        if key not in self:
            if default is _ABSENT:
                raise KeyError(key)
            return default
        value = self._plain_at(key)
        self._remove(key)
        return value

    def popitem(self) -> tuple[Any, Any]:
        """Remove the last key and return it with a plain copy of its value."""
        if not self._length:
            draft_base.touch(self)
            raise KeyError("popitem(): dictionary is empty")
        if self._added:
            key = next(reversed(self._added))
        else:
            # What this iterator has passed was removed from the base and never stands there again:
            # so popping everything is one walk.
            if self._backwards is None:
                self._backwards = reversed(self._base)
            key = next(key for key in self._backwards if key not in self._removed)
        draft_base.touch(self, key)
        value = self._plain_at(key)
        self._remove(key)
        return key, value

    def _plain_at(self, key: Any) -> Any:
        child = self._written.get(key)
        if child is not None:
            return child.__cairn_plain__()
        return self._kind.value.plain(self._value(key))

    def clear(self) -> None:
        """Remove every key."""
        draft_base.touch(self)
        self._drop_all()
        self._base = {}
        self._changed = {}
        self._removed = set()
        self._added = {}
        self._backwards = None
        self._length = 0

    def setdefault(self, key: Any, default: Any = None, /) -> Any:
        """The value of a key, which is assigned the default if it isn't there."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Assign the keys of a mapping, or of an iterable of pairs, then the keyword arguments."""
        if hasattr(other, "keys"):
            for key in list(other.keys()) if other is self else other.keys():
                self[key] = other[key]
        else:
            for key, value in other:
                self[key] = value
        for name, value in more.items():
            self[name] = value

    def __ior__(self, other: Any) -> Self:  # type: ignore[override]  # the draft itself
        self.update(other)
        return self

    # The protocol of drafts.

    def __cairn_peek__(self, step: Any) -> Any:
        child = self._written.get(step)
        return self._value(step) if child is None else child

    def __cairn_merged__(self) -> dict[Any, Any]:
        if self.__cairn_state__ == CLEAN:
            return self.__cairn_base__  # type: ignore[no-any-return]  # this draft's base is a dict
        self._unpack()
        removed = self._removed
        if removed:
            shown = {key: value for key, value in self._base.items() if key not in removed}
        else:
            shown = dict(self._base)
        shown.update(self._changed)
        shown.update(self._added)
        for key, child in self._written.items():
            shown[key] = child.__cairn_merged__()
        return shown

    def _finish(self) -> None:
        self._base = {}
        self._changed = self._added = self._removed = NOTHING
        self._backwards = None
        super()._finish()


class EndedDict(Ended, DictDraft):
    """A draft of a dict whose update has ended."""

    __slots__ = ()


DictDraft._ended = EndedDict  # noqa: SLF001  a class that can't be named before it exists
