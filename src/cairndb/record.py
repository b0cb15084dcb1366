"""What users declare and what they are shown: `Record`, the guarded containers, `plain`, marks.

The rule of this module: **what a view shows can't be changed.** A Record refuses assignment, and
the dicts, lists and sets of the state are subclasses of the builtins whose mutators refuse. They
add no slot and override no reader, so that reading runs at the builtins' own speed and C code
(json, sorted, `dict(...)`) sees what it knows. What they can't stop is C code that writes past the
methods: `dict.__setitem__(d, ...)`, `heapq`. cairndb itself writes that way, and only in
`patch.Tree.apply` and `patch_replay`.

Whatever makes a copy (copy, deepcopy, pickle, `|`, `+`) gives plain builtins: a copy is the user's
own. A Record stays a Record, and read-only, when it is fresh, copied or popped:
`msgspec.structs.replace` makes a changed one.

Drafts are recognised here, below their layer, by the method `__cairn_plain__` of their type.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, Never, ParamSpec, TypeVar

import msgspec
from msgspec.structs import force_setattr

from cairndb.errors import ReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

MODE_ATTRIBUTE = "__cairn_mode__"
CHECK_ATTRIBUTE = "__cairn_check__"


def _refuse_field(record: Record, name: str, *_: object) -> Never:
    raise ReadOnlyError(
        f"{type(record).__name__}.{name} can't be changed here: change it inside an update, on "
        f"what is reached from the root of `with db.update() as root: ...`; outside of one, "
        f"`msgspec.structs.replace(record, {name}=...)` makes a changed copy"
    )


def _refuse(container: object, *_: object, **__: object) -> Never:
    kind = type(container).__bases__[0].__name__
    raise ReadOnlyError(
        f"this {kind} is part of the database and can't be changed here: change it inside an "
        f"update, reached from the root of `with db.update() as root: ...`; "
        f"`{kind}(value)` makes a copy"
    )


class Record(msgspec.Struct):
    """The base of the records that users declare: a typed node of the tree.

    Raises:
        ReadOnlyError: on assignment and deletion of an attribute, but through an update's draft.
    """

    # To type checkers the fields are assignable, as a draft is typed as the record; and a
    # __setattr__ that they see would make every misspelt field legal.
    if not TYPE_CHECKING:
        __setattr__ = _refuse_field
        __delattr__ = _refuse_field


class GuardedDict(dict[K, V]):
    """A dict of the state: reads as a dict, refuses to change."""

    __slots__ = ()

    if not TYPE_CHECKING:  # to type checkers it is the dict that its field declares
        __init__ = __setitem__ = __delitem__ = __ior__ = _refuse
        clear = pop = popitem = setdefault = update = _refuse

    @classmethod
    def fromkeys(cls, iterable: Iterable[Any], value: Any = None, /) -> dict[Any, Any]:
        """Make a plain dict."""
        return dict.fromkeys(iterable, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class GuardedList(list[V]):
    """A list of the state: reads as a list, refuses to change."""

    __slots__ = ()

    if not TYPE_CHECKING:  # to type checkers it is the list that its field declares
        __init__ = __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
        append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


class GuardedSet(set[V]):
    """A set of the state: reads as a set, refuses to change."""

    __slots__ = ()

    if not TYPE_CHECKING:  # to type checkers it is the set that its field declares
        __init__ = __iand__ = __ior__ = __isub__ = __ixor__ = _refuse
        add = clear = discard = pop = remove = update = _refuse
        difference_update = intersection_update = symmetric_difference_update = _refuse

    def __repr__(self) -> str:
        return repr(set(self))  # a set names its class; dicts and lists don't

    def __reduce__(self) -> tuple[Any, ...]:
        return set, (set(self),)


def guarded_dict(source: dict[K, V]) -> GuardedDict[K, V]:
    """A guarded shallow copy; `dict.update` into an empty dict clones its table."""
    result: GuardedDict[K, V] = GuardedDict.__new__(GuardedDict)
    dict.update(result, source)
    return result


def guarded_list(source: list[V]) -> GuardedList[V]:
    """A guarded shallow copy."""
    result: GuardedList[V] = GuardedList.__new__(GuardedList)
    list.extend(result, source)
    return result


def guarded_set(source: set[V]) -> GuardedSet[V]:
    """A guarded shallow copy."""
    result: GuardedSet[V] = GuardedSet.__new__(GuardedSet)
    set.update(result, source)
    return result


def guarded_each(cls: type[T], add: Callable[[T, Any], T], sources: Iterable[Any]) -> Iterator[T]:
    """Guarded shallow copies of many containers, without a step of Python for each.

    Each is made when it is asked for. If the last source has been freed by then, it stands in that
    one's place: what is decoded next isn't strewn over holes that all sources leave, and what is
    read in turn lies in turn.

    Args:
        cls: of the copies.
        add: the builtin's own operator that adds to one in place, and returns it.
        sources: the containers.
    """
    return map(add, map(cls.__new__, repeat(cls)), sources)


def unwrap(value: Any) -> Any:
    """What a draft shows now, as a plain value; anything else as it is."""
    plain_of = getattr(type(value), "__cairn_plain__", None)
    return value if plain_of is None else plain_of(value)


# In C, and past whatever __copy__ the class declares.
copy_struct: Callable[[Any], Any] = msgspec.Struct.__copy__  # type: ignore[attr-defined]  # no stub


def plain(value: T) -> T:
    """A deep copy, out of the tree, of a draft or of a part of the state.

    Args:
        value: anything; what is neither draft, Record nor container is returned as it is.

    Returns:
        Records as Records; dicts, lists and sets as builtins; tuples of what their items give.
    """
    result: T = _plain(value)
    return result


def _plain(value: Any) -> Any:
    plain_of = getattr(type(value), "__cairn_plain__", None)
    if plain_of is not None:
        return plain_of(value)
    if isinstance(value, Record):
        return _plain_record(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, set):
        return {_plain(item) for item in value}
    return _plain_tuple(value) if isinstance(value, tuple) else value


def _plain_record(record: Record) -> Record:
    result: Record = copy_struct(record)
    for name in record.__struct_fields__:
        field = getattr(record, name)
        copied = plain(field)
        if copied is not field:
            force_setattr(result, name, copied)
    return result


def _plain_tuple(value: tuple[Any, ...]) -> tuple[Any, ...]:
    items = [_plain(item) for item in value]
    make: Callable[[list[Any]], tuple[Any, ...]] = getattr(value, "_make", tuple)  # a NamedTuple's
    return make(items)


def update(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a method of the root as one that changes the state: `db.run` calls it in an update."""
    setattr(function, MODE_ATTRIBUTE, "update")
    return function


def query(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a method of the root as one that only reads: `db.run` calls it in a view."""
    setattr(function, MODE_ATTRIBUTE, "query")
    return function


def check(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a method of a record as a rule: it is called at the end of each update that changes it.

    It is called on the record as it would be, if the record, or anything in it, has changed; on the
    root with every update that changes anything. It rejects the update by raising, or by returning
    False, and must not change anything itself.
    """
    setattr(function, CHECK_ATTRIBUTE, True)
    return function
