from __future__ import annotations

import copy
import json
import pickle
from typing import Any, NamedTuple

import msgspec
import pytest

from cairndb import record
from cairndb.errors import ReadOnlyError
from cairndb.record import (
    GuardedDict,
    GuardedList,
    GuardedSet,
    Record,
    guarded_dict,
    guarded_list,
    guarded_set,
    plain,
)


class Account(Record):
    owner: str
    balance: int = 0
    tags: list[str] = []


class Pair(NamedTuple):
    first: Any
    second: Any


# What a reader may use of each builtin. Whatever else dir() shows must be refused: so a mutator
# that a new Python brings is noticed here.
READERS: dict[Any, set[str]] = {
    dict: {"copy", "fromkeys", "get", "items", "keys", "values"}
    | {"__contains__", "__getitem__", "__iter__", "__len__", "__or__", "__reversed__", "__ror__"},
    list: {"copy", "count", "index"}
    | {"__add__", "__contains__", "__getitem__", "__iter__", "__len__", "__mul__", "__reversed__"}
    | {"__rmul__"},
    set: {"copy", "difference", "intersection", "isdisjoint", "issubset", "issuperset"}
    | {"symmetric_difference", "union", "__and__", "__contains__", "__iter__", "__len__", "__or__"}
    | {"__rand__", "__ror__", "__rsub__", "__rxor__", "__sub__", "__xor__"},
}
ANY_OBJECT = (set(dir(object)) - {"__init__"}) | {"__class_getitem__", "__getstate__"}
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "__setitem__": (0, 1),
    "__delitem__": (0,),
    "__imul__": (2,),
    "insert": (0, 1),
    "popitem": (),
    "clear": (),
    "reverse": (),
    "sort": (),
    "append": (1,),
    "add": (1,),
    "discard": (1,),
    "remove": (1,),
    "pop": (),
}


def guarded_values() -> list[Any]:
    """One of each guarded container."""
    return [guarded_dict({1: "a", 2: "b"}), guarded_list([1, 2]), guarded_set({1, 2})]


def mutators() -> list[tuple[Any, str]]:
    """Every method of the builtins that isn't known to only read."""
    return [
        (value, name)
        for value in guarded_values()
        for builtin in [type(value).__bases__[0]]
        for name in dir(builtin)
        if name not in READERS[builtin] | ANY_OBJECT
    ]


@pytest.mark.parametrize(("value", "name"), mutators())
def test_every_mutator_refuses(value: Any, name: str) -> None:
    """Each mutator of a builtin refuses, shows the update to write, and changes nothing."""
    before = copy.copy(value)

    with pytest.raises(ReadOnlyError, match=r"with db\.update\(\) as root"):
        getattr(value, name)(*ARGUMENTS.get(name, (type(before)(),)))

    assert value == before


def test_mutators_are_found() -> None:
    """The list of mutators is what this Python's builtins have."""
    names = {name for _, name in mutators()}

    assert names >= {"__init__", "__setitem__", "__ior__", "__iadd__", "sort", "setdefault", "pop"}


@pytest.mark.parametrize("value", guarded_values())
def test_copies_are_plain(value: Any) -> None:
    """copy, deepcopy, pickle and every operator give the plain builtin."""
    builtin = type(value).__bases__[0]
    copies = [copy.copy(value), copy.deepcopy(value), value.copy()]
    copies.append(pickle.loads(pickle.dumps(value)))  # noqa: S301  our own
    if builtin is list:
        nothing: list[Any] = []
        copies += [value + nothing, nothing + value, value * 1, 1 * value, value[:]]
    else:
        copies += [value | builtin(), builtin() | value]
    if builtin is set:
        copies += [value & {1, 2}, {1, 2} & value, value - {3}, value ^ set(), set() ^ value]
        copies += [value.union(), value.intersection(value), value.difference([])]

    for made in copies:
        assert type(made) is builtin
        assert made == value


@pytest.mark.parametrize("value", guarded_values())
def test_reads_as_the_builtin(value: Any) -> None:
    """isinstance, ==, repr and iteration are the builtin's own."""
    builtin: Any = type(value).__bases__[0]

    assert isinstance(value, builtin)
    assert value == builtin(value)
    assert builtin(value) == value
    assert repr(value) == repr(builtin(value))
    assert str(value) == str(builtin(value))
    assert list(value) == list(builtin(value))
    assert not hasattr(value, "__dict__")
    with pytest.raises(TypeError):
        hash(value)


