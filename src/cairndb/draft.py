"""Drafts: what an update's block gets for the root, and what becomes of it.

A draft looks like the node that it stands for, records changes and touches nothing (draft_base.py
has the rules, draft_record.py to draft_set.py the four kinds). At the end of the block, `collect`
turns what differs into operations, in the grammar of patch.py:

- Only net effects: two values differ if their canonical bytes do.
- Every path addresses the state before the patch, so a node's child operations precede its own
  splices, and the splices of one list run from the back.
- Whatever is new is one operation with its whole value, drafts below it included.

Then `close` ends every draft that anybody may still have: those that are alive are all reached from
the root, because a draft holds its parent and a parent knows its live children.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cairndb.draft_base import CLEAN
from cairndb.draft_container import note_in
from cairndb.draft_dict import DictDraft
from cairndb.draft_list import ListDraft
from cairndb.draft_record import make_record_draft
from cairndb.draft_set import SetDraft
from cairndb.kinds import DictKind, ListKind, RecordKind, SetKind
from cairndb.record import plain

if TYPE_CHECKING:
    from cairndb.draft_base import Notes
    from cairndb.kinds import Kind
    from cairndb.patch import Operation

__all__ = ["close", "collect", "open_draft", "plain"]

# Set here, because each kind of draft makes children of every other.
RecordKind.draft_maker = staticmethod(make_record_draft)
DictKind.draft_maker = DictDraft
ListKind.draft_maker = ListDraft
SetKind.draft_maker = SetDraft


def open_draft(kind: Kind, state: Any, notes: Notes | None = None) -> Any:
    """The draft of the root for one update.

    Args:
        kind: the kind of the root.
        state: the root; it is never changed by the draft.
        notes: where every write is noted; None for nowhere.

    Returns:
        A draft: to be typed as the root itself.
    """
    draft: Any = kind.draft_maker(kind, state, None, None)
    if notes is not None:
        note_in(draft, notes)
    return draft


def collect(root: Any) -> list[Operation]:
    """The net effects of what was done to a root's draft and all below it.

    Args:
        root: what `open_draft` gave.

    Returns:
        Operations for one entry; none if nothing differs.

    Raises:
        ValidationError: a container is longer or shorter than its declaration allows.
    """
    operations: list[Operation] = []
    if root.__cairn_state__ != CLEAN:
        root.__cairn_collect__([], operations)
    return operations


def close(root: Any) -> None:
    """End a root's draft and every draft below it: each access raises StaleDraft from now on.

    Args:
        root: what `open_draft` gave.
    """
    alive = [root]
    while alive:
        # In this form: who asks for its references counts on it.
        alive.pop().__cairn_end__(alive)
