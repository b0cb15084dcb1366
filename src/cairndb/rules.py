"""Rules over the state: indexes, unique keys, references, checks. All application code runs here.

The rule of these modules: **whatever can go wrong goes wrong before anything is logged.** While an
update's block runs, its drafts note what is written (see `draft_base`). At the end, `judge`
looks at each record that was written to, as it was and as it would be: it calls checks, makes keys,
looks for unique ones that are taken and for references that lead nowhere. What it prepares,
`Rules.apply` only enters, in the same instant in which the patch is applied to the state. An update
costs what it changes, not what there is.

Nothing of this is on disk: at open it is made from the state, by the same functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cairndb import collector
from cairndb import index as indexes
from cairndb.draft_base import is_draft, path_of, root_of
from cairndb.errors import ConstraintError
from cairndb.index_table import Table
from cairndb.rules_changes import Changes
from cairndb.rules_compile import compile_rules
from cairndb.rules_judging import judge, taken
from cairndb.rules_references import dangling
from cairndb.rules_tree import Part, find, plain_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cairndb.errors import Path
    from cairndb.index import Index
    from cairndb.index_table import Delta, Place
    from cairndb.kinds import Kind
    from cairndb.rules_changes import Tables
    from cairndb.rules_compile import Declared, RecordRules
    from cairndb.rules_keys import IndexRule, KeyRule

Found = dict[tuple["KeyRule", "Path"], dict[Any, "list[Place]"]]

__all__ = ["Changes", "Rules", "judge", "rules_of"]


def rules_of(kind: Kind) -> Rules | None:
    """The rules that a schema's classes declare; None if there are none.

    Args:
        kind: of the root.

    Raises:
        SchemaError: a rule can't work as it is declared.
    """
    if kind.rules is None:
        kind.rules = (compile_rules(kind),)
    (declared,) = kind.rules
    return None if declared is None else Rules(declared)


class LiveEntries(indexes.Entries[Any, Any]):
    """What an index of one record of the state finds.

    Args:
        index: as declared.
        rule: as compiled.
        table: of that record.
        node: the record.
        owner: its path.
    """

    __slots__ = ("_node", "_owner", "_rule", "_table")

    def __init__(
        self, index: Index[Any, Any], rule: IndexRule, table: Table, node: Any, owner: Path
    ) -> None:
        super().__init__(index)
        self._rule = rule
        self._table = table
        self._node = node
        self._owner = owner

    def __getitem__(self, key: Any) -> list[Any]:
        """As `Entries` has it, without its calls: this is what a view spends its time on."""
        direct = self._rule.direct
        if direct is None:
            return super().__getitem__(key)
        holder = getattr(self._node, direct)
        return [holder[place] for place in self._table.at(key)]

    @property
    def _postings(self) -> Table:
        return self._table

    def _reach(self, place: Place) -> Any:
        return self._rule.reach(self._node, place)

    def _path(self, place: Place) -> Path:
        return self._rule.path(self._owner, place)


class Rules:
    """The rules of one open database, and what is derived from its state for them.

    Args:
        declared: what the classes declare.
    """

    def __init__(self, declared: Declared) -> None:
        # Set once:
        self.declared = declared
        top = id(declared.root)
        self._owners_below = any(e.owned for kind, e in declared.by_kind.items() if kind != top)
        # Written under exclusive, read under any mode:
        self._tables: Tables = {}
        self._owned: dict[Path, tuple[Any, dict[int, Any]]] = {}

    def table(self, rule: KeyRule, owner: Path) -> Table:
        """The table of an owner; an empty one if nothing is in it."""
        table = self._tables.get((rule, owner))
        return Table(ordered=rule.ordered) if table is None else table

    def begin(self, root: Any) -> Changes:
        """What one update changes, as far as rules ask.

        Args:
            root: the state.
        """
        return Changes(self.declared, self.table, plain_part(self.declared.root, root))

    def build(self, root: Any, *, strict: bool) -> None:
        """Derive everything from a state anew.

        Args:
            root: the state.
            strict: whether a state that the rules wouldn't let come about is refused.

        Raises:
            ConstraintError: such a state, or a key function raises.
        """
        self.close()
        top = plain_part(self.declared.root, root)
        with collector.paused():
            self._build(top, strict=strict)

    def _build(self, top: Part, *, strict: bool) -> None:
        found, owners = self._found(top)
        for (rule, owner), pairs in found.items():
            self._tables[rule, owner] = _filled(rule, pairs)
            if strict:
                _check_unique(rule, owner, pairs)
        if strict:
            self._check_references(top)
        self._register(top, owners)

    def _found(self, top: Part) -> tuple[Found, list[Path]]:
        """All keys and their places, and the paths of the records that own an index."""
        found: Found = {}
        owners: list[Path] = [()]
        direct: set[KeyRule] = set()
        for rule in self.declared.by_index.values():
            if rule.direct is not None and rule.root_only:
                direct.add(rule)
                found[rule, ()] = _direct_pairs(rule, getattr(top.value, rule.direct))
        if not self._owners_below and len(direct) == len(self.declared.keys):
            return found, owners
        for path, part in self.declared.records.below(top, ()):
            declared = self.declared.by_kind[id(part.kind)]
            if declared.owned:
                owners.append(path)
            for each in declared.keys:
                for owner, place in () if each in direct else self._places(each, path, top):
                    pairs = found.setdefault((each, owner), {})
                    for key in each.keys(part.value, path):
                        pairs.setdefault(key, []).append(place)
        return found, owners

    def _places(self, rule: KeyRule, path: Path, top: Part) -> Iterator[tuple[Path, Place]]:
        for owner, place in rule.places(path):
            if not rule.owners or rule.root_only:
                yield owner, place
                continue
            part = find(top, owner)
            if part is not None and id(part.kind) in rule.owners:
                yield owner, place

    def _check_references(self, top: Part) -> None:
        for target, rules in self.declared.targets.items():
            there = find(top, target)
            assert there is not None, "a path of record fields"
            for rule in rules:
                table = self.table(rule, ())
                for key in table.in_order():
                    if key not in there.value:
                        raise dangling(rule, key, table.at(key))

    def apply(self, changes: Changes, root: Any) -> None:
        """Enter what an update changed: in the instant in which its patch is applied.

        Args:
            changes: judged.
            root: the state, with the patch applied.
        """
        self.enter(changes.deltas, root, changes.records)

    def enter(
        self, deltas: dict[tuple[KeyRule, Path], Delta], root: Any, records: Iterable[Path]
    ) -> None:
        """As `apply`, by parts.

        Args:
            deltas: the tables that change.
            root: the state, with the change applied.
            records: the paths of all records that it may concern.
        """
        for (rule, owner), delta in deltas.items():
            delta.apply()
            self._tables[rule, owner] = delta.table
        if self._owners_below:
            self._register(plain_part(self.declared.root, root), records)

    def _register(self, top: Part, paths: Any) -> None:
        """Have the indexes of records found by the records themselves."""
        for path in paths:
            part = find(top, path)
            known, entries = self._owned.get(path, (None, {}))
            declared = self.declared.by_kind.get(id(part.kind)) if part is not None else None
            if part is None or declared is None or not declared.owned:
                self._owned.pop(path, None)
                for rule in self.declared.by_index.values():
                    self._tables.pop((rule, path), None)
            elif known is not part.value:
                here = (part.value, self._entries(declared, part, path))
                self._owned[path] = indexes.LIVE[id(part.value)] = here
            else:
                continue
            _forget(known, entries)

    def _entries(self, declared: RecordRules, part: Part, path: Path) -> dict[int, Any]:
        """What the indexes of a record find, by the identity of the index."""
        found = {}
        for index, rule in declared.owned:
            table = self._tables.setdefault((rule, path), Table(ordered=rule.ordered))
            found[id(index)] = LiveEntries(index, rule, table, part.value, path)
        return found

    def close(self) -> None:
        """Forget everything that was derived."""
        self._tables = {}
        owned, self._owned = self._owned, {}
        for node, entries in owned.values():
            _forget(node, entries)


def _forget(node: object, entries: dict[int, Any]) -> None:
    live = indexes.LIVE.get(id(node))
    # Where records of a list have moved, it may be another path's by now.
    if live is not None and live[1] is entries:
        del indexes.LIVE[id(node)]


def _filled(rule: KeyRule, pairs: dict[Any, list[Place]]) -> Table:
    table = Table(ordered=rule.ordered)
    try:
        table.fill(pairs)
    except TypeError as error:
        raise ConstraintError(f"{rule.name} is ordered, and its keys can't be: {error}") from error
    return table


def _direct_pairs(rule: IndexRule, holder: Any) -> dict[Any, list[Place]]:
    """The keys of the records in one dict or list: what opening a large database waits for."""
    pairs: dict[Any, list[Place]] = {}
    keys_of, meant = rule.keys, rule.classes
    for place, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
        if type(value) in meant:
            try:
                keys = keys_of(value, ())
            except ConstraintError:
                keys = keys_of(value, rule.path((), place))  # for the message
            for key in keys:
                pairs.setdefault(key, []).append(place)
    return pairs


def _check_unique(rule: KeyRule, owner: Path, pairs: dict[Any, list[Place]]) -> None:
    if rule.unique:
        for key, places in pairs.items():
            if len(places) > 1:
                raise taken(rule, key, [rule.path(owner, place) for place in places])


def _of_draft(index: Index[Any, Any], record: Any) -> Any:
    if not is_draft(record):
        return None
    notes = getattr(root_of(record), "__cairn_notes__", None)
    return notes.entries(index, record, path_of(record)) if isinstance(notes, Changes) else None


indexes.of_draft = _of_draft
