"""What drafts are compared with: a plain model of the same tree, and calls that both sides take."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from cairndb import draft
from cairndb.index import Index
from cairndb.record import Record


class Leaf(Record, tag="leaf"):
    number: int = 0
    ratio: float = 0.0
    tags: list[str] = []
    flags: set[int | float] = set()


class Branch(Record, tag="branch"):
    leaves: dict[str, Leaf] = {}
    either: Leaf | Branch | list[int] | int | None = None
    by_number = Index(Leaf, "leaves/*", key=lambda leaf: leaf.number)


class Root(Record):
    leaves: dict[str, Leaf] = {}
    items: list[Leaf] = []
    rows: list[list[int]] = []
    words: list[str] = []
    mixed: dict[int | float, Branch] = {}
    marks: set[str] = set()
    anything: Any = None
    either: Leaf | Branch | list[int] | int | None = None
    # Of these test_rules_model.py knows; elsewhere there are none, see `Live`.
    by_number = Index(Leaf, "leaves/*", key=lambda leaf: leaf.number, ordered=True)
    by_tag = Index(Leaf, "items/*", keys=lambda leaf: leaf.tags)
    by_flags = Index(
        Leaf,
        "mixed/*/leaves/*",
        key=lambda leaf: len(leaf.flags),
        where=lambda leaf: leaf.number > 0,
    )
    the_leaf = Index(Leaf, "either", key=lambda leaf: leaf.number)
    everywhere = Index(Leaf, "**", key=lambda leaf: (leaf.number, *leaf.tags), ordered=True)


class Plain:
    """A record of the model: fields that anyone may assign."""

    def __init__(self, cls: type[Record], **fields: Any) -> None:
        self.cls = cls
        self.__dict__.update(fields)

    def names(self) -> tuple[str, ...]:
        return self.cls.__struct_fields__


def modelled(value: Any) -> Any:
    """A value of Records as one of the model."""
    if isinstance(value, Record):
        fields = {name: modelled(getattr(value, name)) for name in value.__struct_fields__}
        return Plain(type(value), **fields)
    if isinstance(value, dict):
        return {key: modelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [modelled(item) for item in value]
    return set(value) if isinstance(value, set) else value


def recorded(value: Any) -> Any:
    """A value of the model as Records."""
    if isinstance(value, Plain):
        return value.cls(**{name: recorded(getattr(value, name)) for name in value.names()})
    if isinstance(value, dict):
        return {key: recorded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [recorded(item) for item in value]
    return value


def walked(value: Any) -> Any:  # noqa: PLR0911  one for each kind of node
    """What a draft shows by its own interface, as a value of the model's builtins."""
    if isinstance(value, Record):
        names = value.__struct_fields__
        return (type(value).__name__, *(walked(getattr(value, name)) for name in names))
    if isinstance(value, Plain):
        return (value.cls.__name__, *(walked(getattr(value, name)) for name in value.names()))
    if isinstance(value, tuple):
        return tuple(walked(item) for item in value)
    if hasattr(value, "keys"):
        assert len(value) == len(list(value)) == len(list(reversed(value)))
        return [(repr(key), walked(item)) for key, item in value.items()]
    if hasattr(value, "append"):
        assert [walked(item) for item in value] == [walked(value[i]) for i in range(len(value))]
        return [walked(item) for item in value]
    if hasattr(value, "discard"):
        return {repr(element) for element in value}
    return repr(value)


small = st.integers(-2, 2)
numbers = st.one_of(small, st.sampled_from([0.0, -0.0, 1.0, 1.5, -2.0]))
names = st.sampled_from("abcd")
leaf_values = st.builds(
    Leaf,
    number=small,
    ratio=st.sampled_from([0.0, -0.0, 1.0, float("nan")]),
    tags=st.lists(names, max_size=3),
    flags=st.sets(numbers, max_size=3),
)
either_values: st.SearchStrategy[Any] = st.deferred(
    lambda: st.one_of(small, st.none(), st.lists(small), leaf_values, branches)
)
branches: st.SearchStrategy[Branch] = st.builds(
    Branch, leaves=st.dictionaries(names, leaf_values, max_size=2), either=either_values
)
any_values = st.recursive(
    st.one_of(numbers, st.booleans(), st.none(), names),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(names, numbers, st.booleans()), inner, max_size=3),
    ),
    max_leaves=6,
)
VALUES = {
    "leaf": leaf_values,
    "branch": branches,
    "row": st.lists(small, max_size=4),
    "int": small,
    "word": names,
    "any": any_values,
    "either": either_values,
}
KEYS = {"name": names, "number": numbers, "any": st.one_of(names, numbers, st.booleans())}

# What stands at the fields: (kind, kind of elements, kind of keys).
FIELDS: dict[str, tuple[str, str, str]] = {
    "leaves": ("dict", "leaf", "name"),
    "items": ("list", "leaf", ""),
    "rows": ("list", "row", ""),
    "words": ("list", "word", ""),
    "tags": ("list", "word", ""),
    "mixed": ("dict", "branch", "number"),
    "marks": ("set", "word", ""),
    "flags": ("set", "number", ""),
}

Place = tuple[tuple[Any, ...], tuple[str, str, str]]


