"""An item of a watch as a JSON object: what `cairn watch --json` prints, and the server sends.

Its values are those of an untyped watch, which look as they are stored; see `notation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cairndb.notation import to_json

if TYPE_CHECKING:
    from cairndb.watch_items import Change, ValueChange


def item_json(item: Change) -> dict[str, Any]:
    """An item of an untyped watch, as what `json.dumps` takes.

    Args:
        item: what a watch gave.

    Returns:
        `kind`, `lsn`, `position`; `time` and `call` if they are known; and `changes` but for a
        bookmark, each with its `path`, and the value `before` and `after` where there is one.
    """
    shown: dict[str, Any] = {"kind": item.kind, "lsn": item.lsn, "position": item.position}
    if item.time:
        shown["time"] = item.time.isoformat()
    if item.call:
        shown["call"] = item.call
    if item.kind != "bookmark":
        shown["changes"] = [_change_json(change) for change in item.changes]
    return shown


def _change_json(change: ValueChange) -> dict[str, Any]:
    shown: dict[str, Any] = {"path": change.pointer}
    if change.kind != "added":
        shown["before"] = to_json(change.before)
    if change.kind != "removed":
        shown["after"] = to_json(change.after)
    return shown
