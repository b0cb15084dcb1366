"""The feature flags of the examples: caches follow, rules hold, and the log says who did what."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cairndb
from effort import examples
from test_job_queue import EXAMPLES, loaded

if TYPE_CHECKING:
    from collections.abc import Callable

feature_flags = loaded("feature_flags")
Service: Any = feature_flags.Service
NAMES = st.sampled_from(["a", "b", "c"])
CALLS = st.one_of(
    st.tuples(st.just("put"), NAMES, st.integers(0, 100), st.one_of(st.none(), NAMES)),
    st.tuples(st.just("aim"), NAMES, NAMES, st.integers(0, 100)),
    st.tuples(st.just("enrol"), NAMES, st.sampled_from(["ann", "ben"])),
    st.tuples(st.just("drop_segment"), NAMES),
    st.tuples(st.just("refresh")),
)


@settings(deadline=None, max_examples=examples(25))
@given(st.lists(CALLS, max_size=20))
def test_a_cache_is_what_the_database_is(calls: list[tuple[Any, ...]]) -> None:
    """After each refresh, whatever was refused in between, and after reopening."""
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder) / "flags.cairn", feature_flags.Cache()
        for half in (calls[: len(calls) // 2], calls[len(calls) // 2 :]):
            with cairndb.open(path, Service, durability="process") as db:
                for name, *arguments in half:
                    if name == "refresh":
                        cache.refresh(db)
                        continue
                    # No such flag or segment, or a circle.
                    with contextlib.suppress(KeyError, cairndb.ConstraintError):
                        db.run(getattr(Service, name), *arguments)
                cache.refresh(db)
                with db.view() as service:
                    assert cache.flags == service.flags
                    assert cache.segments == service.segments
                    for flag in "abc":
                        there = service.on(flag, "ann")
                        assert there == feature_flags.is_on(
                            cache.flags, cache.segments, flag, "ann"
                        )


def test_a_cache_of_another_history_begins_anew(tmp_path: Path) -> None:
    """Where the log doesn't lead on from its position, it takes what is there and nothing else."""
    cache = feature_flags.Cache()
    for name in ("first", "second"):
        with cairndb.open(tmp_path / f"{name}.cairn", Service) as db:
            db.run(Service.put, name, 100)
            cache.refresh(db)
            assert set(cache.flags) == {name}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda db: db.run(Service.put, "a", 5, "c"), "no_circles is false"),
        (lambda db: db.run(Service.put, "d", 5, "d"), "no_circles is false"),
        (lambda db: db.run(Service.put, "d", 5, "nothing"), "isn't there"),
        (lambda db: db.run(Service.aim, "a", "nobody", 5), "isn't there"),
    ],
)
def test_what_would_not_make_sense_is_rejected(
    tmp_path: Path, change: Callable[[Any], object], reason: str
) -> None:
    """Circles, and rules for what isn't there."""
    with cairndb.open(tmp_path / "flags.cairn", Service) as db:
        for name, needs in (("a", None), ("b", "a"), ("c", "b")):
            db.run(Service.put, name, 100, needs)
        with pytest.raises(cairndb.ConstraintError, match=reason):
            change(db)


@pytest.mark.process
def test_it_runs_as_a_script_and_leaves_an_audit(tmp_path: Path) -> None:
    """More users have the feature each time; the log has the calls."""
    path = tmp_path / "flags.cairn"
    command = [sys.executable, str(EXAMPLES / "feature_flags.py"), "--database", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line.split()[4] for line in done.stdout.splitlines()] == ["100", "186", "546", "1000"]
    log = [sys.executable, "-m", "cairndb", "log", str(path), "/flags/new-checkout/percentage"]
    shown = subprocess.run(log, capture_output=True, text=True, check=True).stdout
    assert 'Service.put("new-checkout", 50)' in shown
