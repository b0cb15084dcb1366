"""From a schema's kinds to its rules: which records have indexes, references and checks.

Called once, at open. Whatever is declared so that it can't work is refused before anything is read,
with every problem in one error.
"""

from __future__ import annotations

import types
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from cairndb.errors import SchemaError
from cairndb.index import Index
from cairndb.kinds import DictKind, FieldsKind, Kind, ListKind, RecordKind, UnionKind, reachable
from cairndb.notation import parse_path
from cairndb.pattern import MANY, ONE, Exact
from cairndb.record import CHECK_ATTRIBUTE
from cairndb.reference import Ref
from cairndb.rules_keys import IndexRule, KeyRule, ReferenceRule
from cairndb.rules_tree import Records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class RecordRules(Struct):
    """What is declared of one class of records."""

    name: str
    keys: list[KeyRule] = []
    """The indexes that its records are in, and its references."""
    checks: list[Callable[[Any], Any]] = []
    owned: list[tuple[Index[Any, Any], IndexRule]] = []


class Declared(Struct, dict=True):
    """All rules of a schema.

    Args:
        root: its kind.
        by_kind: what is declared of the records of each kind, by its identity.
        records: those of them.
        keys: every index and reference.
        by_index: those of indexes, by the identity of the index.
        targets: the dicts that references point into: path, and those references.
    """

    root: Kind
    by_kind: dict[int, RecordRules]
    records: Records
    keys: list[KeyRule]
    by_index: dict[int, IndexRule]
    targets: dict[tuple[Any, ...], list[ReferenceRule]]

    @cached_property
    def has_checks(self) -> bool:
        """Whether there are any."""
        return any(each.checks for each in self.by_kind.values())


def compile_rules(root: Kind) -> Declared | None:
    """Find what the classes of a schema declare.

    Args:
        root: compiled by `schema.compile_root`.

    Returns:
        None if there are no rules.

    Raises:
        SchemaError: with everything that is declared so that it can't work.
    """
    return _Compiler(root).run()


class _Compiler:
    """One compilation."""

    def __init__(self, root: Kind) -> None:
        self.root = root
        self.kinds = reachable(root)
        self.by_kind: dict[int, RecordRules] = {}
        self.rules: dict[int, IndexRule] = {}  # by the identity of the index
        self.references: list[ReferenceRule] = []
        self.problems: list[str] = []

    def run(self) -> Declared | None:
        for kind in self.kinds:
            if isinstance(kind, RecordKind):
                self._record(kind)
            elif isinstance(kind, FieldsKind):
                self._value(kind)
        if self.problems:
            lines = "\n".join(f"  {line}" for line in self.problems)
            raise SchemaError(f"these rules can't be kept:\n{lines}")
        if not self.by_kind:
            return None
        targets: dict[tuple[Any, ...], list[ReferenceRule]] = {}
        for rule in self.references:
            targets.setdefault(rule.target, []).append(rule)
        # The root needn't be looked for; it is looked at only if it has rules of its own.
        wanted = {
            kind
            for kind, each in self.by_kind.items()
            if each.keys or each.checks or kind != id(self.root)
        }
        keys: list[KeyRule] = [*self.rules.values(), *self.references]
        records = Records(wanted, _leading(self.kinds, wanted))
        return Declared(self.root, self.by_kind, records, keys, self.rules, targets)

    def of(self, kind: RecordKind) -> RecordRules:
        """The rules of the records of a kind."""
        return self.by_kind.setdefault(id(kind), RecordRules(kind.name))

    def _record(self, kind: RecordKind) -> None:
        for name, attribute in _attributes(kind.cls):
            if isinstance(attribute, Index):
                self._index(kind, attribute)
            elif getattr(attribute, CHECK_ATTRIBUTE, False) is True:
                self.of(kind).checks.append(getattr(kind.cls, name))
        for attribute_name, annotation in _annotations(kind.cls):
            self._field(kind, attribute_name, annotation)

    def _value(self, kind: FieldsKind) -> None:
        for name, attribute in _attributes(kind.cls):
            if isinstance(attribute, Index) or getattr(attribute, CHECK_ATTRIBUTE, False) is True:
                self.problems.append(
                    f"{kind.name}.{name}: indexes and checks are declared on a Record, and this is "
                    "a frozen class: declare them on the Record that it stands in"
                )
        for name, annotation in _annotations(kind.cls):
            if any(_references(annotation)):
                self.problems.append(
                    f"{kind.name}.{name}: a reference is a field of a Record, not of a frozen class"
                )

    # Indexes.

    def _index(self, owner: RecordKind, index: Index[Any, Any]) -> None:
        rule = self.rules.get(id(index))
        if rule is None:
            rule = IndexRule(index)
            self.rules[id(index)] = rule
        if owner is not self.root:
            rule.root_only = False
        rule.owners.add(id(owner))
        try:
            reached = list(_reached(owner, index.pattern.steps))
        except LookupError as error:
            self.problems.append(f"{index.name}: {error.args[0]}")
            return
        entries = [k for k in reached if isinstance(k, RecordKind) and _is(k, index.entry)]
        if not entries:
            found = ", ".join(kind.name for kind in reached) or "nothing"
            entry = getattr(index.entry, "__name__", index.entry)
            self.problems.append(
                f"{index.name}: under {index.pattern} stands {found}, and the index is declared of "
                f"{entry}, which has to be a Record class there"
            )
        rule.direct = _direct(owner, index.pattern.steps) if len(rule.owners) == 1 else None
        self.of(owner).owned.append((index, rule))
        for entry in entries:
            rule.kinds.add(id(entry))
            rule.classes.add(entry.cls)
            if rule not in self.of(entry).keys:
                self.of(entry).keys.append(rule)

    # References.

    def _field(self, kind: RecordKind, name: str, annotation: Any) -> None:
        found = list(_references(annotation))
        if not found:
            return
        where = f"{kind.name}.{name}"
        direct, many = _direct_reference(annotation)
        if len(found) > 1 or direct is None:
            self.problems.append(
                f"{where}: a reference is a field by itself, `| None` if need be, or the item of a "
                "list or set: Annotated[str, Ref(...)], list[Annotated[str, Ref(...)]]"
            )
            return
        target = tuple(parse_path(direct.target))
        problem = self._target_problem(target, kind.fields[name].kind, direct, many=many)
        if problem is not None:
            self.problems.append(f"{where}: {problem}")
            return
        rule = ReferenceRule(where, direct, name, target, many=many)
        rule.kinds.add(id(kind))
        self.references.append(rule)
        self.of(kind).keys.append(rule)

    def _target_problem(
        self, target: tuple[str, ...], held: Kind, reference: Ref, *, many: bool
    ) -> str | None:
        kind = self.root
        for step in target:
            inner = kind.by_encode_name.get(step) if isinstance(kind, RecordKind) else None
            if inner is None:
                return f"{reference.target} isn't a path of record fields from the root"
            kind = inner.kind
        if not isinstance(kind, DictKind):
            return f"{reference.target} is {kind.name}: a reference is a key of a dict"
        members = held.members if isinstance(held, UnionKind) else (held,)
        if many:
            members = (next(iter(held.children())),)
        names = [member.name for member in members if member.name != "None"]
        if names != [kind.key.name]:
            return f"it holds {held.name}, and the keys of {reference.target} are {kind.key.name}"
        if reference.on_delete == "clear" and not many and len(members) == len(names):
            return 'on_delete="clear" makes it None: declare it `| None`'
        return None


