"""Migrations: plain functions on plain data, judged by the declared types."""

from __future__ import annotations

import datetime as dt
import enum
import gc
import tracemalloc
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from msgspec import Meta, defstruct

from cairndb import codec
from cairndb.conversion import convert
from cairndb.errors import SchemaError
from cairndb.fold import Fold
from cairndb.patch import Tree, decode_operations, operation
from cairndb.record import Record
from cairndb.schema import compile_root, describe
from cairndb.schema_change import Evolution, change_from
from cairndb.schema_migrate import steps
from cairndb.schema_text import parse_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from cairndb.schema_migrate import Migration

OLD: Any = defstruct("Account", [("owner", str), ("cents", int)], bases=(Record,))
NEW: Any = defstruct(
    "Account",
    [("owner", str), ("amount", Annotated[int, Meta(ge=0)]), ("tags", set[str], set())],
    bases=(Record,),
)
STATE = {"a": {"owner": "Ann", "cents": 250}, "b": {"owner": "Bob", "cents": 30}}


def run(
    state: Any, stored: Any, declared: Any, *migrations: Migration, drop: tuple[str, ...] = ()
) -> Any:
    """What becomes of a state, as builtins; the tree and the new checkpoint agree."""
    evolution = Evolution(1 + len(migrations), dict(enumerate(migrations, 1)), drop)
    kind = compile_root(declared, guard=False)
    text = describe(compile_root(stored, guard=False))
    fold = Fold()
    fold.apply([operation(codec.SET, (), codec.encode(state))])
    tree = Tree(kind)
    pieces = convert(fold, change_from(text, kind, evolution, "x"), tree, lambda _: None)
    again = Fold()
    for piece in pieces:
        again.apply(decode_operations(piece, 1))
    assert again.encode() == kind.encode(tree.root)
    return codec.decode(again.encode())


def rename(account: dict[str, Any]) -> None:
    """One record."""
    account["amount"] = account.pop("cents")


def test_a_function_gets_every_record_of_a_type() -> None:
    """It changes each in place; new fields with defaults are filled in, in the declared order."""
    found = run(STATE, dict[str, OLD], dict[str, NEW], {"Account": rename})
    assert found["a"] == {"owner": "Ann", "amount": 250, "tags": []}
    assert list(found["a"]) == ["owner", "amount", "tags"]


def test_records_are_found_wherever_they_are() -> None:
    """In unions, lists and other records, and only those of the type."""
    other: Any = defstruct("Other", [("cents", int)], bases=(Record,), tag="o")
    tagged: Any = defstruct("Account", [("cents", int)], bases=(Record,), tag="a")
    new: Any = defstruct("Account", [("amount", int)], bases=(Record,), tag="a")
    old_holder: Any = defstruct("Holder", [("items", list[tagged | other | None])], bases=(Record,))
    holder: Any = defstruct("Holder", [("items", list[new | other | None])], bases=(Record,))
    items = [{"type": "a", "cents": 1}, {"type": "o", "cents": 2}, None]
    state = {"x": {"items": items}}
    found = run(state, dict[str, old_holder], dict[str, holder], {"Account": rename})
    assert found["x"]["items"] == [{"type": "a", "amount": 1}, items[1], None]


def test_a_function_of_the_whole_tree_may_return_another() -> None:
    """What it returns takes the place; what returns nothing has changed what it was given."""

    def by_owner(state: dict[str, Any]) -> dict[str, Any]:
        return {account["owner"]: account for account in state.values()}

    def renamed(state: dict[str, Any]) -> None:
        for account in state.values():
            rename(account)

    found = run(STATE, dict[str, OLD], dict[str, NEW], by_owner, renamed)
    assert list(found) == ["Ann", "Bob"]


def test_what_is_left_is_judged_by_the_declared_types() -> None:
    """A value that they refuse is told with its path."""

    def negative(account: dict[str, Any]) -> None:
        account["amount"] = -account.pop("cents")

    with pytest.raises(SchemaError, match=r"/a/amount"):
        run(STATE, dict[str, OLD], dict[str, NEW], {"Account": negative})


def test_nothing_gets_lost_unasked() -> None:
    """A key that no field takes is an error with its path, not dropped."""

    def copied(account: dict[str, Any]) -> None:
        account["amount"] = account["cents"]

    with pytest.raises(SchemaError, match=r"/a/cents, and no field takes it.*with drop"):
        run(STATE, dict[str, OLD], dict[str, NEW], {"Account": copied})
    with pytest.raises(SchemaError, match=r"/a/cents, and no field takes it"):
        run(STATE, dict[str, OLD], dict[str, NEW], {"Account": copied}, drop=("Other.cents",))
    found = run(STATE, dict[str, OLD], dict[str, NEW], {"Account": copied}, drop=("Account.cents",))
    assert found["a"] == {"owner": "Ann", "amount": 250, "tags": []}


