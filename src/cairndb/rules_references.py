"""What becomes of references when what they refer to is deleted, and whether all lead somewhere.

Deleting what refers to something deleted, or clearing the reference, is done to the draft, as if
the block had done it: so it is in the same patch, and may itself have consequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cairndb.errors import ConstraintError, Path, pointer
from cairndb.kinds import DictKind, ListKind
from cairndb.rules_tree import find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cairndb.rules_changes import Changes
    from cairndb.rules_keys import KeyRule, ReferenceRule


def follow(changes: Changes) -> bool:
    """Do what is declared for the deletions that there are; whether anything was done.

    Raises:
        ConstraintError: a key that is referred to was deleted, and that isn't allowed; or what
            refers to it can't be deleted.
    """
    done = False
    for target, keys in changes.gone.items():
        there, before = find(changes.now, target), find(changes.before, target)
        gone, keys_then = list(keys), () if before is None else before.value
        keys.clear()
        for key in gone:
            if key in keys_then and (there is None or key not in there.value):
                for rule in changes.declared.targets[target]:
                    done = _follow_one(changes, rule, key, target) or done
    return done


def _follow_one(changes: Changes, rule: ReferenceRule, key: Any, target: Path) -> bool:
    changes.look()  # what was deleted for another reference, or has moved up in its list
    paths = [*changes.delta(rule, ()).at(key)]
    if not paths:
        return False
    if rule.on_delete == "refuse":
        shown = ", ".join(map(pointer, paths[:3])) + (", …" if len(paths) > 3 else "")
        raise ConstraintError(
            f"{pointer((*target, key))} can't be deleted: {rule.name} refers to it at {shown}",
            [(*target, key), *paths],
        )
    # From the back: so that positions in lists stay what they are.
    for path in sorted(paths, key=_from_the_back, reverse=True):
        if rule.on_delete == "cascade":
            _delete(changes, rule, path)
        else:
            _clear(changes, rule, path, key)
    return True


def _from_the_back(path: Path) -> list[tuple[bool, Any]]:
    return [(True, step) if type(step) is int else (False, "") for step in path]


def _draft_at(changes: Changes, path: Path) -> Any:
    """The draft of a node, made if it isn't there yet."""
    node = changes.now.value
    for step in path:
        kind = node.__cairn_kind__
        if isinstance(kind, DictKind | ListKind):
            node = node[step]
        else:
            node = getattr(node, kind.by_encode_name[step].name)
    return node


def _delete(changes: Changes, rule: ReferenceRule, path: Path) -> None:
    holder = _draft_at(changes, path[:-1])
    kind = holder.__cairn_kind__
    if isinstance(kind, DictKind | ListKind):
        del holder[path[-1]]
        return
    name = kind.by_encode_name[path[-1]].name
    try:
        setattr(holder, name, None)
    except Exception as error:
        raise ConstraintError(
            f"{pointer(path)} refers to what is deleted ({rule.name}, cascade), and can't be None",
            [path],
        ) from error


def _clear(changes: Changes, rule: ReferenceRule, path: Path, key: Any) -> None:
    record = _draft_at(changes, path)
    if not rule.many:
        setattr(record, rule.attribute, None)
        return
    held = getattr(record, rule.attribute)
    while key in held:
        held.remove(key)


def judge(changes: Changes) -> None:
    """Raise ConstraintError if a reference that is new leads nowhere."""
    for target, rules in changes.declared.targets.items():
        there = find(changes.now, target)
        for rule in rules:
            delta = changes.deltas.get((rule, ()))
            for key, paths in () if delta is None else delta.added():
                if there is None or key not in there.value:
                    raise dangling(rule, key, paths)


def dangling(rule: KeyRule, key: Any, paths: Iterable[Path]) -> ConstraintError:
    """The error of a reference that leads nowhere."""
    paths = list(paths)
    target = rule.target  # type: ignore[attr-defined]  # of a reference
    shown = ", ".join(map(pointer, paths[:3]))
    return ConstraintError(
        f"{shown}: {rule.name} refers to {pointer((*target, key))}, which isn't there", paths
    )