def _attributes(cls: type) -> Iterator[tuple[str, Any]]:
    """Every attribute of a class, the most derived one of each name."""
    seen: set[str] = set()
    for base in cls.__mro__:
        for name, attribute in vars(base).items():
            if name not in seen:
                seen.add(name)
                yield name, attribute


def _annotations(cls: type) -> Iterable[tuple[str, Any]]:
    fields: Iterable[str] = getattr(cls, "__struct_fields__", ())
    fields = fields or getattr(cls, "__dataclass_fields__", ())
    hints = get_type_hints(cls, localns=dict(vars(cls)), include_extras=True)
    return [(name, hints[name]) for name in fields]


def _references(annotation: Any) -> Iterator[Ref]:
    """The references anywhere in an annotation."""
    for argument in get_args(annotation):
        if isinstance(argument, Ref):
            yield argument
        else:
            yield from _references(argument)


def _direct_reference(annotation: Any) -> tuple[Ref | None, bool]:
    """The reference that a field is, and whether it has many; None if it is deeper inside."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        for each in arguments[1:]:
            if isinstance(each, Ref):
                return each, False
        return _direct_reference(arguments[0])
    if origin in {Union, types.UnionType}:
        others = [each for each in arguments if each is not type(None)]
        return _direct_reference(others[0]) if len(others) == 1 else (None, False)
    if origin in {list, set} and arguments:
        inner, many = _direct_reference(arguments[0])
        return (None, False) if many else (inner, True)
    return None, False


def _is(kind: RecordKind, entry: Any) -> bool:
    return issubclass(kind.cls, get_origin(entry) or entry)


def _members(kind: Kind) -> tuple[Kind, ...]:
    return kind.members if isinstance(kind, UnionKind) else (kind,)


def _reached(owner: Kind, steps: tuple[Exact | str, ...]) -> Iterator[Kind]:
    """The kinds that can stand where a pattern leads from an owner.

    Raises:
        LookupError: nothing can stand there, with the reason.
    """
    current: list[Kind] = [owner]
    for step in steps:
        if step == MANY:
            current = [inner for kind in current for inner in reachable(kind)]
            continue
        following = [k for kind in current for m in _members(kind) for k in _below(m, step)]
        if not following:
            shown = step.text if isinstance(step, Exact) else step
            names = " or ".join(kind.name for kind in current)
            raise LookupError(f"there is no {shown!r} in {names}")
        current = following
    seen: dict[int, Kind] = {id(m): m for kind in current for m in _members(kind)}
    yield from seen.values()


def _below(kind: Kind, step: Exact | str) -> list[Kind]:
    if isinstance(kind, RecordKind):
        if step == ONE:
            return [each.kind for each in kind.fields.values()]
        inner = kind.by_encode_name.get(step.text) if isinstance(step, Exact) else None
        return [] if inner is None else [inner.kind]
    if isinstance(kind, DictKind):
        return [kind.value]
    return [kind.item] if isinstance(kind, ListKind) else []


def _direct(owner: RecordKind, steps: tuple[Exact | str, ...]) -> str | None:
    """The attribute that holds all records of an index, where that is all there is to its path."""
    if len(steps) == 2 and isinstance(steps[0], Exact) and steps[1] == ONE:
        holder = owner.by_encode_name[steps[0].text]
        if isinstance(holder.kind, DictKind | ListKind):
            return holder.name
    return None


def _leading(kinds: list[Kind], wanted: set[int]) -> set[int]:
    """The kinds from which a wanted one is reached."""
    leading = set(wanted)
    changed = True
    while changed:
        changed = False
        for kind in kinds:
            if id(kind) not in leading and any(id(each) in leading for each in kind.children()):
                leading.add(id(kind))
                changed = True
    return leading