def test_keys_that_become_one_are_told() -> None:
    """Two ways to write a time are one key: what stood under the other would be gone."""

    def by_time(state: dict[str, Any]) -> None:
        state["times"] = {"2020-01-01T01:00:00+01:00": 1, "2020-01-01T00:00:00Z": 2}

    fields: list[Any] = [("times", dict[dt.datetime, int])]
    new: Any = defstruct("Times", fields, bases=(Record,))
    old: Any = defstruct("Times", [("times", int)], bases=(Record,))
    with pytest.raises(SchemaError, match=r"/x/times/2020-01-01T01:00:00\+01:00, and no field"):
        run({"x": {"times": 1}}, dict[str, old], dict[str, new], {"Times": by_time})


def test_a_type_that_isnt_stored_is_named() -> None:
    """A function for an unknown type would never run: refused, with those that there are."""
    with pytest.raises(SchemaError, match=r"'Accounts'.*there are: Account$"):
        run(STATE, dict[str, OLD], dict[str, NEW], {"Accounts": rename})
    with pytest.raises(SchemaError, match=r"'Tag'.*of version 1: for a type that came later"):
        run(STATE, dict[str, OLD], dict[str, NEW], {"Account": rename}, {"Tag": rename})
    with pytest.raises(SchemaError, match="which isn't a function"):
        run(STATE, dict[str, OLD], dict[str, NEW], {"Account": {"a": rename}})  # type: ignore[dict-item]


class Colour(enum.Enum):
    RED = "red"


def test_an_enum_has_no_migration_of_its_own() -> None:
    """It is a value in a record or a dict: those have."""
    with pytest.raises(SchemaError, match="'Colour', and no record or frozen class"):
        run({"a": "red"}, dict[str, Colour], dict[str, str], {"Colour": str.upper})


def test_every_difference_is_told_at_once() -> None:
    """By path, with what to write for each, for all that is gone, and for the rest."""
    fields: list[Any] = [("owner", int), ("name", str)]
    new: Any = defstruct("Account", fields, bases=(Record,))
    old: Any = defstruct("Account", [("owner", str), ("a", int), ("b", int)], bases=(Record,))
    text = describe(compile_root(dict[str, old], guard=False))
    kind = compile_root(dict[str, new], guard=False)
    with pytest.raises(SchemaError) as caught:
        change_from(text, kind, Evolution(), "x.cairn")
    place = "  dict[str, Account][*]."
    first, *lines, last = str(caught.value).split("\n")
    assert first.startswith("x.cairn was written with another schema")
    assert lines == [
        f"{place}owner: str is stored, int is declared: write a migration",
        f"{place}name: a new field, str: give it a default, or write a migration",
        f'{place}a: the field is gone: write a migration, or drop=["Account.a"]',
        f'{place}b: the field is gone: write a migration, or drop=["Account.b"]',
    ]
    assert last.startswith('All that is gone: drop=["Account.a", "Account.b"]. A migration is')
    assert "open(..., version=2, migrations={1: function})" in last


def add_name(account: dict[str, Any]) -> None:
    """One record of version 2, where `rename` has been."""
    assert "cents" not in account
    account["name"] = account.pop("owner")


LAST: Any = defstruct("Account", [("name", str), ("amount", int)], bases=(Record,))


def test_versions_may_be_skipped() -> None:
    """The functions of each version are run in turn, each on what the one before it has left."""
    found = run(STATE, dict[str, OLD], dict[str, LAST], {"Account": rename}, {"Account": add_name})
    assert found["a"] == {"name": "Ann", "amount": 250}


def test_records_that_were_moved_are_missed() -> None:
    """A later function of single types finds them where they were stored, or says that it can't."""
    holder: Any = defstruct("Holder", [("item", OLD)], bases=(Record,))

    def move(each: dict[str, Any]) -> None:
        each["other"] = each.pop("item")

    def wrap(each: dict[str, Any]) -> None:
        each["item"] = each["item"]["cents"]

    state = {"x": {"item": STATE["a"]}}
    with pytest.raises(SchemaError, match=r"from version 2 failed at /x: .*no field 'item'"):
        run(state, dict[str, holder], dict[str, holder], {"Holder": move}, {"Account": rename})
    with pytest.raises(SchemaError, match=r"from version 2 failed at /x/item: it isn't of the"):
        run(state, dict[str, holder], dict[str, holder], {"Holder": wrap}, {"Account": rename})


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda account: int(account["owner"]), "raised ValueError: invalid literal"),
        (lambda account: account["centz"], "raised KeyError: 'centz'"),
        (lambda _: object(), "leaves what isn't plain data: Encoding objects of type object"),
        (lambda _: {"cents": 1 << 70}, "leaves what isn't plain data"),
    ],
    ids=["ValueError", "KeyError", "object", "large"],
)
def test_a_migration_that_fails_names_the_record(function: Any, message: str) -> None:
    """Its path, the version, the function and what it did, whatever it raises."""
    with pytest.raises(SchemaError, match=rf"from version 1 failed at /a: .*lambda> {message}"):
        run(STATE, dict[str, OLD], dict[str, NEW], {"Account": function})
    with pytest.raises(SchemaError, match="from version 1 failed at /: "):
        run(STATE, dict[str, OLD], dict[str, NEW], lambda _: 1 / 0)


