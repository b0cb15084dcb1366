"""What the four kinds of draft share: a place in the tree, a state, and who knows whom.

A draft shows a node of the tree with the changes of one update laid over it, and touches neither
the state nor a value that was assigned. Rules:

- A draft is CLEAN until its first write, which makes it and all drafts above it WRITTEN (`touch`)
  and known to its parent, so that collecting visits only what changed.
- A parent knows a clean child weakly: two looks at a place give one draft, a scan of a million keys
  keeps none. A written child is held. A child holds its parent, so whatever draft is alive is
  reached from the root; `close` and `bury` rely on it. (A record's own few children are held by it:
  they are no more than its fields.)
- A draft whose node was removed or replaced is REMOVED, with all below it (`bury`): it goes on
  showing what it showed; a write would be lost, so it raises.
- Where rules want to know what an update changes, its root has notes, and what is written is NOTED
  instead of WRITTEN: so every write comes by `touch`, and is noted with its draft and key.
- A draft that has ended is of another class (`Ended`), where every access raises: no operation has
  to ask whether the update is still on.

Attributes that other classes look at are named `__cairn_…__`, because a record's draft has its
user's fields and methods for neighbours.
"""

from __future__ import annotations

import weakref
from types import NoneType
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Raw

from cairndb.errors import StaleDraft, ValidationError
from cairndb.kinds_base import DEPTH_MAX, TOO_DEEP

if TYPE_CHECKING:
    from cairndb.errors import Path
    from cairndb.kinds import Kind
    from cairndb.patch import Operation

CLEAN, WRITTEN, REMOVED, NOTED = range(4)

ANY_KEY: Any = object()
"""Noted for a write that may have changed whatever is in a container."""

GONE = (
    "the node of this draft was removed or replaced in this update, so writing to it would be "
    "lost. Take what is there now from the root again, or assign this one where it shall stand"
)

Note = tuple["Draft", Any]
"""A draft that was written to, and the key or field; `ANY_KEY` for whatever is in it."""


class Notes(Protocol):
    """Where writes are noted: a list, say."""

    def append(self, note: Note, /) -> None:
        """Take one."""


STEP_TYPES = frozenset({NoneType, bool, int, float, str, bytes})


class Draft(Protocol):
    """What every draft has, records' drafts too."""

    __cairn_base__: Any  # what the overlay lies on: a node of the state, or a value assigned
    __cairn_parent__: Draft | None  # set once
    __cairn_key__: Any  # what the parent calls this place: field name, key, identity of an element
    __cairn_depth__: int  # steps from the root
    __cairn_state__: int  # CLEAN, WRITTEN, REMOVED, NOTED
    __cairn_notes__: Notes  # of a root that is NOTED

    @property
    def __cairn_kind__(self) -> Kind:
        """Of the node: never a union."""

    def __cairn_mark__(self, state: int) -> None:
        """Set the state."""

    def __cairn_keep__(self, key: Any, child: Draft) -> None:
        """Hold a child that was written."""

    def __cairn_hide__(self, child: Draft) -> None:
        """Know a removed child, so that it ends with the rest."""

    def __cairn_live__(self) -> list[Draft]:
        """Every child draft that is alive, removed ones too."""

    def __cairn_step__(self, key: Any) -> Any:
        """The step of a path that a key stands for, as people read it."""

    def __cairn_peek__(self, step: Any) -> Any:
        """What stands at a step, without making a draft: that of a written child, or a value."""

    def __cairn_merged__(self) -> Any:
        """What is shown now as a plain node that shares what didn't change: to encode only."""

    def __cairn_plain__(self) -> Any:
        """What is shown now as a plain node of its own."""

    def __cairn_collect__(self, path: list[Any], operations: list[Operation]) -> None:
        """Append the operations that turn the base into what is shown."""

    def __cairn_end__(self, alive: list[Draft]) -> None:
        """Become a draft that raises at every access, if anybody can still have it.

        Args:
            alive: is given the children that somebody may still have.
        """


