"""What one update changes, as far as rules ask: noted by its drafts, looked at as late as possible.

A write is noted with the draft and the key that it was made to. From there two sorts of records are
*dirty*: those that contain the place, and those at and below it, before the update and now. Each is
compared as it was (in the state, which an update doesn't touch) with as it is (in the drafts). So a
record that was written to a thousand times is looked at once, unless an index is asked in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cairndb.draft_base import ANY_KEY, REMOVED
from cairndb.errors import ConstraintError, pointer
from cairndb.index import Entries
from cairndb.index_table import Delta, Table
from cairndb.rules_tree import Part, child, draft_part, find, kind_below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cairndb.draft_base import Draft, Note
    from cairndb.errors import Path
    from cairndb.index import Index
    from cairndb.index_table import Place
    from cairndb.rules_compile import Declared
    from cairndb.rules_keys import KeyRule

Tables = dict[tuple["KeyRule", "Path"], Table]
Dirty = dict["Path", tuple[Part | None, Part | None]]
"""Records that may have changed: as they were, as they are."""


class Changes:
    """The notes of one update, and what rules make of them.

    Args:
        declared: the rules.
        table: gives the committed table of a rule and an owner.
        before: the state.

    Attributes:
        append: takes a note.
        deltas: the tables as this update makes them.
        records: those that were written to, in the order in which that was seen, as they are.
    """

    __slots__ = (
        *("_before", "_declared", "_owners", "_seen", "_table", "_top", "append", "deltas"),
        *("gone", "notes", "records"),
    )

    def __init__(
        self, declared: Declared, table: Callable[[KeyRule, Path], Table], before: Part
    ) -> None:
        self.notes: list[Note] = []
        self.append = self.notes.append
        self.deltas: dict[tuple[KeyRule, Path], Delta] = {}
        self.records: dict[Path, Part | None] = {}
        # By the path of a dict that is referred to: keys that may have been deleted.
        self.gone: dict[Path, set[Any]] = {}
        self._declared = declared
        self._table = table
        self._before = before
        self._top: Part | None = None
        self._seen = 0

    def open(self, root: Any) -> None:
        """Begin.

        Args:
            root: the draft.
        """
        self._top = draft_part(root)

    # For indexes that are asked in the block.

    def entries(self, index: Index[Any, Any], record: Any, owner: Path) -> Entries[Any, Any]:
        """What an index of a record's draft finds."""
        return DraftEntries(index, self, record, owner)

    def delta(self, rule: KeyRule, owner: Path) -> Delta:
        """A table as it is by now."""
        delta = self.deltas.get((rule, owner))
        if delta is None:
            delta = Delta(self._table(rule, owner), ordered=rule.ordered)
            self.deltas[rule, owner] = delta
        return delta

    # Looking at what was noted.

    def look(self) -> None:
        """Take account of everything that was written since the last look.

        Raises:
            ConstraintError: a key function raises, or makes what can't be a key.
        """
        if self._seen == len(self.notes):
            return
        fresh = self.notes[self._seen :]
        self._seen = len(self.notes)
        by_draft: dict[int, tuple[Draft, dict[Any, None]]] = {}
        for draft, key in fresh:
            by_draft.setdefault(id(draft), (draft, {}))[1][key] = None
        dirty: Dirty = {}
        for draft, keys in by_draft.values():
            # Of what was removed or replaced since, the place that it stood at tells all.
            if draft.__cairn_state__ != REMOVED:
                self._mark(draft, keys, dirty)
        for path, (old, new) in dirty.items():
            self.records[path] = new
            self._compare(path, old, new)

    def _mark(self, draft: Draft, keys: Iterable[Any], dirty: Dirty) -> None:
        """Find the records that writes to some keys of a draft may have changed."""
        chain = [draft]
        while (parent := chain[-1].__cairn_parent__) is not None:
            chain.append(parent)
        path: Path = ()
        records = self._declared.records
        old: Part | None = self._before
        while True:
            each = chain.pop()
            if records.are(each.__cairn_kind__):
                dirty[path] = (old, draft_part(each))
            if not chain:
                break
            step = each.__cairn_step__(chain[-1].__cairn_key__)
            path = (*path, step)
            old = None if old is None else child(old, step)
        new = draft_part(draft)
        for key in keys:
            if key is ANY_KEY:
                self._mark_below(path, old, new, dirty)
                continue
            step = draft.__cairn_step__(key)
            self._mark_gone((*path, step))
            below = kind_below(new.kind, step)
            if below is not None and records.lead_from(below):
                was = None if old is None else child(old, step)
                self._mark_below((*path, step), was, child(new, step), dirty)

    def _mark_below(self, path: Path, old: Part | None, new: Part | None, dirty: Dirty) -> None:
        """All records at a place and below, before the update and now."""
        records = self._declared.records
        self._mark_gone(path)
        there = old if new is None else new
        if there is not None and records.end_at(there.kind) and _alike(old, new):
            if records.are(there.kind):
                dirty[path] = (old, new)
            return
        for part in (old, new):
            if part is not None and records.lead_from(part.kind):
                for inner, _ in records.below(part, path):
                    if inner not in dirty:
                        beyond = inner[len(path) :]
                        dirty[inner] = (
                            None if old is None else find(old, beyond),
                            None if new is None else find(new, beyond),
                        )

    def _mark_gone(self, path: Path) -> None:
        """Note which keys of dicts that are referred to a write at a path may have deleted."""
        for target in self._declared.targets:
            keys: Iterable[Any] = ()
            if len(path) == len(target) + 1 and path[: len(target)] == target:
                keys = path[-1:]
            elif target[: len(path)] == path:
                there = find(self._before, target)
                keys = () if there is None else there.value
            self.gone.setdefault(target, set()).update(keys)

    @property
    def now(self) -> Part:
        """The root's draft."""
        assert self._top is not None
        return self._top

    @property
    def before(self) -> Part:
        """The root as it is committed."""
        return self._before

    @property
    def declared(self) -> Declared:
        """The rules."""
        return self._declared

    def _compare(self, path: Path, old: Part | None, new: Part | None) -> None:
        """Put into the tables which keys a record had, and which it has."""
        by_kind = self._declared.by_kind
        was = by_kind.get(id(old.kind)) if old is not None else None
        here = by_kind.get(id(new.kind)) if new is not None else None
        rules: Iterable[KeyRule] = () if here is None else here.keys
        if was is not None and was is not here:
            rules = dict.fromkeys((*rules, *was.keys))
        for rule in rules:
            for owner, place in rule.places(path):
                before = self._keys(rule, path, old, owner, self._before)
                after = self._keys(rule, path, new, owner, self.now)
                if before != after or (rule, owner) in self.deltas:
                    try:
                        self.delta(rule, owner).put(place, before, after)
                    except TypeError as error:
                        reason = f"{pointer(path)}: {rule.name} is ordered: {error}"
                        raise ConstraintError(reason, [path]) from error

    def _keys(
        self, rule: KeyRule, path: Path, part: Part | None, owner: Path, top: Part
    ) -> tuple[Any, ...]:
        if part is None or id(part.kind) not in rule.kinds:
            return ()
        if not rule.root_only:
            holder = find(top, owner)
            if holder is None or id(holder.kind) not in rule.owners:
                return ()
        return rule.keys(part.value, path)


def _alike(old: Part | None, new: Part | None) -> bool:
    return old is None or new is None or old.kind is new.kind


class DraftEntries(Entries[Any, Any]):
    """What an index of one record's draft finds.

    Args:
        index: as declared.
        changes: of the update.
        draft: of the record.
        owner: its path.
    """

    __slots__ = ("_changes", "_draft", "_owner", "_rule")

    def __init__(self, index: Index[Any, Any], changes: Changes, draft: Any, owner: Path) -> None:
        super().__init__(index)
        self._changes = changes
        self._draft = draft
        self._owner = owner
        self._rule = changes.declared.by_index[id(index)]

    @property
    def _postings(self) -> Delta:
        # Each time: there may be more by now.
        self._changes.look()
        return self._changes.delta(self._rule, self._owner)

    def _reach(self, place: Place) -> Any:
        return self._rule.reach(self._draft, place)

    def _path(self, place: Place) -> Path:
        return self._rule.path(self._owner, place)
