"""The main job, on real input: import the Unicode names, be killed again and again, lose nothing.

A child process imports the names that the running Python knows (`unicodedata`) into a typed
database, a few hundred in each durable update, and says so on a pipe once an update has returned.
This process draws the bar, kills the child with SIGKILL at random moments, opens what it left and
checks it against the source: every acknowledged update is there, nothing but whole updates is, and
the next child carries on. Then it looks around: lookups, an update that fails halfway, a
checkpoint, a cold start.

Run it with `make demo`, or with `--help` for how many, how often, and from which seed.
"""

import argparse
import contextlib
import json
import random
import shutil
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn
from rich.table import Table

import cairndb

HERE = Path(__file__).parent
DURABLE_UPDATES = 300
LOOKUPS = 100_000


class Character(cairndb.Record):
    """One code point, as the Unicode Character Database describes it."""

    name: str
    category: str
    block: str
    number: float | None = None
    aliases: list[str] = []


class Names(cairndb.Record):
    """The root: the characters, the way from names to them, and how far the import has come."""

    version: str = unicodedata.unidata_version
    batches: int = 0
    lookups: int = 0
    characters: dict[int, Character] = {}
    code_points: dict[str, int] = {}

    @cairndb.query
    def find(self, name: str) -> Character | None:
        """The character of a name or alias."""
        return self.characters.get(self.code_points.get(name.upper(), -1))

    @cairndb.update
    def note_lookup(self, name: str) -> bool:
        """Count a lookup, and say whether it would find something."""
        self.lookups += 1
        return name in self.code_points


# --- What there is to import ---


def facts(name: str) -> list[str]:
    """The lines of a data file beside this one, without its comments."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def block_of_code_points() -> dict[int, str]:
    """The block of every 16 code points: no block begins or ends in between."""
    blocks: dict[int, str] = {}
    for line in facts("unicode_blocks.txt"):
        ends, name = line.split("; ")
        first, last = (int(end, 16) for end in ends.split(".."))
        blocks.update(dict.fromkeys(range(first >> 4, (last >> 4) + 1), name))
    return blocks


def aliases_of_code_points() -> dict[int, list[str]]:
    """The other names of characters, as far as this Python's `unicodedata` knows them."""
    aliases: dict[int, list[str]] = {}
    for alias in facts("unicode_aliases.txt"):
        try:
            aliases.setdefault(ord(unicodedata.lookup(alias)), []).append(alias)
        except KeyError:
            continue
    return aliases


def named_characters() -> Iterator[tuple[int, Character]]:
    """Every code point that has a name or an alias, in order: the same in every process."""
    blocks, aliases = block_of_code_points(), aliases_of_code_points()
    for code_point in range(sys.maxunicode + 1):
        text = chr(code_point)
        others = aliases.get(code_point, [])
        if name := unicodedata.name(text, others[0] if others else ""):
            yield (
                code_point,
                Character(
                    name=name,
                    category=unicodedata.category(text),
                    block=blocks.get(code_point >> 4, "No_Block"),
                    number=unicodedata.numeric(text, None),
                    aliases=[other for other in others if other != name],
                ),
            )


# --- The child: import until there is no more ---


def import_names(database: Path, batch_size: int, limit: int) -> None:
    """Carry on where the database stands; each line on stdout is a promise kept."""
    with cairndb.open(database, Names) as db:
        with db.view() as names:
            done = names.batches
        rest = islice(named_characters(), done * batch_size, limit)
        while batch := list(islice(rest, batch_size)):
            with db.update() as names:
                for code_point, character in batch:
                    names.characters[code_point] = character
                    for name in (character.name, *character.aliases):
                        names.code_points[name] = code_point
                names.batches += 1
            done += 1
            sys.stdout.write(f"{done}\n")
            sys.stdout.flush()


def reopen(database: Path) -> None:
    """Open in a process that has seen nothing of the database, and say how long it took."""
    started = time.perf_counter()
    with cairndb.open(database, Names) as db:
        seconds = time.perf_counter() - started
        with db.view() as names:
            report = {"seconds": seconds, "characters": len(names.characters)}
    sys.stdout.write(json.dumps(report))


# --- The parent: kill, open, compare, go on ---