def places(value: Any, shape: tuple[str, str, str], path: tuple[Any, ...] = ()) -> Iterator[Place]:
    """Every node of the model, with its path and what it holds."""
    if isinstance(value, Plain):
        yield path, ("record", "", "")
        for name in value.names():
            below = FIELDS.get(name, ("", name, ""))
            yield from places(getattr(value, name), below, (*path, ("field", name)))
    elif isinstance(value, dict):
        if shape[0] != "dict":
            shape = ("dict", "any", "any")
        yield path, shape
        for key, item in value.items():
            yield from places(item, ("", shape[1], ""), (*path, ("item", key)))
    elif isinstance(value, list):
        if shape[0] != "list":
            shape = ("list", {"row": "int", "either": "int"}.get(shape[1], "any"), "")
        yield path, shape
        for position, item in enumerate(value):
            yield from places(item, ("", shape[1], ""), (*path, ("item", position)))
    elif isinstance(value, set):
        yield path, shape


def reached(root: Any, path: tuple[Any, ...]) -> Any:
    """What a path of `places` leads to, in the draft or in the model."""
    for kind, step in path:
        root = getattr(root, step) if kind == "field" else root[step]
    return root


def rank(value: Any) -> Any:
    """A key to sort by that is the same for a draft and for the model."""
    number = getattr(value, "number", None)
    if number is not None:
        return ("", number)
    if hasattr(value, "__len__"):
        return ("len", len(value))
    return ("repr", repr(value) if not hasattr(value, "__dict__") else "")


ListCall = Callable[[Any, int, int, list[Any]], Any]
LIST_CALLS: list[ListCall] = [
    lambda node, _i, _j, values: node.append(values[0]),
    lambda node, _i, _j, values: node.extend(values),
    lambda node, i, _j, values: node.insert(i, values[0]),
    lambda node, i, _j, _v: node.pop(i),
    lambda node, _i, _j, _v: node.pop(),
    lambda node, i, _j, values: node.__setitem__(i, values[0]),
    lambda node, i, _j, _v: node.__delitem__(i),
    lambda node, i, j, values: node.__setitem__(slice(i, j), values),
    lambda node, i, j, values: node.__setitem__(slice(i, None, j or 1), values),
    lambda node, i, j, _v: node.__delitem__(slice(i, j)),
    lambda node, i, j, _v: node.__delitem__(slice(None, i, j or 1)),
    lambda node, _i, _j, _v: node.reverse(),
    lambda node, i, _j, _v: node.sort(key=rank, reverse=i > 0),
    lambda node, _i, _j, _v: node.clear(),
    lambda node, _i, _j, values: node.__iadd__(values),
    lambda node, i, _j, _v: repeat(node, i),
    lambda node, i, _j, _v: node.__setitem__(slice(None), [*node[i:], *node[:i]]),
    lambda node, i, j, _v: node.__setitem__(slice(i, None), list(node[i:])[::-1][j:]),
    lambda node, i, j, _v: node.__setitem__(i, copied(node[j])),
]
DictCall = Callable[[Any, Any, Any, list[tuple[Any, Any]]], Any]
DICT_CALLS: list[DictCall] = [
    lambda node, key, value, _p: node.__setitem__(key, value),
    lambda node, key, _v, _p: node.__delitem__(key),
    lambda node, key, _v, _p: node.pop(key),
    lambda node, key, _v, _p: node.pop(key, None),
    lambda node, _k, _v, _p: node.popitem(),
    lambda node, key, value, _p: nothing(node.setdefault(key, value)),
    lambda node, _k, _v, pairs: node.update(pairs),
    lambda node, _k, _v, pairs: node.__ior__(dict(pairs)),
    lambda node, _k, _v, _p: node.clear(),
    lambda node, key, _v, _p: node.__setitem__(key, node.pop(key)),
    lambda node, key, _v, _p: node.__setitem__(key, copied(first_value(node))),
    lambda node, _k, _v, _p: node.update(clear_and_return(node)),
]
SET_CALLS: list[Callable[[Any, Any, set[Any]], Any]] = [
    lambda node, element, _o: node.add(element),
    lambda node, element, _o: node.discard(element),
    lambda node, element, _o: node.remove(element),
    lambda node, _e, _o: node.clear(),
    lambda node, _e, others: node.update(others),
    lambda node, _e, others: node.difference_update(others),
    lambda node, _e, others: intersect(node, others),
    lambda node, _e, others: node.__ixor__(others),
    lambda node, element, _o: nothing(node.discard(element), node.add(element)),
]


def nothing(*_results: Any) -> None:
    """Forget a result."""


def first_value(node: Any) -> Any:
    """The first value of a dict. Raises IndexError if there is none."""
    return list(node.values())[0]  # noqa: RUF015  a StopIteration isn't compared


def intersect(node: Any, others: set[Any]) -> None:
    """Intersect a set in place; of equal elements the old one stays: builtins don't promise it."""
    if draft_like(node):
        node.intersection_update(others)
    else:
        node.difference_update([element for element in node if element not in others])


def repeat(node: Any, times: int) -> None:
    """Repeat a list in place; in a tree every repetition is a copy."""
    if len(node) < 6:
        node *= times
        if not draft_like(node):
            node[:] = [copy.deepcopy(item) for item in node]


def copied(value: Any) -> Any:
    """What assigning does to a value of the model: it is copied. A draft does that itself."""
    return value if draft_like(value) else copy.deepcopy(value)


def draft_like(value: Any) -> bool:
    """Whether a value belongs to the draft's side."""
    return hasattr(type(value), "__cairn_plain__")


def clear_and_return(node: Any) -> Any:
    """Empty a dict, and give back what was in it."""
    items = {key: draft.plain(value) for key, value in node.items()}
    node.clear()
    return items
