"""Migrations: plain functions on plain data, judged by the declared types."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from msgspec import Meta, Raw, defstruct

from cairndb import codec
from cairndb.errors import SchemaError
from cairndb.record import Record
from cairndb.schema import compile_root, describe
from cairndb.schema_migrate import Migration, migrate, steps
from cairndb.schema_text import parse_schema

OLD: Any = defstruct("Account", [("owner", str), ("cents", int)], bases=(Record,))
NEW: Any = defstruct(
    "Account",
    [("owner", str), ("amount", Annotated[int, Meta(ge=0)]), ("tags", set[str], set())],
    bases=(Record,),
)
STATE = {"a": {"owner": "Ann", "cents": 250}, "b": {"owner": "Bob", "cents": 30}}


def run(state: Any, stored: Any, declared: Any, *migrations: Migration) -> Any:
    """What becomes of a state, as builtins."""
    schema = parse_schema(describe(compile_root(stored, guard=False)))
    kind = compile_root(declared, guard=False)
    return codec.decode(migrate(Raw(codec.encode(state)), schema, list(migrations), kind))


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

    with pytest.raises(SchemaError, match=r"/a/cents, and no field takes it"):
        run(STATE, dict[str, OLD], dict[str, NEW], {"Account": copied})


def test_a_type_that_isnt_stored_is_named() -> None:
    """A function for an unknown type would never run: refused, with those that there are."""
    with pytest.raises(SchemaError, match=r"'Accounts'.*there are: Account"):
        run(STATE, dict[str, OLD], dict[str, NEW], {"Accounts": rename})


def test_single_types_after_the_whole_tree_are_refused() -> None:
    """Where records are after that is known to nobody."""
    with pytest.raises(SchemaError, match="write it for the whole tree"):
        run(STATE, dict[str, OLD], dict[str, NEW], lambda _: None, {"Account": rename})


def test_the_steps_lead_from_the_stored_version_to_the_declared() -> None:
    """Each starts from its version; without a gap, and never back."""

    def first(_: Any) -> None: ...

    def second(_: Any) -> None: ...

    assert steps(1, 3, {1: first, 2: second}) == [first, second]
    assert steps(3, 3, {1: first}) == []
    with pytest.raises(SchemaError, match="migration from version 2"):
        steps(1, 3, {1: first})
    with pytest.raises(SchemaError, match="a later program"):
        steps(3, 2, {1: first, 2: second})
