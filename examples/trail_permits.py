"""Permits for a wilderness area: quotas, holds that expire, waiting lists, and nothing oversold.

A party asks for places at a trailhead for a day. What is free is held for half an hour, to be
confirmed or not; who comes too late waits. A task watches for permits that are gone, and gives
their places to those who have waited longest. An update that would sell a place twice is rejected.

    python examples/trail_permits.py
"""

import asyncio
import random
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from msgspec import Meta

import cairndb
from cairndb import Index, Ref

HOLD = timedelta(minutes=30)
CONFIRMED = datetime.max.replace(tzinfo=UTC)
PERMITS = "trailheads/*/days/*/permits/*"


class Permit(cairndb.Record):
    """Places for a party on one day; until when they are held, or CONFIRMED."""

    number: int
    trailhead: Annotated[str, Ref("trailheads")]
    day: date
    party: str
    people: Annotated[int, Meta(ge=1, le=12)]
    hold_ends: datetime


class Day(cairndb.Record):
    """One day at one trailhead."""

    quota: int
    permits: dict[str, Permit] = {}  # by party
    waiting: dict[str, int] = {}  # how many people, in the order in which they came

    def free(self) -> int:
        """How many places are left."""
        return self.quota - sum(permit.people for permit in self.permits.values())

    @cairndb.check
    def never_oversold(self) -> bool:
        """Asked at the end of each update that changes this day."""
        return self.free() >= 0


class Trailhead(cairndb.Record):
    """Where trails begin."""

    quota: Annotated[int, Meta(ge=0)]
    days: dict[date, Day] = {}


class Area(cairndb.Record):
    """The root."""

    trailheads: dict[str, Trailhead] = {}
    issued: int = 0

    by_number = Index(Permit, PERMITS, key=lambda permit: permit.number, unique=True)
    by_day = Index(Permit, PERMITS, key=lambda permit: permit.day, ordered=True)
    holds = Index(Permit, PERMITS, key=lambda permit: permit.hold_ends, ordered=True)
    queues = Index(Day, "trailheads/*/days/*", key=lambda day: bool(day.waiting))

    @cairndb.update
    def ask(self, where: str, day: date, party: str, people: int, now: datetime) -> int | None:
        """Hold places; the permit's number, or None for a party that has to wait."""
        here = self.trailheads[where].days.setdefault(day, Day(self.trailheads[where].quota))
        if party not in here.permits:
            here.waiting.setdefault(party, people)  # behind those who wait already
        self.serve(where, day, now)
        return here.permits[party].number if party in here.permits else None

    @cairndb.update
    def serve(self, where: str, day: date, now: datetime) -> None:
        """Hold what is free for those who wait, the first first; harmless if there is nothing."""
        here = self.trailheads[where].days[day]
        for party, people in list(here.waiting.items()):
            if people > here.free():
                return
            del here.waiting[party]
            self.issued += 1
            here.permits[party] = Permit(self.issued, where, day, party, people, now + HOLD)

    @cairndb.update
    def confirm(self, number: int, now: datetime) -> bool:
        """Turn a hold into a permit; False: too late."""
        permit = self.by_number.get(number)
        if permit is not None and permit.hold_ends > now:
            permit.hold_ends = CONFIRMED
        return permit is not None and permit.hold_ends == CONFIRMED

    @cairndb.update
    def cancel(self, number: int) -> None:
        """Give places back."""
        permit = self.by_number.one(number)
        del self.trailheads[permit.trailhead].days[permit.day].permits[permit.party]

    @cairndb.update
    def expire(self, now: datetime) -> None:
        """Give back the places of holds that have ended."""
        for permit in self.holds.range(high=now, inclusive=(True, True)):
            self.cancel(permit.number)


async def serve_waiting(db: cairndb.Database[Area], now: datetime, quiet: float | None) -> None:
    """Serve who waits, all of them and then as permits go, until it is quiet for some seconds."""
    async with db.watch_async(PERMITS, initial=True, timeout=quiet) as watch:
        async for _ in watch:
            async with db.update_async() as area:
                for _, where, _, day in area.queues.paths(True):
                    area.serve(where, day, now)


async def season(database: str, parties: int) -> None:
    """Have parties ask for permits, confirm, forget and cancel them, all at once."""
    chance, now = random.Random(parties), datetime(2027, 6, 1, tzinfo=UTC)  # noqa: S311

    async def client(db: cairndb.Database[Area], party: str) -> None:
        where, day = chance.choice(["lakes", "ridge"]), date(2027, 7, chance.randint(1, 5))
        number = await db.run_async(Area.ask, where, day, party, chance.randint(1, 4), now)
        if number is not None and chance.random() < 0.7:
            await db.run_async(Area.confirm, number, now)
        elif number is not None:
            await db.run_async(Area.cancel, number)

    async with cairndb.open(database, Area) as db:
        async with db.update_async() as area:
            area.trailheads = {"lakes": Trailhead(25), "ridge": Trailhead(12)}
        desk = asyncio.create_task(serve_waiting(db, now, None))
        async with asyncio.TaskGroup() as tasks:
            for i in range(parties):
                tasks.create_task(client(db, f"party {i}"))
        await db.run_async(Area.expire, now + HOLD)
        desk.cancel()
        await serve_waiting(db, now, 0)
        async with db.view_async() as area:
            print(f"{area.issued} holds, {sum(p.people for p in area.by_day)} people come")


if __name__ == "__main__":
    asyncio.run(season(sys.argv[1] if len(sys.argv) > 1 else "permits.cairn", 256))
