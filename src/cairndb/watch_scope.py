"""The fold of what a pattern means, and no more: whence a watch has the values before an update.

As far down as the pattern's steps are exact, only what they lead to is kept, and operations that
lead elsewhere are left out; from the first wildcard on everything is. So a watch of
`/accounts/alice/**` keeps one account, and one of `/accounts/*/balance` keeps the accounts. In a
list all elements are kept, since a splice moves them, and of records that are tagged, the tag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from cairndb import codec, touched
from cairndb.codec import MERGE, REQUEST, SET
from cairndb.errors import ValidationError
from cairndb.fold import Fold, hashable
from cairndb.fold_nodes import opened
from cairndb.kinds import DictKind, RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cairndb.codec import Operation
    from cairndb.difference import Difference
    from cairndb.kinds import Kind
    from cairndb.pattern import Pattern, Walk
    from cairndb.touched import Differ


class Scope:
    """What is under a pattern, untyped, at some LSN.

    Args:
        pattern: which paths are meant.
        tags: names that are kept in every record, see the module.
        state: the whole state or what `captured` gave; None before LSN 1.
        differ: as for `touched.apply`.
    """

    def __init__(
        self, pattern: Pattern, tags: frozenset[str], state: Raw | None, differ: Differ
    ) -> None:
        self.pattern = pattern
        self.fold = Fold()
        self._tags = tags
        self._differ = differ
        if state is not None:
            self.fold.root = _narrowed(state, pattern.start, tags)

    def everything(self) -> list[Difference]:
        """All there is, each part as one that is new."""
        return touched.compare(None, self._state(), self.pattern, self._differ)

    def apply(self, operations: Iterable[Operation]) -> list[Difference]:
        """Go on by an update.

        Args:
            operations: of its entry; no BARRIER.

        Returns:
            What differs.

        Raises:
            ValueError: no correct writer made this; nothing has changed.
        """
        relevant = [o for o in map(self._relevant, operations) if o is not None]
        if not relevant:
            return []
        return touched.apply(self.fold, relevant, self.pattern, self._differ)

    def replace(self, state: Raw) -> list[Difference]:
        """Go on over a barrier.

        Args:
            state: the whole state after it.

        Returns:
            What differs.
        """
        before = self._state()
        self.fold.root = _narrowed(state, self.pattern.start, self._tags)
        return touched.compare(before, self._state(), self.pattern, self._differ)

    def _state(self) -> Raw | None:
        return None if self.fold.root is None else Raw(self.fold.encode())

    def _relevant(self, each: Operation) -> Operation | None:
        """An operation as far as it concerns what is kept; None if it doesn't."""
        if each.code == REQUEST:
            return None
        walk, node = self.pattern.start, self.fold.root
        for step in each.path:
            wanted = _wanted(walk)
            if wanted is None or isinstance(parts := opened(node), list):
                return each
            key = hashable(step)
            if key not in wanted:
                return None
            walk, node = walk.down(key), parts.get(key)
        wanted = _wanted(walk)
        if wanted is None or each.code not in {SET, MERGE}:
            return each
        if each.code == SET:
            return codec.Operation(SET, each.path, _narrowed(each.argument, walk, self._tags))
        kept = _narrowed_map(codec.open_map(each.argument), walk, wanted, self._tags)
        return codec.Operation(MERGE, each.path, Raw(codec.encode(kept)))


def _wanted(walk: Walk) -> frozenset[Any] | None:
    """The only steps that lead on; None where all of what is there is kept."""
    return None if walk.matched else walk.wanted


def _narrowed(value: Raw, walk: Walk, tags: frozenset[str]) -> Raw:
    wanted = _wanted(walk)
    if wanted is None or not codec.is_map(value):
        return value
    return Raw(codec.encode(_narrowed_map(codec.open_map(value), walk, wanted, tags)))


def _narrowed_map(
    parts: dict[Any, Raw], walk: Walk, wanted: frozenset[Any], tags: frozenset[str]
) -> dict[Any, Raw]:
    if len(parts) > len(wanted) + len(tags):
        keys = [codec.stored_key(parts, key, key) for key in wanted | tags if key in parts]
    else:
        keys = [key for key in parts if key in wanted or key in tags]
    return {key: _narrowed(parts[key], walk.down(key), tags) for key in keys}


def captured(kind: Kind, value: Any, pattern: Pattern, tags: frozenset[str]) -> Raw:
    """What a live state has under a pattern, narrowed while it is encoded; under a view.

    Args:
        kind: of the root.
        value: the root.
        pattern: which paths are meant.
        tags: as for `Scope`.
    """
    return Raw(codec.encode(_captured(kind, value, pattern.start, tags)))


def _captured(kind: Kind, value: Any, walk: Walk, tags: frozenset[str]) -> Any:
    kind, wanted = kind.member(value), _wanted(walk)
    if wanted is not None and isinstance(kind, RecordKind):
        found: dict[Any, Any] = dict(kind.tag)
        for name, encode_name, field in kind.fields.values():
            if encode_name in wanted or encode_name in tags:
                part = getattr(value, name)
                found[encode_name] = _captured(field, part, walk.down(encode_name), tags)
        return found
    if wanted is not None and isinstance(kind, DictKind):
        keys = [_stored(kind, value, step) for step in wanted | tags]
        return {
            key: _captured(kind.value, value[key], walk.down(key), tags)
            for key in keys
            if key in value
        }
    return Raw(kind.encode(value))


def _stored(kind: DictKind, node: dict[Any, Any], step: Any) -> Any:
    """The key as it stands in a dict; nothing that it could have, if it has none such."""
    try:
        key = kind.key.key_of(step)
    except (ValidationError, ValueError):
        return _NO_KEY
    return codec.stored_key(node, key, key)


_NO_KEY = object()


def tags_of(kinds: Iterable[Kind]) -> frozenset[str]:
    """The names of the tags of all records among some kinds."""
    return frozenset(name for kind in kinds if isinstance(kind, RecordKind) for name in kind.tag)