@dataclass
class Seen:
    """What the table at the end says."""

    kills: int = 0
    acknowledged: int = 0
    found_beyond: int = 0
    opened_seconds: list[float] = field(default_factory=list)
    rows: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Job:
    """One run of the demo: what is imported where, and what is known of it so far."""

    database: Path
    batch_size: int
    source: list[tuple[int, Character]]
    random: random.Random
    console: Console
    seen: Seen = field(default_factory=Seen)

    @property
    def batches(self) -> int:
        """How many updates the whole import takes."""
        return -(-len(self.source) // self.batch_size)

    def child(self, *arguments: str) -> subprocess.Popen[str]:
        """This program as another process."""
        command = [sys.executable, __file__, "--database", str(self.database), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603

    def run_child(self, kill_after: int | None, progress: Progress, task: TaskID) -> bool:
        """Let a child import, until it is done or `kill_after` more updates are acknowledged.

        Returns:
            Whether it was killed.
        """
        limit = str(len(self.source))
        child = self.child("--import", "--batch", str(self.batch_size), "--limit", limit)
        assert child.stdout is not None
        stop_at = None if kill_after is None else self.seen.acknowledged + kill_after
        with child:
            while self.seen.acknowledged != stop_at and (line := child.stdout.readline()):
                self.seen.acknowledged = int(line)
                progress.update(task, completed=self.seen.acknowledged)
            if stop_at is not None:
                # Not right after the acknowledgement: anywhere in the updates that follow it, or,
                # before the first, anywhere in the child's start.
                time.sleep(self.random.uniform(0.0, 0.02 if kill_after else 0.5))
                child.kill()
            for line in child.stdout:  # what it had said by then is promised too
                self.seen.acknowledged = int(line)
        if child.returncode not in {0, -9}:
            raise SystemExit(f"the importing process failed with exit code {child.returncode}")
        return child.returncode == -9

    def check(self) -> None:
        """Open what the child left, and compare it with the source, whole."""
        started = time.perf_counter()
        with cairndb.open(self.database, Names) as db, db.view() as names:
            self.seen.opened_seconds.append(time.perf_counter() - started)
            found = names.batches
            beyond = found - self.seen.acknowledged
            if beyond not in {0, 1}:
                raise SystemExit(f"{self.seen.acknowledged} acknowledged, {found} found")
            if not self.holds(names):
                raise SystemExit(f"after update {found} there is something else than was written")
            if db.lsn != found + 1:  # the first was the creation
                raise SystemExit(f"{found} updates, but the last one has the number {db.lsn}")
        # The one beyond was committed, but killed before it could say so: it counts from now on.
        self.seen.found_beyond += beyond
        self.seen.acknowledged = found

    def holds(self, names: Names) -> bool:
        """Whether the state is what its number of updates makes of the source, and nothing else."""
        expected = dict(self.source[: names.batches * self.batch_size])
        by_name = {
            name: code_point
            for code_point, character in expected.items()
            for name in (character.name, *character.aliases)
        }
        return names.characters == expected and names.code_points == by_name

    def import_all(self, kills: int) -> None:
        """The import, with `kills` interruptions and a check after each."""
        columns = ("importing", BarColumn(), MofNCompleteColumn(), "updates", TimeElapsedColumn())
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task("", total=self.batches)
            for left in range(kills, -1, -1):
                share = (self.batches - self.seen.acknowledged) // (left + 1)
                kill_after = self.random.randint(1, max(2 * share - 2, 1))
                if left == kills:
                    kill_after = 0  # the first while the database is being made, or soon after
                killed = self.run_child(kill_after if left else None, progress, task)
                self.check()
                progress.update(task, completed=self.seen.acknowledged)
                if killed:
                    self.seen.kills += 1
                    opened = self.seen.opened_seconds[-1]
                    self.console.print(
                        f"  killed: {self.seen.acknowledged} updates, all there, "
                        f"nothing else; opened in {opened:.2f} s"
                    )
                elif self.seen.acknowledged == self.batches:
                    break
        if self.seen.acknowledged != self.batches:
            raise SystemExit("the import has ended before its end")

    def look_around(self) -> None:
        """Lookups, single durable updates, and one that fails halfway."""
        with cairndb.open(self.database, Names) as db:
            for name in ("snowman", "line feed", "vulgar fraction one half"):
                if (found := db.run(Names.find, name)) is not None:
                    also = ", ".join(found.aliases) or "no other name"
                    number = "" if found.number is None else f", worth {found.number:g}"
                    self.console.print(
                        f"  {found.name}: {found.category}, {found.block}{number}; {also}"
                    )
            sample = self.random.choices(self.source, k=LOOKUPS)
            started = time.perf_counter()
            with db.view() as names:
                for code_point, _ in sample:
                    names.characters[code_point].name  # noqa: B018  the read is what is measured
            self.row("reads in a view", rate(LOOKUPS, started))
            started = time.perf_counter()
            for _, character in sample[: LOOKUPS // 10]:
                with db.view() as names:
                    names.code_points[character.name]
            self.row("views with a read by name", rate(LOOKUPS // 10, started))
            started = time.perf_counter()
            for _, character in sample[:DURABLE_UPDATES]:
                db.run(Names.note_lookup, character.name)
            self.row("durable updates", rate(DURABLE_UPDATES, started))
            self.fail_halfway(db)

    def fail_halfway(self, db: cairndb.Database[Names]) -> None:
        """Raise in the middle of an update that would have destroyed much."""
        before = db.lsn, sizes(self.database)
        with contextlib.suppress(ZeroDivisionError), db.update() as names:
            names.characters.clear()
            names.code_points["SNOWMAN"] = 0
            names.lookups //= 0
        with db.view() as names:
            kept = self.holds(names) and names.version == unicodedata.unidata_version
        if not kept or before != (db.lsn, sizes(self.database)):
            raise SystemExit("an update that failed has left a trace")
        self.row("an update that failed halfway", "left no trace")

    def checkpoint_and_reopen(self) -> None:
        """A checkpoint beside the running owner, then a start from it in a fresh process."""
        with cairndb.open(self.database, Names) as db:
            started = time.perf_counter()
            db.checkpoint()
            self.row("checkpoint by the helper process", f"{time.perf_counter() - started:.2f} s")
        child = self.child("--reopen")
        report = json.loads(child.communicate()[0])
        self.row("time to open, cold", f"{report['seconds']:.2f} s")
        self.row("bytes on disk per record", f"{sizes(self.database) / len(self.source):.0f}")

    def row(self, what: str, figure: str) -> None:
        """One more line for the table."""
        self.seen.rows.append((what, figure))

    def table(self) -> Table:
        """What was seen."""
        seen = self.seen
        table = Table(title=f"Unicode {unicodedata.unidata_version} in {self.database}")
        table.add_column("seen")
        table.add_column("figure", justify="right")
        table.add_row("characters", f"{len(self.source):,}")
        table.add_row("kills survived", str(seen.kills))
        table.add_row("updates acknowledged", str(self.batches - seen.found_beyond))
        table.add_row("  of these found", str(self.batches - seen.found_beyond))
        table.add_row("updates killed between commit and word", str(seen.found_beyond))
        slowest = max(seen.opened_seconds)
        table.add_row("time to open after a kill, at most", f"{slowest:.2f} s")
        for row in seen.rows:
            table.add_row(*row)
        return table


def rate(count: int, started: float) -> str:
    """How many a second, from when until now."""
    return f"{count / (time.perf_counter() - started):,.0f}/s"


def sizes(database: Path) -> int:
    """The bytes that the database's files take on disk."""
    return sum(path.stat().st_blocks * 512 for path in database.iterdir())


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--database", type=Path, default=Path("demo.cairn"))
    parser.add_argument("--batch", type=int, default=300, help="characters in an update")
    parser.add_argument("--limit", type=int, default=sys.maxunicode, help="characters in all")
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=None, help="of the random moments")
    parser.add_argument("--import", action="store_true", dest="imports", help=argparse.SUPPRESS)
    parser.add_argument("--reopen", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """The child's part, or the whole."""
    given = arguments()
    if given.imports:
        import_names(given.database, given.batch, given.limit)
        return
    if given.reopen:
        reopen(given.database)
        return
    if (given.database / "DATABASE").exists():  # of an earlier run
        shutil.rmtree(given.database)
    seed = time.time_ns() % 1_000_000 if given.seed is None else given.seed
    console = Console(highlight=False)
    console.print(f"importing, to be killed {given.kills} times; the same again with --seed {seed}")
    source = list(islice(named_characters(), given.limit))
    job = Job(given.database, given.batch, source, random.Random(seed), console)  # noqa: S311
    job.import_all(given.kills)
    job.look_around()
    job.checkpoint_and_reopen()
    console.print(job.table())
    cairn = Path(sys.executable).with_name("cairn")
    shown = cairn.relative_to(Path.cwd()) if cairn.is_relative_to(Path.cwd()) else cairn
    console.print("What it leaves behind is yours to look at:", soft_wrap=True)
    for command in (
        "tree {} --depth 2",
        "get {} /characters/9731",
        "log {} --limit 3",
        "verify {}",
    ):
        console.print(f"   {shown} {command.format(given.database)}", soft_wrap=True)


if __name__ == "__main__":
    main()
