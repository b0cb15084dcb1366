from __future__ import annotations

import contextlib
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Raw

from cairndb import codec
from cairndb.errors import ValidationError
from cairndb.patch import (
    ADD,
    DELETE,
    DISCARD,
    MERGE,
    SET,
    SPLICE,
    Call,
    Operation,
    Tree,
    decode_entries,
    decode_entry,
    decode_operations,
    encode_entry,
    operation,
)
from cairndb.record import Record
from cairndb.schema import compile_root


class Account(Record, rename="camel"):
    owner_name: str
    balance: Annotated[int, Meta(ge=0)] = 0
    tags: set[str] = set()


class Bank(Record):
    accounts: dict[str, Account] = {}
    queue: list[Account] = []
    limits: dict[Annotated[str, Meta(max_length=3)], Annotated[int, Meta(ge=0)]] = {}
    pairs: dict[tuple[int, str], list[int]] = {}
    numbers: dict[float, int] = {}
    anything: Any = None
    sizes: set[float] = set()


BANK = compile_root(Bank, guard=True)


def tree_of(root: Record) -> Tree:
    """A tree whose first entry set this root."""
    tree = Tree(BANK)
    first = decode_entry(encode_entry(0, [operation(SET, (), BANK.encode(BANK.copy(root, 0)))]))
    tree.apply(tree.resolve(first.operations))
    return tree


def bank() -> Tree:
    """A tree with something in every field."""
    return tree_of(
        Bank(
            accounts={"alice": Account("Alice", 100, {"vip"}), "bob": Account("Bob")},
            queue=[Account("Q0"), Account("Q1"), Account("Q2")],
            pairs={(1, "x"): [1, 2]},
            numbers={-0.0: 1},
            anything={"a": [1, {"b": 2}], 1: "one"},
            sizes={0.0},
        )
    )


def change(tree: Tree, *operations: tuple[int, Any, Any]) -> Any:
    """Apply one entry, by way of its bytes."""
    entry = decode_entry(encode_entry(1, [operation(*each) for each in operations]))
    tree.apply(tree.resolve(entry.operations))
    return tree.root


def packed(value: Any) -> bytes:
    """Bytes of builtins."""
    return codec.encode(value)


ACCOUNT = {"ownerName": "New", "balance": 1, "tags": ["b", "a"]}


def test_set_reaches_every_kind_of_place() -> None:
    """SET works on a field, a key that is there, a new key, a position and the root."""
    tree = bank()

    change(tree, (SET, ("accounts", "alice", "balance"), packed(5)))
    change(tree, (SET, ("accounts", "bob"), packed(ACCOUNT)))
    change(tree, (SET, ("accounts", "carol"), packed(ACCOUNT)))
    change(tree, (SET, ("queue", 1, "ownerName"), packed("changed")))
    root = change(tree, (SET, ("queue", 2), packed(ACCOUNT)))

    assert list(root.accounts) == ["alice", "bob", "carol"]
    assert root.accounts["alice"].balance == 5
    assert root.accounts["bob"] == Account("New", 1, {"a", "b"})
    assert [account.owner_name for account in root.queue] == ["Q0", "changed", "New"]
    assert change(tree, (SET, (), BANK.encode(Bank()))) == Bank()


def test_containers_change_in_place() -> None:
    """DELETE, SPLICE, ADD, DISCARD and MERGE change the very objects that views hold."""
    tree = bank()
    accounts, queue = tree.root.accounts, tree.root.queue

    change(tree, (DELETE, ("accounts", "alice"), None))
    change(tree, (SPLICE, ("queue",), [1, 1, [ACCOUNT, ACCOUNT]]))
    change(tree, (ADD, ("accounts", "bob", "tags"), ["x", "y"]))
    change(tree, (DISCARD, ("accounts", "bob", "tags"), ["x"]))
    change(tree, (MERGE, ("accounts",), {"z": ACCOUNT, "bob2": ACCOUNT}))

    assert tree.root.accounts is accounts
    assert tree.root.queue is queue
    assert list(accounts) == ["bob", "z", "bob2"]
    assert accounts["bob"].tags == {"y"}
    assert [account.owner_name for account in queue] == ["Q0", "New", "New", "Q2"]


def test_paths_address_the_state_before_the_entry() -> None:
    """A node that an operation replaces, moves or removes is still found by the others."""
    tree = bank()
    q2 = tree.root.queue[2]

    change(
        tree,
        (SET, ("queue", 2, "balance"), packed(7)),
        (SPLICE, ("queue",), [2, 1, []]),
        (SPLICE, ("queue",), [0, 0, [ACCOUNT]]),
        (DELETE, ("accounts", "alice"), None),
        (SET, ("accounts", "alice"), packed(ACCOUNT)),
    )

    assert q2.balance == 7
    assert [account.owner_name for account in tree.root.queue] == ["New", "Q0", "Q1"]
    assert list(tree.root.accounts) == ["bob", "alice"]


