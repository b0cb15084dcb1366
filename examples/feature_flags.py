"""The state of a feature-flag service: flags, segments of users, an audit, and caches that follow.

Who changed what is in the log, as each change is a call that is kept with its arguments:

    python examples/feature_flags.py --database flags.cairn
    cairn log flags.cairn /flags/new-checkout/**

A cache, in this process or in another, begins with all there is and then takes each change once.
"""

import argparse
from typing import Annotated, Any
from zlib import crc32

from msgspec import Meta

import cairndb
from cairndb import Index, Ref

Percentage = Annotated[int, Meta(ge=0, le=100)]


class Segment(cairndb.Record):
    """Some users, by name."""

    users: set[str] = set()


class Rule(cairndb.Record):
    """What a flag is for the users of a segment; the first rule that fits counts."""

    segment: Annotated[str, Ref("segments")]
    percentage: Percentage


class Flag(cairndb.Record):
    """A feature that is on for some users: by rules first, else for so many of all."""

    percentage: Percentage = 0
    rules: list[Rule] = []
    needs: Annotated[str, Ref("flags")] | None = None  # has to be on as well


class Service(cairndb.Record):
    """The root."""

    flags: dict[str, Flag] = {}
    segments: dict[str, Segment] = {}

    using = Index(Flag, "flags/*", keys=lambda flag: [rule.segment for rule in flag.rules])

    @cairndb.check
    def no_circles(self) -> bool:
        """A flag must not need itself, not even by way of others."""
        for start in self.flags:
            seen, name = set[str](), start
            while (needs := self.flags[name].needs) in self.flags:
                seen.add(name)
                if needs in seen:
                    return False
                name = needs
        return True

    @cairndb.update
    def put(self, name: str, percentage: int, needs: str | None = None) -> None:
        """Make a flag, or change it; its rules stay."""
        flag = self.flags.setdefault(name, Flag())
        flag.percentage, flag.needs = percentage, needs

    @cairndb.update
    def aim(self, name: str, segment: str, percentage: int) -> None:
        """Give a flag a rule, before those that it has."""
        self.flags[name].rules.insert(0, Rule(segment, percentage))

    @cairndb.update
    def enrol(self, segment: str, *users: str) -> None:
        """Put users into a segment, which is made if need be."""
        self.segments.setdefault(segment, Segment()).users.update(users)

    @cairndb.update
    def drop_segment(self, segment: str) -> list[str]:
        """Remove a segment, and the rules that use it; the flags that had one."""
        names = [path[1] for path in self.using.paths(segment)]
        for flag in self.using[segment]:
            flag.rules = [rule for rule in flag.rules if rule.segment != segment]
        del self.segments[segment]
        return names

    @cairndb.query
    def on(self, name: str, user: str) -> bool:
        """Whether a flag is on for a user; a flag that isn't there is off."""
        return is_on(self.flags, self.segments, name, user)


def is_on(flags: dict[str, Flag], segments: dict[str, Segment], name: str, user: str) -> bool:
    """Evaluate a flag: the same for the same user, wherever it is done."""
    flag = flags.get(name)
    if flag is None or (flag.needs is not None and not is_on(flags, segments, flag.needs, user)):
        return False
    for rule in flag.rules:
        if user in segments[rule.segment].users:
            return crc32(f"{name} {user}".encode()) % 100 < rule.percentage
    return crc32(f"{name} {user}".encode()) % 100 < flag.percentage


class Cache:
    """Flags and segments as of the last `refresh`, without the database at hand."""

    def __init__(self) -> None:
        self.flags: dict[str, Flag] = {}
        self.segments: dict[str, Segment] = {}
        self.position: str | None = None

    def refresh(self, db: cairndb.Database[Service]) -> None:
        """Take over what has become durable since the last time."""
        try:
            for item in db.watch("/*/*", since=self.position, initial=not self.position, timeout=0):
                for each in item.changes:
                    part: dict[Any, Any] = getattr(self, each.path[0])
                    if each.kind == "removed":
                        part.pop(each.path[1], None)
                    else:
                        part[each.path[1]] = each.after
                self.position = item.position
        except (cairndb.Compacted, cairndb.UnknownPosition):  # what is missing can't be had
            self.flags, self.segments, self.position = {}, {}, None
            self.refresh(db)


def main() -> None:
    """Roll a feature out, and see who has it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", default="flags.cairn")
    given = parser.parse_args()
    users = [f"user {i}" for i in range(1000)]
    with cairndb.open(given.database, Service, audit=True) as db:
        cache = Cache()
        db.run(Service.enrol, "testers", *users[:100])
        db.run(Service.put, "new-checkout", 0)
        db.run(Service.aim, "new-checkout", "testers", 100)
        for percentage in (0, 10, 50, 100):
            db.run(Service.put, "new-checkout", percentage)
            cache.refresh(db)
            have = [u for u in users if is_on(cache.flags, cache.segments, "new-checkout", u)]
            print(f"{percentage:3} %: on for {len(have)} of {len(users)}")


if __name__ == "__main__":
    main()
