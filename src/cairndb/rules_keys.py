"""What gives records keys that others must not have, or must: indexes and references, compiled.

A `KeyRule` says where its records stand and which keys each has. Its tables are kept per *owner*,
the record that the paths of an index begin at; of a reference that is always the root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cairndb.errors import ConstraintError, pointer
from cairndb.pattern import MANY, ONE, Exact, stored_step
from cairndb.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cairndb.errors import Path
    from cairndb.index import Index
    from cairndb.index_table import Keys, Place
    from cairndb.reference import Ref


class KeyRule:
    """Where the records of an index or a reference stand, and which keys they have.

    Args:
        name: for messages.
        unique: whether no two records of one owner may have the same key.
        ordered: whether keys are compared.

    Attributes:
        kinds: the kinds of its records, by identity.
        classes: their classes.
        owners: the kinds of the records that own one.
        root_only: whether the root alone does.
    """

    def __init__(self, name: str, *, unique: bool = False, ordered: bool = False) -> None:
        self.name = name
        self.unique = unique
        self.ordered = ordered
        self.kinds: set[int] = set()
        self.classes: set[type] = set()
        self.owners: set[int] = set()
        self.root_only = True

    def places(self, path: Path) -> Iterator[tuple[Path, Place]]:
        """The owners that a path can be seen from, each with the place that it is from there."""
        raise NotImplementedError

    def path(self, owner: Path, place: Place) -> Path:
        """The path of a place from the root."""
        raise NotImplementedError

    def extract(self, value: Any) -> Any:
        """The keys of a record, as the application's function makes them."""
        raise NotImplementedError

    def keys(self, value: Any, path: Path) -> Keys:
        """The keys of a record, without repetition.

        Args:
            value: live, a draft, or a plain record.
            path: of it, for messages.

        Raises:
            ConstraintError: the application's function raises, or makes what can't be a key.
        """
        try:
            keys = self.extract(value)
            for key in keys:
                hash(key)
                if key != key:  # noqa: PLR0124  NaN; drafts of nodes can't be hashed
                    raise ValueError(f"{key!r:.100} can't be a key")  # noqa: TRY301
            return keys if len(keys) < 2 else tuple(dict.fromkeys(keys))
        except MemoryError:
            raise
        except Exception as error:
            raise ConstraintError(
                f"{pointer(path)}: {self.name} gets no key: {type(error).__name__}: {error}", [path]
            ) from error


class IndexRule(KeyRule):
    """An index. Its places are what the wildcards of the pattern stand for.

    Args:
        index: as it is declared.

    Attributes:
        direct: the attribute of the owner that holds all records, if it is as simple as that.
    """

    def __init__(self, index: Index[Any, Any]) -> None:
        super().__init__(index.name, unique=index.unique, ordered=index.ordered)
        self._pattern = index.pattern
        self._steps = steps = index.pattern.steps
        self._extract = _extractor(index)
        self._deep = MANY in steps
        self._wild = [at for at, step in enumerate(steps) if step == ONE]
        self._exact = [
            (at, step.meanings) for at, step in enumerate(steps) if isinstance(step, Exact)
        ]
        self._single = len(self._wild) == 1 and not self._deep
        self.direct: str | None = None

    def places(self, path: Path) -> Iterator[tuple[Path, Place]]:
        """As `KeyRule.places` says."""
        if self._deep:
            for start in range(1 if self.root_only else len(path) + 1):
                if self._pattern.matches(path[start:]):
                    yield path[:start], path[start:]
            return
        start = len(path) - len(self._steps)
        if start < 0 or (start and self.root_only):
            return
        for at, meanings in self._exact:
            if stored_step(path[start + at]) not in meanings:
                return
        if self._single:
            yield path[:start], path[start + self._wild[0]]
        else:
            yield path[:start], tuple(path[start + at] for at in self._wild)

    def path(self, owner: Path, place: Place) -> Path:
        """As `KeyRule.path` says."""
        if self._deep:
            return (*owner, *place)
        wild = iter((place,) if self._single else place)
        steps = (step.text if isinstance(step, Exact) else next(wild) for step in self._steps)
        return (*owner, *steps)

    def extract(self, value: Any) -> Any:
        """As `KeyRule.extract` says."""
        return self._extract(value)

    def reach(self, owner: Any, place: Place) -> Any:
        """The record at a place, from its owner: both live, or both drafts."""
        if self.direct is not None:
            return getattr(owner, self.direct)[place]
        node = owner
        if self._deep:
            for step in place:
                node = _down(node, step)
            return node
        wild = iter((place,) if self._single else place)
        for step in self._steps:
            node = _down_to(node, step) if isinstance(step, Exact) else _down(node, next(wild))
        return node


def _extractor(index: Index[Any, Any]) -> Callable[[Any], Any]:
    key, keys, where = index.key, index.keys, index.where
    if key is not None and where is None:
        return lambda value: (key(value),)
    if key is not None:
        return lambda value: (key(value),) if where(value) else ()  # type: ignore[misc]  # asked above
    if where is None:
        return lambda value: tuple(keys(value))  # type: ignore[misc]  # one of the two is there
    return lambda value: tuple(keys(value)) if where(value) else ()  # type: ignore[misc]  # as above


class ReferenceRule(KeyRule):
    """A field that holds a key, or several. Its places are whole paths.

    Args:
        name: for messages.
        reference: as it is declared.
        attribute: the field.
        target: the path of the dict that the keys are of.
        many: whether the field is a list or a set of them.
    """

    def __init__(
        self, name: str, reference: Ref, attribute: str, target: Path, *, many: bool
    ) -> None:
        super().__init__(name)
        self.on_delete = reference.on_delete
        self.attribute = attribute
        self.target = target
        self.many = many

    def places(self, path: Path) -> Iterator[tuple[Path, Place]]:
        """As `KeyRule.places` says."""
        yield (), path

    def path(self, owner: Path, place: Place) -> Path:
        """As `KeyRule.path` says."""
        del owner
        path: Path = place
        return path

    def extract(self, value: Any) -> Any:
        """As `KeyRule.extract` says."""
        held = getattr(value, self.attribute)
        if held is None:
            return ()
        return tuple(held) if self.many else (held,)


def _down(node: Any, step: Any) -> Any:
    if isinstance(node, Record):
        return getattr(node, node.__struct_fields__[node.__struct_encode_fields__.index(step)])
    return node[step]


def _down_to(node: Any, step: Exact) -> Any:
    if isinstance(node, Record):
        return _down(node, step.text)
    return node[next(key for key in step.meanings if key in node)]
