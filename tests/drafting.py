"""A tree beside its untyped fold: what a test of drafts commits goes the way of a real commit."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cairndb import codec, draft
from cairndb.fold import Fold
from cairndb.patch import (
    ADD,
    DELETE,
    DISCARD,
    MERGE,
    SET,
    SPLICE,
    Operation,
    Tree,
    decode_entry,
    encode_entry,
    operation,
)
from cairndb.schema import compile_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAMES = {
    SET: "set",
    DELETE: "delete",
    SPLICE: "splice",
    ADD: "add",
    DISCARD: "discard",
    MERGE: "merge",
}


class Bench:
    """A state that only `update` changes.

    Args:
        root_type: the declared type of the root.
        root: its first value.
        guard: as at open.
    """

    def __init__(self, root_type: Any, root: Any, *, guard: bool = True) -> None:
        self.kind = compile_root(root_type, guard=guard)
        self.tree = Tree(self.kind)
        self.fold = Fold()
        self.patch: list[tuple[str, str, Any]] = []
        self.commit([operation(SET, (), self.kind.encode(self.kind.copy(root, 0)))])

    @property
    def root(self) -> Any:
        """The state, as views show it."""
        return self.tree.root

    @property
    def plain(self) -> Any:
        """A plain copy of the state."""
        return draft.plain(self.tree.root)

    def encoded(self) -> bytes:
        """The canonical bytes of the state."""
        return self.kind.encode(self.tree.root)

    def commit(self, operations: Sequence[Operation]) -> None:
        """Take operations to bytes and back, into the tree and into the fold, and compare."""
        entry = decode_entry(encode_entry(0, operations))
        self.tree.apply(self.tree.resolve(entry.operations))
        self.fold.apply(entry.operations)
        assert self.fold.encode() == self.encoded()

    @contextmanager
    def update(self) -> Iterator[Any]:
        """A draft of the root; at the end its patch is committed, and `patch` shows it."""
        before = self.encoded()
        root = draft.open_draft(self.kind, self.tree.root)
        try:
            yield root
            self.finish(root, before)
        finally:
            draft.close(root)

    def finish(self, root: Any, before: bytes) -> None:
        """Commit what a draft shows, and compare it with what was stored.

        Args:
            root: the draft.
            before: the bytes of the state when it was opened.
        """
        shown = self.kind.encode(draft.plain(root))
        operations = draft.collect(root)
        assert self.encoded() == before, "a draft touched the state"
        assert bool(operations) == (shown != before), "operations without an effect"
        self.patch = [self.readable(each) for each in operations]
        if operations:
            self.commit(operations)
        assert self.encoded() == shown, "what was stored isn't what the draft showed"

    @contextmanager
    def dropped(self) -> Iterator[Any]:
        """A draft that is never collected."""
        before = self.encoded()
        root = draft.open_draft(self.kind, self.tree.root)
        try:
            yield root
        finally:
            draft.close(root)
            assert self.encoded() == before, "a draft touched the state"

    @staticmethod
    def readable(each: Operation) -> tuple[str, str, Any]:
        """An operation as (name, path, argument)."""
        steps = [codec.decode(codec.encode(step)) for step in each.path]
        path = "/" + "/".join(map(str, steps))
        return NAMES[each.code], path, codec.decode(each.argument)
