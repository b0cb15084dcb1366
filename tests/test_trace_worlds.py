"""That a trace is judged right whatever the order of things.

The right protocol is never accused, the wrong one whenever it goes wrong, if that can be seen.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cairndb.tracing import judge
from cairndb.tracing_anomalies import LATE_UNLINK, NAMELESS, TWO_HOLDERS
from effort import examples
from trace_script import anomalies
from trace_world import lived

SCHEDULES = st.lists(st.integers(0, 2), min_size=150, max_size=300)


@settings(max_examples=examples(40))
@given(schedule=SCHEDULES, exact=st.booleans(), create=st.booleans(), whole=st.booleans())
def test_the_right_protocol_has_no_anomaly(
    schedule: list[int],
    exact: bool,  # noqa: FBT001  hypothesis gives them
    create: bool,  # noqa: FBT001
    whole: bool,  # noqa: FBT001
) -> None:
    """Whoever looks after locking gets stale locks too, and is never accused of anything."""
    world = lived(schedule, exact=exact, careful=True, create=create, whole=whole)
    assert anomalies(judge(world.trace())) == []


@settings(max_examples=examples(40))
@given(schedule=SCHEDULES, exact=st.booleans(), create=st.booleans())
def test_no_lock_is_called_stale_that_was_not(
    schedule: list[int],
    exact: bool,  # noqa: FBT001
    create: bool,  # noqa: FBT001
) -> None:
    """However calls overlap, only locks on files that had lost their name are marked."""
    world = lived(schedule, exact=exact, careful=False, create=create)
    judged = judge(world.trace())
    marked = {
        round(line.time * 1000 + judged.begun * 1000)
        for line in judged.lines
        for each in line.anomalies
        if each.kind == NAMELESS
    }
    assert marked <= world.stale


@settings(max_examples=examples(40))
@given(schedule=SCHEDULES, exact=st.booleans(), create=st.booleans())
def test_of_calls_that_do_not_overlap_every_mistake_is_found(
    schedule: list[int],
    exact: bool,  # noqa: FBT001
    create: bool,  # noqa: FBT001
) -> None:
    """Each stale lock that was used is marked; each unlink that came second; nothing else."""
    world = lived(schedule, exact=exact, careful=False, create=create, whole=True)
    found = anomalies(judge(world.trace()))
    used = [
        place
        for place in world.stale
        if any(
            call.name == "write" and call.begun > place and call.process == locker.process
            for locker in world.calls
            if locker.ended == place
            for call in world.calls
        )
    ]
    missed = [call for call in world.calls if call.name == "unlink" and call.error]
    assert len([kind for kind, _ in found if kind == NAMELESS]) == len(used)
    assert len([kind for kind, _ in found if kind == LATE_UNLINK]) == len(missed)
    assert create or TWO_HOLDERS not in {kind for kind, _ in found}


def test_the_worlds_have_what_they_are_to_show() -> None:
    """Among the schedules are some in which the wrong protocol goes wrong."""
    schedule = [0, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    world = lived(schedule, exact=False, careful=False, create=False, whole=True)
    assert [kind for kind, _ in anomalies(judge(world.trace()))] == [NAMELESS, LATE_UNLINK]
    careful = lived(
        [0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0], exact=False, careful=True, create=False, whole=True
    )
    assert careful.stale
