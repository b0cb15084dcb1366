from __future__ import annotations

import sys
from typing import Any

import pytest

from cairndb.errors import ValidationError
from cairndb.kinds import DEPTH_MAX
from strategies import (
    Node,
    kind_of,
)


def nested(depth: int) -> Any:
    """A list of lists, this deep."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_limited() -> None:
    """Values reach DEPTH_MAX steps below the root, and none deeper, counted with their path."""
    kind = kind_of(Any)

    assert kind.decode(kind.encode(kind.copy(nested(DEPTH_MAX), 0))) == nested(DEPTH_MAX)
    assert kind.copy(nested(DEPTH_MAX - 5), 5)
    for depth, start in ((DEPTH_MAX + 1, 0), (DEPTH_MAX - 4, 5), (10_000, 0)):
        with pytest.raises(ValidationError, match="deeper than 100"):
            kind.copy(nested(depth), start)


def test_records_count_as_depth() -> None:
    """A chain of Records is as deep as one of lists."""
    node = Node()
    for _ in range(DEPTH_MAX):
        node = Node(left=node)

    with pytest.raises(ValidationError, match="deeper than 100") as caught:
        kind_of(Node).copy(node, 0)

    assert len(caught.value.path) == DEPTH_MAX


def test_cycles_are_refused() -> None:
    """A value that contains itself is too deep."""
    value: list[Any] = [1]
    value.append({"again": value})

    with pytest.raises(ValidationError, match="cycle"):
        kind_of(Any).copy(value, 0)


def test_callers_near_the_stacks_end_get_an_error() -> None:
    """A caller without stack gets a ValidationError or RecursionError; with it, no failure."""
    kind = kind_of(Any)
    value = nested(90)
    outcomes: set[str] = set()

    def call_at(depth: int) -> None:
        if depth:
            call_at(depth - 1)
            return
        try:
            kind.copy(value, 0)
            outcomes.add("copied")
        except ValidationError as error:
            outcomes.add(error.reason)

    depth = 0
    frame: Any = sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    for spare in range(20, 400, 20):
        call_at(sys.getrecursionlimit() - depth - spare)

    assert "copied" in outcomes
    assert [outcome for outcome in outcomes if "stack" in outcome]
    assert len(outcomes) == 2


def test_bytes_nested_too_deeply_are_refused() -> None:
    """Hostile bytes can't exhaust the stack of C."""
    with pytest.raises(ValidationError, match="stack"):
        kind_of(Any).decode(b"\x91" * 1_000_000 + b"\xc0")
