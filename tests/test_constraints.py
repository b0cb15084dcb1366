"""References and checks: what they reject, what follows a deletion, and when they are asked."""

from pathlib import Path
from typing import Annotated

import msgspec
import pytest

import cairndb
from cairndb import ConstraintError, Ref


class Team(cairndb.Record):
    name: str = ""
    parent: Annotated[str, Ref("teams", on_delete="cascade")] | None = None


class Person(cairndb.Record):
    team: Annotated[str, Ref("teams")] | None = None
    mentor: Annotated[str, Ref("people", on_delete="clear")] | None = None
    friends: set[Annotated[str, Ref("people", on_delete="clear")]] = set()


class Task(cairndb.Record):
    owner: Annotated[str, Ref("people", on_delete="cascade")]
    watcher: Annotated[str, Ref("people", on_delete="cascade")] | None = None
    weight: int = 1


class Plan(cairndb.Record):
    teams: dict[str, Team] = {}
    people: dict[str, Person] = {}
    tasks: list[Task] = []
    by_task: dict[str, list[Task]] = {}
    current: Task | None = None
    limit: int = 10
    asked: list[str] = []

    @cairndb.check
    def not_too_much(self) -> bool:
        return sum(task.weight for task in self.tasks) <= self.limit


def opened(path: Path) -> cairndb.Database[Plan]:
    """A plan with two teams and three people."""
    db = cairndb.open(path / "plan.cairn", Plan)
    with db.update() as plan:
        plan.teams = {"red": Team("Red"), "blue": Team("Blue", "red")}
        plan.people = {name: Person() for name in ("ann", "ben", "cid")}
    return db


def test_a_reference_must_lead_somewhere(tmp_path: Path) -> None:
    """The record that refers and what it refers to may come in one update, in either order."""
    with opened(tmp_path) as db:
        with (
            pytest.raises(ConstraintError, match=r"/teams/green, which isn't there") as caught,
            db.update() as plan,
        ):
            plan.people["ann"].team = "green"
        assert caught.value.paths == (("people", "ann"),)
        with db.update() as plan:
            plan.people["ann"].team = "green"
            plan.teams["green"] = Team("Green")


def test_what_is_referred_to_cant_be_deleted_unasked(tmp_path: Path) -> None:
    """`refuse` is the default; the error names both sides. Without the reference it can go."""
    with opened(tmp_path) as db:
        with db.update() as plan:
            plan.people["ann"].team = "blue"
        for delete in (
            lambda plan: plan.teams.pop("blue"),
            lambda plan: plan.teams.clear(),
            lambda plan: setattr(plan, "teams", {"red": Team()}),
        ):
            with (
                pytest.raises(ConstraintError, match=r"/teams/blue can't be deleted") as caught,
                db.update() as plan,
            ):
                delete(plan)
            assert caught.value.paths == (("teams", "blue"), ("people", "ann"))
        with db.update() as plan:
            plan.teams["blue"] = Team("Bluer")  # replaced: the key is still there
        with db.update() as plan:
            del plan.teams["blue"]
            plan.people["ann"].team = None
        assert list(cairndb.plain(db.run(teams))) == ["red"]


@cairndb.query
def teams(plan: Plan) -> dict[str, Team]:
    """The teams."""
    return plan.teams


def test_cascades_go_on_and_are_one_update(tmp_path: Path) -> None:
    """A chain of records goes with the first; lists close up, optional fields become None."""
    with opened(tmp_path) as db:
        with db.update() as plan:
            plan.tasks = [Task("ann"), Task("ben", "ann"), Task("cid"), Task("ann", "ann")]
            plan.by_task["x"] = [Task("cid"), Task("ann")]
            plan.current = Task("ann")
        lsn = db.lsn
        with db.update() as plan:
            del plan.people["ann"]
        assert db.lsn == lsn + 1
        with db.view() as plan:
            assert [task.owner for task in plan.tasks] == ["cid"]
            assert [task.owner for task in plan.by_task["x"]] == ["cid"]
            assert plan.current is None
        with db.update() as plan:
            del plan.teams["red"]  # the blue one goes with it
        assert db.run(teams) == {}


def test_a_cascade_that_is_refused_further_on_is_refused_whole(tmp_path: Path) -> None:
    """Nothing has happened then."""
    with opened(tmp_path) as db:
        with db.update() as plan:
            plan.people["ann"].team = "blue"
        with (
            pytest.raises(ConstraintError, match=r"/teams/blue can't be deleted"),
            db.update() as plan,
        ):
            del plan.teams["red"]
        assert set(db.run(teams)) == {"red", "blue"}


