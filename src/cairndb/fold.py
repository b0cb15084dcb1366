"""The untyped state: folds a log without the application's types, and streams checkpoints.

A node is opened only when a path goes through it; everything else stays encoded (`Raw`), as it was
written. An open map is an `OpenMap` of its decoded keys, an open list an `OpenList`, and a set,
which is an array in bytes, is opened by the ADD or DISCARD that names it as an `OpenSet`: by the
bytes of its elements. So the state encodes in one call: open nodes are builtins to msgspec, the
rest is copied.

Rules. It applies what `patch.Tree` applies, to the same effect: `kind.encode(tree.root)` and
`Fold.encode()` are the same bytes after every entry, and the tables of requests are the same. Like
there, all nodes are found before anything is changed, since paths address the state before the
entry. It refuses, with ValueError, what no correct writer makes, whatever the schema; what only the
schema could tell, it can't.

Bytes don't say whether a map is a record, which is whole or nothing, or a dict, which can come in
pieces. An operation does: MERGE, DELETE and a SET of a new key name dicts, SPLICE lists, ADD and
DISCARD sets. What has grown beyond a piece has grown by those, or was written as one value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from cairndb import codec
from cairndb.codec import ADD, BARRIER, DELETE, DISCARD, MERGE, REQUEST, SET, SPLICE
from cairndb.fold_nodes import OpenList, OpenMap, OpenSet, encode_node
from cairndb.fold_pieces import Pieces
from cairndb.kinds import DictKind, ListKind, RecordKind, SetKind
from cairndb.requests_stored import StoredRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cairndb.codec import Operation
    from cairndb.kinds import Kind

PIECE_BYTES = 1 << 20

Change = tuple["Callable[..., Any]", tuple[Any, ...]]


class Fold:
    """The state as bytes, by the operations of a log.

    Attributes:
        root: the open or encoded root; None until the first entry.
        requests: that were answered; a part of the state that no path leads to.
    """

    def __init__(self) -> None:
        self.root: Any = None
        self.requests = StoredRequests()

    @classmethod
    def of(cls, state: bytes, kind: Kind, piece_bytes: int = PIECE_BYTES) -> Fold:
        """A whole state that didn't come by operations, open where it is larger than a piece.

        Args:
            state: its canonical bytes.
            kind: of the root; tells records, which are whole, from dicts.
            piece_bytes: see `operations`.
        """
        fold = cls()
        fold.root = _open_large(Raw(state), kind, piece_bytes)
        return fold

    def apply(self, operations: Sequence[Operation]) -> None:
        """Apply one entry, whole or not at all.

        Args:
            operations: of one entry. Of a checkpoint: one at a time.

        Raises:
            ValueError: no correct writer made this; nothing has changed.
        """
        finder = _Finder(self)
        try:
            changes = [
                finder.change(each)
                if each.code < REQUEST or each is not operations[-1]
                else self.requests.change(each)
                for each in operations
            ]
        except RecursionError:
            raise ValueError("a path or a value is nested too deeply") from None
        if len(changes) > 1 and any(not each.path for each in operations if each.code == SET):
            raise ValueError("an entry that sets the root has other operations")
        for function, arguments in changes:
            function(*arguments)

    def encode(self) -> bytes:
        """The canonical bytes of the whole state."""
        return encode_node(self.root)

    def operations(self, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
        """All as encoded operations for a checkpoint, to be applied one at a time.

        Args:
            piece_bytes: as for `pieces`.
        """
        yield from self.pieces(piece_bytes)
        yield from self.requests.operations()

    def pieces(self, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
        """The root as encoded operations: what `operations` gives but for the requests.

        The first sets the root, with every dict, list and set that is larger than a piece cut to
        its first piece; MERGE, SPLICE and ADD bring the rest, parents before children. (The first
        piece stays, so that a min_length is met.)

        Args:
            piece_bytes: how large an operation may get, but for single values that are larger.
        """
        yield from Pieces(piece_bytes).operations(self.root)


class _Finder:
    """One `Fold.apply`: opens nodes, and finds what each operation will do to them."""

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        # By the id of a list that has been spliced: where the earliest of its splices begins.
        self.spliced: dict[int, int] = {}

    def change(self, each: Operation) -> Change:
        """The function that applies an operation, and its arguments."""
        code, path, argument = each.code, each.path, each.argument
        codec.check_depth(path)
        if code == SET and not path:
            return setattr, (self.fold, "root", _own(argument))
        if code == SET or (code == DELETE and path):
            node = self._find(path[:-1])
            return self._set(node, path[-1], argument) if code == SET else _delete(node, path[-1])
        if code == BARRIER:
            raise codec.barrier_error()
        node = self._find(path, is_set=code in {ADD, DISCARD})
        if code == SPLICE and type(node) is OpenList:
            return self._splice(node, argument)
        if code == MERGE and type(node) is OpenMap:
            return _merge(node, argument)
        if code in {ADD, DISCARD} and type(node) is OpenSet:
            elements = [bytes(element) for element in codec.open_list(argument)]
            if len(set(elements)) != len(elements):
                raise ValueError("an ADD or DISCARD has an element twice")
            writer: Any = set.update if code == ADD else set.difference_update
            return writer, (node.elements, elements)
        raise ValueError(f"operation {code} on something else than its kind of node")

    def _find(self, path: Sequence[Any], *, is_set: bool = False) -> Any:
        """The node at a path, with everything on the way opened."""
        holder: Any = self.fold
        step: Any = None
        node = self._opened(self.fold.root, is_set=is_set and not path)
        self.fold.root = node
        for depth, given in enumerate(path, 1):
            holder, step = node, given
            if type(holder) is OpenMap:
                step = _stored(holder, given)
                if step not in holder:
                    raise ValueError(f"there is no key {given!r:.100}")
            elif type(holder) is OpenList:
                self._check_position(holder, step)
            else:
                raise ValueError(f"a path leads through a set, by {given!r:.100}")
            node = self._opened(holder[step], is_set=is_set and depth == len(path))
            holder[step] = node
        return node

    def _opened(self, value: Any, *, is_set: bool) -> Any:
        """A node; opened if it isn't yet. Its place then has to hold the result."""
        if type(value) is not Raw:
            if value is None:
                raise ValueError("an operation before the first value of the root")
            return value
        try:
            if codec.is_map(value):
                return OpenMap(codec.open_map(value))
            if codec.is_array(value):
                parts = codec.open_list(value)
                return OpenSet(parts) if is_set else OpenList(parts)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        raise ValueError("a path leads through a value")

    def _check_position(self, node: OpenList, step: Any) -> None:
        if type(step) is not int or not 0 <= step < len(node):
            raise ValueError(f"{step!r:.100} isn't a position in a list of {len(node)}")
        if id(node) in self.spliced:
            raise ValueError("an operation on a list's element after its splice")

    def _set(self, node: Any, step: Any, argument: Raw) -> Change:
        if type(node) is OpenMap:
            return _put, (node, _stored(node, step), _own(argument))
        if type(node) is OpenList:
            self._check_position(node, step)
            return list.__setitem__, (node, step, _own(argument))
        raise ValueError(f"a SET of {step!r:.100} in a set")

    def _splice(self, node: OpenList, argument: Raw) -> Change:
        limit = self.spliced.get(id(node), len(node))
        start, count, encoded = codec.open_splice(argument, limit)
        self.spliced[id(node)] = start
        values = [_own(value) for value in codec.open_list(encoded)]
        return list.__setitem__, (node, slice(start, start + count), values)


