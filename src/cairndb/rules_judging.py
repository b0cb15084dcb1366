"""The end of an update's block: whether the rules allow what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cairndb import rules_references as references
from cairndb.errors import ConstraintError, UsageError, pointer

if TYPE_CHECKING:
    from cairndb.errors import Path
    from cairndb.index_table import Delta
    from cairndb.rules_changes import Changes
    from cairndb.rules_keys import KeyRule
    from cairndb.rules_tree import Part


def judge(changes: Changes) -> None:
    """Decide whether the rules allow an update; delete and clear what follows deletions.

    Args:
        changes: all that the block did.

    Raises:
        ConstraintError: they don't, or the application's code raises.
        UsageError: a check changed something.
    """
    changes.look()
    while references.follow(changes):
        changes.look()
    written = len(changes.notes)
    if changes.declared.has_checks:
        for path, part in changes.records.items():
            if part is not None:
                _check(changes, path, part)
    for (rule, owner), delta in changes.deltas.items():
        _judge_keys(rule, owner, delta)
    references.judge(changes)
    if len(changes.notes) > written:
        draft, _ = changes.notes[written]
        raise UsageError(
            f"a check or a key function changed a {type(draft).__name__}, and the update has "
            "ended: they only look; change it in the block, or in an @cairndb.update method"
        )


def _check(changes: Changes, path: Path, part: Part) -> None:
    declared = changes.declared.by_kind.get(id(part.kind))
    for check in () if declared is None else declared.checks:
        name = getattr(check, "__qualname__", repr(check))
        try:
            passed = check(part.value)
        except MemoryError:
            raise
        except Exception as error:
            reason = f"{pointer(path)}: {name} raised {type(error).__name__}: {error}"
            raise ConstraintError(reason, [path]) from error
        if passed is False:
            raise ConstraintError(f"{pointer(path)}: {name} is false", [path])


def _judge_keys(rule: KeyRule, owner: Path, delta: Delta) -> None:
    try:
        delta.check_order()
    except TypeError as error:
        raise ConstraintError(f"{rule.name} is ordered, and new keys can't be: {error}") from error
    if rule.unique:
        for key, _ in delta.added():
            places = delta.at(key)
            if len(places) > 1:
                raise taken(rule, key, [rule.path(owner, place) for place in places])


def taken(rule: KeyRule, key: Any, paths: list[Path]) -> ConstraintError:
    """The error of a unique key that several records have."""
    shown = " and ".join(pointer(path) for path in paths[:3])
    return ConstraintError(f"{rule.name} is unique, and {shown} both have {key!r:.100}", paths)