def test_json_and_match() -> None:
    """json.dumps and patterns see a dict and a list."""
    value = guarded_dict({"a": guarded_list([1, 2])})

    assert json.dumps(value) == '{"a": [1, 2]}'
    match value:
        case {"a": [first, *_]}:
            assert first == 1
        case _:
            pytest.fail("a guarded container doesn't match")


def test_dict_fromkeys_is_plain() -> None:
    """The class method makes a dict of the caller's own."""
    assert type(GuardedDict.fromkeys([1, 2], 3)) is dict


def test_deepcopy_is_deep() -> None:
    """A deep copy shares no container, and its Records are Records."""
    account = Account("a", tags=guarded_list(["x"]))
    value = guarded_dict({"k": guarded_list([account])})

    made = copy.deepcopy(value)

    assert type(made["k"]) is list
    assert made == value
    assert made["k"][0] is not account
    assert type(made["k"][0].tags) is list


@pytest.mark.parametrize("make", [lambda a: a, copy.copy, copy.deepcopy])
def test_records_refuse_assignment(make: Any) -> None:
    """A Record refuses to change, fresh or copied, and shows both ways to go on."""
    account = make(Account("Alice"))

    with pytest.raises(ReadOnlyError, match=r"msgspec\.structs\.replace\(record, owner=") as caught:
        account.owner = "Bob"
    with pytest.raises(ReadOnlyError, match=r"Account\.balance"):
        del account.balance
    with pytest.raises(ReadOnlyError):
        account.misspelt = 1

    assert "with db.update() as root" in str(caught.value)
    assert msgspec.structs.replace(account, owner="Bob") == Account("Bob")
    assert account == Account("Alice")


def test_record_init_changes_nothing() -> None:
    """Calling __init__ again is no way to change a Record."""
    account = Account("Alice")

    account.__init__("Bob")  # type: ignore[misc]  # that is the test

    assert account.owner == "Alice"


def test_records_match_and_pickle() -> None:
    """Class patterns and pickle work as on any Struct."""
    account = Account("Alice", 5)

    match account:
        case Account(owner=owner, balance=5):
            assert owner == "Alice"
        case _:
            pytest.fail("a Record doesn't match")
    assert pickle.loads(pickle.dumps(account)) == account  # noqa: S301  our own


def test_plain_copies_out_of_the_tree() -> None:
    """Plain gives builtins at every depth, Records as Records, and tuples of what is in them."""
    tags = guarded_list(["x"])
    state = guarded_dict({"a": Account("A", tags=tags), "s": guarded_set({1})})

    made: Any = plain((state, Pair(tags, None), 5))

    assert made == (state, Pair(tags, None), 5)
    assert [type(made[0]), type(made[0]["s"]), type(made[1])] == [dict, set, Pair]
    assert type(made[0]["a"].tags) is list
    assert type(made[1].first) is list
    assert made[0]["a"] is not state["a"]


def test_plain_asks_drafts() -> None:
    """What has `__cairn_plain__` on its type is a draft, and says what it shows."""

    class Draft:
        def __cairn_plain__(self) -> list[int]:
            return [1]

    drafts: list[Any] = [Draft()]
    assert plain(drafts) == [[1]]
    assert record.unwrap(Draft()) == [1]
    assert record.unwrap(5) == 5


def test_marks_leave_the_function_alone() -> None:
    """The marks return the function itself, with its mode."""

    def method(self: object) -> None:
        """Do nothing."""

    assert record.update(method) is method
    assert vars(method) == {record.MODE_ATTRIBUTE: "update"}
    record.query(method)
    assert vars(method) == {record.MODE_ATTRIBUTE: "query"}


def test_guarded_types_have_no_slots_of_their_own() -> None:
    """Guarded containers are as small as builtins allow, and can be made only from inside."""
    for guarded in (GuardedDict, GuardedList, GuardedSet):
        assert guarded.__slots__ == ()
        with pytest.raises(ReadOnlyError):
            guarded()