@pytest.mark.parametrize("is_whole", [False, True])
def test_what_replaces_a_record_with_another_type_is_refused(*, is_whole: bool) -> None:
    """The declared types judge it; the path is that of the record."""
    migration = (lambda _: {"a": [1]}) if is_whole else {"Account": lambda _: [1]}
    with pytest.raises(SchemaError, match=r"isn't what is declared: /a: Expected `object`"):
        run(STATE, dict[str, OLD], dict[str, NEW], migration)


def test_the_steps_lead_from_the_stored_version_to_the_declared() -> None:
    """Each starts from its version; without a gap, and never back."""

    def first(_: Any) -> None: ...

    def second(_: Any) -> None: ...

    def found(stored: int, declared: int, migrations: Any) -> list[Any]:
        schema = parse_schema(describe(compile_root(dict[str, OLD], guard=False), stored))
        return [(s.version, s.function) for s in steps(schema, declared, migrations)]

    assert found(1, 3, {1: first, 2: second}) == [(1, first), (2, second)]
    assert found(3, 3, {1: first}) == []
    with pytest.raises(SchemaError, match=r"from version 2: migrations=\{2: function\}"):
        found(1, 3, {1: first})
    with pytest.raises(SchemaError, match="from version 1 and from 2"):
        found(1, 3, {})
    with pytest.raises(SchemaError, match=r"a later program.*cairn rewind"):
        found(3, 2, {1: first, 2: second})
    with pytest.raises(SchemaError, match="from version 1 is 'first': give a function, or"):
        found(1, 2, {1: "first"})


def large(items: dict[str, Any]) -> Fold:
    """A fold whose containers come in pieces."""
    fold = Fold()
    fold.apply([operation(codec.SET, (), codec.encode({"x": {"d": {}, "n": []}}))])
    fold.apply([operation(codec.MERGE, ("x", "d"), codec.encode(items))])
    texts = codec.encode([0, 0, ["y" * 1000] * 1200])
    fold.apply([operation(codec.SPLICE, ("x", "n"), texts)])
    return fold


@pytest.mark.parametrize("migrated", ["Item", "Holder", ""])
@pytest.mark.parametrize(
    "listed", [list[str], tuple[str, ...], Annotated[list[str], Meta(min_length=1200)]]
)
def test_large_states_are_converted_in_pieces(migrated: str, listed: Any) -> None:
    """Dicts and lists over several operations, whatever becomes of them: nothing is missing."""

    def nothing(_: Any) -> None: ...

    def holder(listed: Any, *more: Any) -> Any:
        item: Any = defstruct("Item", [("s", str), *more], bases=(Record,))
        fields: list[Any] = [("n", listed), ("d", dict[str, item])]
        made: Any = defstruct("Holder", fields, bases=(Record,))
        return compile_root(dict[str, made], guard=False)

    kind = holder(listed, ("k", int, 0))
    evolution = Evolution(2, {1: {migrated: nothing} if migrated else nothing})
    change = change_from(describe(holder(list[str])), kind, evolution, "x")
    items = {str(number): {"s": "x" * 1000} for number in range(3000)}
    tree, told = Tree(kind), list[int]()
    pieces = convert(large(items), change, tree, told.append)
    found = tree.root["x"]
    assert (len(found.n), list(found.d)) == (1200, list(items))
    assert all(each.k == 0 for each in found.d.values())
    assert len(pieces) > 2
    assert sum(told) >= sum(map(len, pieces))
    again = Tree(kind)
    again.load(each for piece in pieces for each in decode_operations(piece, 1))
    assert kind.encode(again.root) == kind.encode(tree.root)


def peak(work: Callable[[], object]) -> int:
    """The most memory that Python has taken for something, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["defaults", "of a type", "of the whole tree"])
def test_a_conversion_takes_at_most_twice_the_memory_of_opening(how: str) -> None:
    """Beside the tree there are encoded operations only."""
    old: Any = defstruct("Item", [("name", str), ("tags", list[str])], bases=(Record,))
    fields: list[Any] = [("name", str), ("tags", list[str]), ("n", int, 0)]
    new: Any = defstruct("Item", fields, bases=(Record,))
    before, after = (
        compile_root(dict[str, old], guard=True),
        compile_root(dict[str, new], guard=True),
    )
    items = {
        f"item {number}": {"name": f"name {number}", "tags": ["x"]} for number in range(20_000)
    }
    source = Fold.of(codec.encode(items), before, 1 << 16)
    pieces = list(source.operations(1 << 16))

    def nothing(_: Any) -> None: ...

    evolution = {
        "defaults": Evolution(),
        "of a type": Evolution(2, {1: {"Item": nothing}}),
        "of the whole tree": Evolution(2, {1: nothing}),
    }[how]
    change = change_from(describe(before), after, evolution, "x")

    def opened() -> None:
        Tree(before).load(each for piece in pieces for each in decode_operations(piece, 1))

    def converted() -> None:
        fold = Fold()
        for piece in pieces:
            fold.apply(decode_operations(piece, 1))
        convert(fold, change, Tree(after), lambda _: None)

    factor = peak(converted) / peak(opened)
    assert factor < 2, factor
