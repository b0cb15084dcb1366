"""The model of a draft is plain Python: the same random operations on both have to show the same.

The plain side (draft_model.py) is dicts, lists, sets and a small class, so that dict order, slices
and errors are Python's own. After each step the draft's canonical bytes are compared with the
model's; a commit goes the way of a real one (drafting.Bench), which also compares the typed with
the untyped fold and refuses a patch without an effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cairndb import draft
from draft_model import (
    DICT_CALLS,
    FIELDS,
    KEYS,
    LIST_CALLS,
    SET_CALLS,
    VALUES,
    Root,
    any_values,
    branches,
    either_values,
    leaf_values,
    modelled,
    names,
    numbers,
    places,
    reached,
    recorded,
    small,
    walked,
)
from drafting import Bench
from effort import examples

if TYPE_CHECKING:
    from collections.abc import Callable


class Drafts(RuleBasedStateMachine):
    """Drives a draft and its model with the same calls."""

    @initialize(
        leaves=st.dictionaries(names, leaf_values, max_size=3),
        items=st.lists(leaf_values, max_size=4),
        rows=st.lists(st.lists(small, max_size=3), max_size=3),
        words=st.lists(names, max_size=5),
        mixed=st.dictionaries(numbers, branches, max_size=3),
        anything=any_values,
    )
    def open(self, **fields: Any) -> None:
        self.bench = self.made(Root(**fields))
        self.begin()

    # What a subclass does otherwise: test_history drives a whole database.

    def made(self, root: Root) -> Any:
        return Bench(Root, root)

    def started(self) -> Any:
        return draft.open_draft(self.bench.kind, self.bench.root)

    def committed(self) -> None:
        self.bench.finish(self.draft, self.before)
        draft.close(self.draft)

    def dropped(self) -> None:
        draft.close(self.draft)

    def begin(self) -> None:
        self.before = self.bench.encoded()
        self.draft = self.started()
        self.model = modelled(self.bench.root)
        self.kept: list[Any] = []

    def node(self, pick: int, kind: str) -> tuple[Any, Any, tuple[str, str, str]] | None:
        """One of the nodes of a kind, in the draft and in the model."""
        found = [
            (path, shape) for path, shape in places(self.model, ("", "", "")) if shape[0] == kind
        ]
        if not found:
            return None
        path, shape = found[pick % len(found)]
        return reached(self.draft, path), reached(self.model, path), shape

    def both(self, call: Callable[..., Any], mine: Any, plain: Any, *values: Any) -> None:
        """The same call on both sides: the same outcome, or the same error."""
        outcomes = []
        for node, model in ((mine, False), (plain, True)):
            arguments = [modelled(value) if model else value for value in values]
            try:
                result = call(node, *arguments)
            except (KeyError, IndexError, ValueError, TypeError) as error:
                outcomes.append(type(error).__name__)
            else:
                outcomes.append("same" if result is node else walked(result))
        assert outcomes[0] == outcomes[1]

    @rule(data=st.data(), pick=st.integers(0, 1000), i=st.integers(-5, 5), j=st.integers(-3, 3))
    def change_list(self, data: st.DataObject, pick: int, i: int, j: int) -> None:
        chosen = self.node(pick, "list")
        if chosen is None or len(chosen[1]) > 12:
            return
        mine, plain, shape = chosen
        values = data.draw(st.lists(VALUES[shape[1]], min_size=1, max_size=3))
        call: Any = data.draw(st.sampled_from(LIST_CALLS))
        self.both(call, mine, plain, i, j, values)

    @rule(data=st.data(), pick=st.integers(0, 1000))
    def change_dict(self, data: st.DataObject, pick: int) -> None:
        chosen = self.node(pick, "dict")
        if chosen is None:
            return
        mine, plain, shape = chosen
        keys, values = KEYS[shape[2]], VALUES[shape[1]]
        pairs = data.draw(st.lists(st.tuples(keys, values), max_size=3))
        call: Any = data.draw(st.sampled_from(DICT_CALLS))
        self.both(
            call,
            mine,
            plain,
            data.draw(keys),
            data.draw(values),
            [list(pair) for pair in pairs],
        )

    @rule(data=st.data(), pick=st.integers(0, 1000), call=st.sampled_from(SET_CALLS))
    def change_set(self, data: st.DataObject, pick: int, call: Any) -> None:
        chosen = self.node(pick, "set")
        if chosen is None:
            return
        mine, plain, shape = chosen
        elements = {"word": names, "number": numbers}[shape[1]]
        self.both(call, mine, plain, data.draw(elements), data.draw(st.sets(elements, max_size=3)))

    @rule(data=st.data(), pick=st.integers(0, 1000))
    def change_record(self, data: st.DataObject, pick: int) -> None:
        chosen = self.node(pick, "record")
        assert chosen is not None
        mine, plain, _ = chosen
        name = data.draw(st.sampled_from(plain.names()))
        values = {
            "number": small,
            "ratio": st.sampled_from([0.0, -0.0, 1.0, float("nan")]),
            "anything": any_values,
            "either": either_values,
        }
        if name in values:
            value = data.draw(values[name])
        else:
            kind, element, key = FIELDS[name]
            of = VALUES.get(element, numbers)
            made = {
                "list": st.lists(of, max_size=3),
                "set": st.sets(of if element == "number" else names, max_size=3),
                "dict": st.dictionaries(KEYS.get(key, names), of, max_size=3),
            }
            value = data.draw(made[kind])
        setattr(mine, name, value)
        setattr(plain, name, modelled(value))

    @rule(pick=st.integers(0, 1000), kind=st.sampled_from(["list", "dict", "record", "set"]))
    def keep(self, pick: int, kind: str) -> None:
        """Hold a child draft, clean or not, so that it outlives the removal of its node."""
        chosen = self.node(pick, kind)
        if chosen is not None:
            self.kept.append(chosen[0])

    @precondition(lambda self: self.kept)
    @rule()
    def read_what_was_kept(self) -> None:
        """A draft is readable to the end of its update, wherever its node has gone."""
        for kept in self.kept:
            walked(kept)

    @rule()
    def commit(self) -> None:
        self.committed()
        self.begin_again()

    @rule()
    def abandon(self) -> None:
        self.dropped()
        assert self.bench.encoded() == self.before
        self.begin()

    def begin_again(self) -> None:
        model = self.model
        self.begin()
        assert walked(self.model) == walked(model)

    @invariant()
    def shows_the_same(self) -> None:
        if hasattr(self, "bench"):
            kind = self.bench.kind
            expected = kind.encode(kind.copy(recorded(self.model), 0))
            assert kind.encode(draft.plain(self.draft)) == expected
            assert walked(self.draft) == walked(self.model)
            assert self.bench.encoded() == self.before


class LongDrafts(Drafts):
    """The same, for longer."""


CHECKED = settings(
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
Drafts.TestCase.settings = settings(CHECKED, max_examples=examples(15), stateful_step_count=20)
LongDrafts.TestCase.settings = settings(CHECKED, max_examples=examples(200), stateful_step_count=30)
TestDrafts = Drafts.TestCase
TestLongDrafts = pytest.mark.slow(LongDrafts.TestCase)