def test_what_is_stored_is_guarded() -> None:
    """Containers that operations bring refuse to change, at every depth."""
    tree = bank()
    change(tree, (SET, ("accounts", "n"), packed(ACCOUNT)))
    change(tree, (MERGE, ("accounts",), {"m": ACCOUNT}))
    change(tree, (SPLICE, ("queue",), [3, 0, [ACCOUNT]]))
    change(tree, (SET, ("anything", "a", 1), packed({"deep": []})))

    for container in (
        tree.root.accounts["n"].tags,
        tree.root.accounts["m"].tags,
        tree.root.queue[3].tags,
        tree.root.anything["a"][1]["deep"],
    ):
        assert type(container).__name__.startswith("Guarded")


def test_keys_of_other_types_are_found() -> None:
    """Keys that bytes write in another form, as tuples, are found by it."""
    tree = bank()

    change(tree, (SPLICE, ("pairs", Raw(packed([1, "x"]))), [0, 1, [9]]))
    change(tree, (SET, ("anything", 1), packed(True)))

    assert tree.root.pairs == {(1, "x"): [9, 2]}
    assert tree.root.anything[1] is True


REFUSED: list[tuple[tuple[tuple[int, Any, Any], ...], str]] = [
    (((SET, ("accounts", "bob", "balance"), packed(-1)),), "/accounts/bob/balance"),
    (((SET, ("accounts", "bob"), packed({**ACCOUNT, "balance": "x"})),), "/accounts/bob/balance"),
    (((SET, ("limits", "long key"), packed(1)),), "/limits/long key"),
    (((SET, ("accounts",), packed({"x": {**ACCOUNT, "tags": [1]}})),), "/accounts/x/tags"),
    (((SPLICE, ("queue",), [1, 0, [ACCOUNT, {**ACCOUNT, "tags": 1}]]),), "/queue/2/tags"),
    (((MERGE, ("limits",), {"a": 1, "b": -1}),), "/limits/b"),
    (((MERGE, ("limits",), {"a": 1, "long": 1}),), "/limits"),
    (((ADD, ("accounts", "bob", "tags"), [1]),), "/accounts/bob/tags"),
    (((SET, ("numbers", float("nan")), packed(1)),), "/numbers/nan"),
    (((ADD, ("sizes",), [float("inf")]),), "/sizes"),
    (((SET, ("anything",), b"\xd4\x05\x00"),), "/anything"),
]


@pytest.mark.parametrize(("operations", "path"), REFUSED)
def test_what_a_type_refuses_has_its_path(
    operations: tuple[tuple[int, Any, Any], ...], path: str
) -> None:
    """A value, a key or a bound that its declaration refuses is a ValidationError with its path."""
    tree = bank()
    before = BANK.encode(tree.root)

    with pytest.raises(ValidationError) as caught:
        change(tree, (SET, ("accounts", "alice", "balance"), packed(1)), *operations)

    assert str(caught.value).startswith(path + ": ")
    assert BANK.encode(tree.root) == before


IMPOSSIBLE: list[tuple[tuple[int, Any, Any], ...]] = [
    ((SET, ("accounts", "bob", "owner"), packed("x")),),
    ((SET, ("accounts", "bob", "owner_name"), packed("x")),),
    ((SET, ("accounts", "nobody", "balance"), packed(1)),),
    ((SET, ("queue", 3), packed(ACCOUNT)),),
    ((SET, ("queue", -1), packed(ACCOUNT)),),
    ((SET, ("queue", True), packed(ACCOUNT)),),
    ((SET, ("queue", "0"), packed(ACCOUNT)),),
    ((SET, (1,), packed(1)),),
    ((SET, ("accounts", Raw(b"\x80")), packed(ACCOUNT)),),
    ((SET, ("pairs", Raw(b"\x92\x01\x80")), packed([])),),
    ((SET, ("anything", Raw(b"\x80")), packed([])),),
    ((SET, (Raw(packed(["accounts"])),), packed(1)),),
    ((SET, ("accounts", "bob", "balance", "deeper"), packed(1)),),
    ((SET, ("accounts", "bob", "tags", "x"), packed(1)),),
    ((DELETE, ("accounts", "nobody"), None),),
    ((DELETE, ("accounts", "bob"), packed(1)),),
    ((DELETE, ("queue", 0), None),),
    ((DELETE, (), None),),
    ((SPLICE, ("queue",), [0, 4, []]),),
    ((SPLICE, ("queue",), [4, 0, []]),),
    ((SPLICE, ("queue",), [-1, 1, []]),),
    ((SPLICE, ("queue",), [0, -1, []]),),
    ((SPLICE, ("queue",), [0, 1.0, []]),),
    ((SPLICE, ("queue",), [0, 1]),),
    ((SPLICE, ("queue",), [0, 0, []]), (SPLICE, ("queue",), [1, 0, []])),
    ((SPLICE, ("queue",), [0, 0, []]), (SET, ("queue", 0), packed(ACCOUNT))),
    ((SPLICE, ("accounts",), [0, 0, []]),),
    ((ADD, ("queue",), []),),
    ((ADD, ("accounts", "bob", "tags"), ["x", "x"]),),
    ((MERGE, ("queue",), {}),),
    ((MERGE, ("accounts",), b"\x82\xa1a\xc0\xa1a\xc0"),),
    ((MERGE, ("accounts", "bob"), {}),),
    ((SET, (), packed({})), (SET, ("note",), packed(""))),
    ((7, (), None),),
    ((-1, ("accounts",), None),),
    ((SET, ("numbers", 0.0), packed(2)),),
    ((SET, ("numbers", 0), packed(2)),),
    ((DELETE, ("anything", True), None),),
    ((ADD, ("sizes",), [-0.0]),),
]


