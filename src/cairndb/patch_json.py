"""An entry of the log as a JSON object: what `cairn log --json` prints, and the server sends."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from cairndb import codec
from cairndb.notation import path_text, to_json
from cairndb.patch import ADD, BARRIER, DELETE, DISCARD, MERGE, REQUEST, SET, SPLICE
from cairndb.requests_stored import answered

if TYPE_CHECKING:
    from cairndb.patch import Entry, Operation
    from cairndb.requests import RequestId

OPERATION_NAMES = {
    SET: "set",
    DELETE: "delete",
    SPLICE: "splice",
    ADD: "add",
    DISCARD: "discard",
    MERGE: "merge",
    BARRIER: "barrier",
}


def entry_json(lsn: int, entry: Entry) -> dict[str, Any]:
    """An update as `--json` shows it.

    Args:
        lsn: its number.
        entry: what it changed.
    """
    shown = heading_json(lsn, entry)
    shown["operations"] = [_operation_json(operation) for operation in operations_of(entry)]
    return shown


def operations_of(entry: Entry) -> list[Operation]:
    """What an entry does to the tree; which request it answers its heading tells, if any."""
    return [operation for operation in entry.operations if operation.code != REQUEST]


def heading_json(lsn: int, entry: Entry) -> dict[str, Any]:
    """Which update it is, without what it changed."""
    shown: dict[str, Any] = {"lsn": lsn, "time": moment_of(entry).isoformat()}
    if entry.call:
        call = entry.call
        shown["call"] = {
            "name": call.name,
            "args": to_json(call.args),
            "kwargs": to_json(call.kwargs),
        }
    if entry.operations and entry.operations[-1].code == REQUEST:
        request, _ = answered(entry.operations[-1])
        shown["request"] = {"session": _session_name(request), "sequence": request.sequence}
    return shown


def _session_name(request: RequestId) -> str:
    """A session as it may be shown: who knows its nonce could ask in its name."""
    nonce = request.nonce.to_bytes(8, "big")
    return f"{request.born}-{blake2b(nonce, digest_size=4).hexdigest()}"


def moment_of(entry: Entry) -> datetime:
    """When an update was made, in UTC."""
    return datetime.fromtimestamp(entry.time / 1e6, UTC)


def _operation_json(operation: Operation) -> dict[str, Any]:
    shown = {"do": OPERATION_NAMES[operation.code], "path": path_text(operation.path)}
    argument = to_json(codec.decode(operation.argument))
    if operation.code == SPLICE:
        start, deleted, inserted = argument
        return shown | {"start": start, "deleted": deleted, "inserted": inserted}
    if operation.code in {DELETE, BARRIER}:
        return shown
    if operation.code in {ADD, DISCARD}:
        return shown | {"elements": argument}
    return shown | {"items" if operation.code == MERGE else "value": argument}