def test_clearing_takes_the_key_out(tmp_path: Path) -> None:
    """A field becomes None; a list or a set loses the key."""
    with opened(tmp_path) as db:
        with db.update() as plan:
            plan.people["ben"] = Person(None, "ann", {"ann", "cid"})
        with db.update() as plan:
            del plan.people["ann"]
        with db.view() as plan:
            assert plan.people["ben"] == Person(None, None, {"cid"})


def test_a_check_sees_the_record_as_it_would_be(tmp_path: Path) -> None:
    """It rejects by being false or by raising; nothing has happened then."""
    with opened(tmp_path) as db:
        with db.update() as plan:
            plan.tasks.append(Task("ann", weight=9))
        with (
            pytest.raises(ConstraintError, match=r"Plan\.not_too_much is false") as caught,
            db.update() as plan,
        ):
            plan.tasks.append(Task("ann", weight=2))
        assert caught.value.paths == ((),)
        with db.update() as plan:
            plan.tasks[0].weight = 8
            plan.tasks.append(Task("ann", weight=2))


class Counter(cairndb.Record):
    value: int = 0
    history: list[int] = []

    @cairndb.check
    def rises(self) -> None:
        SEEN.append(self.value)
        if self.value < 0:
            raise ValueError("below nothing")


class Counters(cairndb.Record):
    counters: dict[str, Counter] = {}


SEEN: list[int] = []


def test_a_check_runs_on_what_changed_and_nothing_else(tmp_path: Path) -> None:
    """Once per update, also where something inside of the record has changed."""
    with cairndb.open(tmp_path / "x.cairn", Counters) as db:
        with db.update() as counters:
            counters.counters = {name: Counter(ord(name)) for name in "ab"}
        SEEN.clear()
        with db.update() as counters:
            counters.counters["a"].value = 1
            counters.counters["a"].value = 2
        with db.update() as counters:
            counters.counters["a"].history.append(7)
        with db.update() as counters:
            del counters.counters["b"]
        assert SEEN == [2, 2]
        with (
            pytest.raises(ConstraintError, match=r"/counters/a: .*ValueError: below nothing"),
            db.update() as counters,
        ):
            counters.counters["a"].value = -1
        with db.view() as counters:
            assert counters.counters["a"].value == 2


def test_a_check_must_not_change_anything(tmp_path: Path) -> None:
    """A write in a check would come after the rules were asked: the update is rejected."""

    class Meddling(cairndb.Record):
        value: int = 0

        @cairndb.check
        def meddle(self) -> None:
            self.value += 1

    with cairndb.open(tmp_path / "x.cairn", Meddling) as db:
        with pytest.raises(cairndb.UsageError, match="changed a Meddling"), db.update() as root:
            root.value = 5
        with db.view() as root:
            assert root.value == 0


def test_a_new_reference_is_judged_at_open(tmp_path: Path) -> None:
    """What is stored must lead somewhere, if the database is to be written to."""

    class Loose(cairndb.Record):
        keys: dict[str, int] = {}
        pair: list[str] = []

    class Tied(cairndb.Record):
        keys: dict[str, int] = {}
        pair: list[Annotated[str, Ref("keys")]] = []

    with cairndb.open(tmp_path / "x.cairn", Loose) as db, db.update() as root:
        root.pair = ["lost"]
    with pytest.raises(ConstraintError, match="which isn't there"):
        cairndb.open(tmp_path / "x.cairn", Tied)
    with cairndb.open(tmp_path / "x.cairn", Loose) as db, db.update() as root:
        root.keys["lost"] = 1
    cairndb.open(tmp_path / "x.cairn", Tied).close()


def test_references_that_cant_work_are_refused_at_open(tmp_path: Path) -> None:
    """All of them in one error, with what to write."""

    class Inner(msgspec.Struct, frozen=True):
        key: Annotated[str, Ref("keys")]

    class Bad(cairndb.Record):
        keys: dict[str, int] = {}
        nowhere: Annotated[str, Ref("kyes")] = ""
        number: Annotated[int, Ref("keys")] = 0
        deep: dict[str, Annotated[str, Ref("keys")]] = {}
        stays: Annotated[str, Ref("keys", on_delete="clear")] = ""
        scalar: Annotated[str, Ref("number")] = ""
        inner: Inner | None = None

    with pytest.raises(cairndb.SchemaError) as caught:
        cairndb.open(tmp_path / "x.cairn", Bad)
    lines = str(caught.value).splitlines()
    assert len(lines) == 7
    for name in ("nowhere", "number", "deep", "stays", "scalar"):
        assert any(f"Bad.{name}:" in line for line in lines)
    assert any("Inner.key:" in line for line in lines)
    with pytest.raises(cairndb.UsageError, match="on_delete is"):
        Ref("keys", on_delete="explode")  # type: ignore[arg-type]  # refused