@pytest.mark.parametrize("operations", IMPOSSIBLE)
def test_what_no_writer_makes_is_refused(operations: tuple[tuple[int, Any, Any], ...]) -> None:
    """Operations that can't be applied are refused before the first of the entry is."""
    tree = bank()
    before = BANK.encode(tree.root)

    with pytest.raises((ValueError, ValidationError)):
        change(tree, (SET, ("accounts", "alice", "balance"), packed(1)), *operations)

    assert BANK.encode(tree.root) == before


def test_first_operation_sets_the_root() -> None:
    """Nothing can be applied to a tree without a root, but its first value."""
    with pytest.raises(ValueError, match="first value"):
        change(Tree(BANK), (SET, ("anything",), packed(1)))


def test_entry_round_trip() -> None:
    """An entry comes back from its bytes, with its call."""
    call = Call("transfer", ["alice", 5], {"fast": True})
    data = encode_entry(17, [(SET, ("a", 1), Raw(packed("x")))], call)

    entry = decode_entry(data)

    assert entry.time == 17
    assert entry.call == call
    assert entry.operations == [Operation(SET, ["a", 1], Raw(packed("x")))]
    assert decode_entries(data + encode_entry(18, []), 2)[1].time == 18


def test_call_arguments_that_cant_be_kept() -> None:
    """Arguments of a call without a form in bytes are refused by name."""
    with pytest.raises(ValidationError, match="transfer"):
        encode_entry(0, [], Call("transfer", [object()], {}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x90",
        b"\x91\x00",
        b"\x94\x00\x90\xc0\xc0",
        b"\x92\xa1x\x90",
        b"\x92\x00\x91\x92\x00\x90",
        b"\x92\x00\x91\x94\x00\x90\xc0\xc0",
        b"\x92\x00\x91\x93\x00\x91\xa1\xff\xc0",
        b"\x92\x00\x90\x00",
        b"\x92\x00\x91\x93\x00" + b"\x91" * 100_000,
        b"\x92\x00\x91\x93\x00\x90" + b"\x91" * 100_000,
        b"\x92\x00\xdd\xff\xff\xff\xff",
    ],
)
def test_malformed_entries_are_value_errors(data: bytes) -> None:
    """Whatever isn't an entry is a ValueError, never a crash."""
    with pytest.raises(ValueError):  # noqa: PT011  every message is msgspec's
        decode_entry(data)
    with pytest.raises(ValueError):  # noqa: PT011  every message is msgspec's
        decode_entries(data, 1)
    with pytest.raises(ValueError):  # noqa: PT011  every message is msgspec's
        decode_operations(data, 1)


@given(st.binary(max_size=40))
def test_random_arguments_never_crash(data: bytes) -> None:
    """Random bytes as an argument are refused or decoded; the state stays loadable."""
    tree = bank()
    for code, path in (
        (SET, ["accounts"]),
        (SPLICE, ["queue"]),
        (ADD, ["sizes"]),
        (MERGE, ["limits"]),
    ):
        with contextlib.suppress(ValueError, ValidationError):
            tree.apply(tree.resolve([Operation(code, path, Raw(data))]))
    assert BANK.encode(BANK.decode(BANK.encode(tree.root))) == BANK.encode(tree.root)


def test_load_takes_a_generator() -> None:
    """Operations of a checkpoint can be streamed into a tree."""
    tree = Tree(BANK)
    tree.load(each for each in [operation(SET, (), BANK.encode(Bank()))])

    assert tree.root == Bank()


def test_operations_are_structs_of_msgspec() -> None:
    """The wire form is an array, so that it has no names to grow with."""
    assert msgspec.msgpack.decode(packed(operation(SET, ["a"], packed(1)))) == [0, ["a"], 1]