def _stored(node: OpenMap, step: Any) -> Any:
    """The key that a step names, as it is stored; refuses one that is equal and not the same."""
    if type(step) is str:
        return step
    key = hashable(step)
    try:
        stored = codec.stored_key(node, key, key)
    except TypeError:
        raise ValueError(f"{step!r:.100} can't be a key") from None
    if stored is not key and codec.encode(stored) != codec.encode(key):
        raise ValueError(f"{key!r:.100} is stored here as {stored!r:.100}")
    return key


def hashable(step: Any) -> Any:
    """A step of an operation's path as a key: an array is a tuple."""
    return tuple([hashable(part) for part in step]) if isinstance(step, list) else step


def _put(node: OpenMap, key: Any, value: Raw) -> None:
    if key not in node:
        node.is_dict = True  # a record has all its fields, always
    node[key] = value


def _delete(node: Any, step: Any) -> Change:
    key = _stored(node, step) if type(node) is OpenMap else None
    if type(node) is not OpenMap or key not in node:
        raise ValueError(f"a DELETE of {step!r:.100}, which isn't a key of a dict here")
    return _remove, (node, key)


def _remove(node: OpenMap, key: Any) -> None:
    node.is_dict = True
    node.pop(key, None)


def _merge(node: OpenMap, argument: Raw) -> Change:
    items = codec.open_map(argument)
    if len(items) != codec.header_count(argument):
        raise ValueError("a MERGE has a key twice")
    for key in items:
        if type(key) is not str:
            _stored(node, key)
    return _update, (node, items)


def _update(node: OpenMap, items: dict[Any, Raw]) -> None:
    node.is_dict = True
    node.update(items)


def _own(value: Raw) -> Raw:
    # A Raw is a window that keeps its whole frame alive. A large one is most of its frame; and the
    # items of a MERGE, all of them state, share theirs.
    return value if len(memoryview(value)) > 1 << 16 else value.copy()


def _open_large(data: Raw, kind: Kind, limit: int) -> Any:
    """A value, opened along the containers that are larger than a limit."""
    if len(memoryview(data)) <= limit:
        return data
    if isinstance(kind, RecordKind):
        fields = codec.open_map(data)
        for name, field in kind.by_encode_name.items():
            fields[name] = _open_large(fields[name], field.kind, limit)
        return OpenMap(fields)
    if isinstance(kind, DictKind):
        node = OpenMap(codec.open_map(data))
        node.is_dict = True
        for key, value in node.items():
            node[key] = _open_large(value, kind.value, limit)
        return node
    if isinstance(kind, ListKind):
        return OpenList(_open_large(part, kind.item, limit) for part in codec.open_list(data))
    return OpenSet(codec.open_list(data)) if isinstance(kind, SetKind) else data
