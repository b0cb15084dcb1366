"""What a dict's draft comes to at the end of its update: the fewest operations that say it.

A key of the base can stay only if its final place is one that a dict would keep it in: the added
ones that came back in their old order to the end of what is left did, so they count as changed in
place. Everything else that was removed is a DELETE, then what is new is one SET, or one MERGE for
several. Where more was deleted than is left, one SET of the whole dict is weighed against that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from cairndb import codec
from cairndb.draft_base import written_step
from cairndb.draft_container import ContainerDraft
from cairndb.draft_merge import MergeArgument
from cairndb.patch import DELETE, SET, operation

if TYPE_CHECKING:
    from cairndb.patch import Operation


class NetDict(ContainerDraft):
    """The part of a dict's draft that knows what has changed; `draft_dict` says how it is kept."""

    __slots__ = ("_added", "_base", "_changed", "_length", "_removed")

    _added: dict[Any, Any]
    _base: dict[Any, Any]
    _changed: dict[Any, Any]
    _length: int
    _removed: set[Any]

    def _looked_at(self, table: dict[Any, Any], key: Any) -> Any:
        """A new value, decoded by now."""
        value = table[key]
        if type(value) is Raw:
            value = table[key] = self._kind.value.decode(value)
        return value

    def _unpack(self) -> None:
        """Decode every new value that was never looked at."""
        for table in (self._changed, self._added):
            for key in table:
                self._looked_at(table, key)

    def __cairn_collect__(self, path: list[Any], operations: list[Operation]) -> None:
        kind = self._kind
        self._check_length(self._length)
        if not (self._changed or self._added or self._length != len(self.__cairn_base__)):
            self._collect_children(path, operations)  # as most dicts: values changed below it
            return
        returned, deleted = self._returned()
        added = self._added.copy()
        for key in returned:
            del added[key]
        for key, child in self._written.items():
            if key in added:
                added[key] = child.__cairn_merged__()
        merge = MergeArgument(kind)
        for key in (*self._changed, *returned):
            self._compare(codec.stored_key(self.__cairn_base__, key), merge)
        merge.add(added)
        reformed = self._has_reformed()
        if reformed or deleted > self._length:
            # One deletion takes at least its code, its path and a byte of key.
            least = deleted * (len(codec.encode(path)) + 4)
            whole = kind.encode(self.__cairn_merged__())
            if reformed or len(whole) <= least + merge.size:
                operations.append(operation(SET, path, whole))
                return
        self._collect_children(path, operations)
        if deleted:
            gone = self._removed if self._base is self.__cairn_base__ else self.__cairn_base__
            steps = [self._stored_step(key) for key in gone if key not in returned]
            operations += [operation(DELETE, [*path, step]) for step in steps]
        merge.emit(path, operations)

    def _collect_children(self, path: list[Any], operations: list[Operation]) -> None:
        for key, child in self._written.items():
            if key not in self._changed and key not in self._added:
                child.__cairn_collect__([*path, self._stored_step(key)], operations)

    def _stored_step(self, key: Any) -> Any:
        if type(key) is str and self._kind.key.types == (str,):
            return key  # equal strings have equal bytes: no need to find the one that is stored
        return written_step(self._kind.key, codec.stored_key(self.__cairn_base__, key))

    def _returned(self) -> tuple[dict[Any, Any], int]:
        """The added keys that stand where the base had them, and how many keys of it are deleted.

        What stands in front of the added is the base without the removed. So of the removed only
        those behind all of it can have come back to their place, and only in their old order,
        before anything that is new.
        """
        base = self.__cairn_base__
        if self._base is not base:
            removed: Any = base
            tail = list(base)
        else:
            removed = self._removed
            tail = []
            if removed and self._added:
                for key in reversed(base):
                    if key not in removed:
                        break
                    tail.append(key)
                tail.reverse()
        returned: dict[Any, Any] = {}
        rest = iter(tail)
        for key, value in self._added.items():
            # `in` walks the iterator on to behind the key: the next one has to come later.
            if key not in removed or key not in rest or not self._same_key(key):
                break
            returned[key] = value
        return returned, len(removed) - len(returned)

    def _has_reformed(self) -> bool:
        """Whether a key was put back in other bytes: a patch can't name both, 1.0 and then 1."""
        if not self._kind.key.ambiguous:
            return False
        removed = self._removed if self._base is self.__cairn_base__ else self.__cairn_base__
        if not removed:
            return False
        return any(key in removed and not self._same_key(key) for key in self._added)

    def _same_key(self, key: Any) -> bool:
        """Whether a key put back has the bytes of the one that the base holds: 1 isn't 1.0."""
        kind = self._kind.key
        return not kind.ambiguous or kind.encode(key) == kind.encode(
            codec.stored_key(self.__cairn_base__, key)
        )

    def _compare(self, key: Any, merge: MergeArgument) -> None:
        """Enter a key that is in the base and has a new value, if that differs."""
        child = self._written.get(key)
        if child is not None:
            value = child.__cairn_merged__()
        else:
            value = self._added[key] if key in self._added else self._changed[key]
        encoded = self._kind.value.encode(value)
        if encoded != self._kind.value.encode(self.__cairn_base__[key]):
            merge.put(key, encoded)