class ChildReference(weakref.ref[Any]):
    """A weak reference that leaves the table it stands in when its draft is gone."""

    __slots__ = ("key", "table")

    key: Any
    table: dict[Any, ChildReference]


def _forget(reference: ChildReference) -> None:
    if reference.table.get(reference.key) is reference:
        del reference.table[reference.key]


def refer(table: dict[Any, ChildReference], key: Any, child: Draft) -> None:
    """Enter a draft under a key of a table, weakly."""
    reference = ChildReference(child, _forget)
    reference.key = key
    reference.table = table
    table[key] = reference


def is_draft(value: Any) -> bool:
    """Whether a value is a draft, by its type alone."""
    return hasattr(type(value), "__cairn_plain__")


def touch(draft: Draft, key: Any = ANY_KEY) -> None:
    """Make a draft ready for a write: it and every draft above it count as written from here on.

    Args:
        draft: that is going to be written to.
        key: what of it, if it is one key or field.
    """
    if draft.__cairn_state__ == REMOVED:
        raise StaleDraft(GONE)
    if draft.__cairn_depth__ >= DEPTH_MAX:
        # `copy` counts the levels of a value below it; that the value itself may stand so deep,
        # even if nothing is below it, only the draft can tell.
        raise ValidationError(TOO_DEEP, path_of(draft))
    clean: list[Draft] = []
    above: Draft | None = draft
    while above is not None and above.__cairn_state__ == CLEAN:
        clean.append(above)
        above = above.__cairn_parent__
    mark = WRITTEN
    if above is not None and above.__cairn_state__ == NOTED:
        mark = NOTED
        root_of(above).__cairn_notes__.append((draft, key))
    # From above, the draft itself last: wherever this is interrupted, a write that is made again
    # comes by here again.
    for each in reversed(clean):
        parent = each.__cairn_parent__
        if parent is not None:
            parent.__cairn_keep__(each.__cairn_key__, each)
        each.__cairn_mark__(mark)


def root_of(draft: Draft) -> Draft:
    """The root's draft."""
    while (parent := draft.__cairn_parent__) is not None:
        draft = parent
    return draft


def bury(parent: Draft, child: Draft) -> None:
    """Mark a draft and every live one below it as REMOVED."""
    parent.__cairn_hide__(child)
    stack = [child]
    while stack:
        draft = stack.pop()
        draft.__cairn_mark__(REMOVED)
        stack.extend(draft.__cairn_live__())


def path_of(draft: Draft) -> Path:
    """The path of a draft as it stands now, for messages."""
    steps: list[Any] = []
    parent = draft.__cairn_parent__
    while parent is not None:
        steps.append(parent.__cairn_step__(draft.__cairn_key__))
        draft, parent = parent, parent.__cairn_parent__
    return tuple(reversed(steps))


def copied(draft: Draft, kind: Kind, value: Any, step: Any) -> Any:
    """A value assigned below a draft, checked and copied; an error carries the whole path."""
    try:
        return kind.copy(value, draft.__cairn_depth__ + 1)
    except ValidationError as error:
        raise located(error, draft, step) from None


def located(error: ValidationError, draft: Draft, step: Any) -> ValidationError:
    """The error of a value that was to stand at a step below a draft, with its whole path."""
    return error.under((*path_of(draft), step))


def copied_key(draft: Draft, kind: Kind, key: Any) -> Any:
    """A new dict key or set element, checked and copied; an error names it and its container."""
    try:
        return kind.copy(key, draft.__cairn_depth__ + 1)
    except ValidationError as error:
        raise ValidationError(f"key {key!r:.100}: {error.reason}", path_of(draft)) from None


def merged(value: Any) -> Any:
    """What a child draft shows, as a plain node; a value is itself."""
    return value.__cairn_merged__() if is_draft(value) else value


def written_step(kind: Kind, key: Any) -> Any:
    """A dict key as a step of an operation's path: itself, or its bytes if of another type."""
    return key if type(key) in STEP_TYPES else Raw(kind.encode(key))
