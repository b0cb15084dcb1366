"""`forget`: the checkpoints that a migration or a rewind has kept, and letting them go."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from cairndb.cli import maintenance, output, source
from cairndb.cli.reading import Database  # noqa: TC001  Typer looks at it at run time
from cairndb.forgetting import INTERRUPTED, Forgotten, pinned
from cairndb.recovery import read_chain

if TYPE_CHECKING:
    from cairndb.forgetting import Pinned


def forget(
    database: Database,
    lsns: Annotated[
        list[int] | None, Argument(metavar="[LSN]...", help="Of the checkpoints to let go.")
    ] = None,
    *,
    everything: Annotated[bool, Option("--all", help="All that nothing else needs.")] = False,
    json: Annotated[bool, Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Let go of states that a migration or a rewind has kept.

    Without LSNs it lists them, beside a program that has the database open. With LSNs or --all
    their files are removed, which takes the database's lock: those states can't be gone back to.

    Example: cairn forget bank.cairn
    """
    if lsns and everything:
        raise output.Misuse("name LSNs or --all, not both")
    if lsns or everything:
        done = maintenance.let_go(database, lsns or None)
    else:
        with (
            source.directory_of(database) as directory,
            directory.telling("reading", source.bytes_of(directory)),
            closing(read_chain(directory)) as reading,
        ):
            done = Forgotten([], pinned(reading))
    if json:
        shown = {"forgotten": done.gone, "pinned": [_as_json(each) for each in done.pinned]}
        output.write_json(shown, compact=True)
        return
    for lsn in done.gone:
        output.write(f"LSN {lsn}: forgotten")
    for each in done.pinned:
        output.write(_as_text(each))


def _as_text(each: Pinned) -> str:
    when = f"{datetime.fromtimestamp(each.created / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    why = f", from before a {each.why}" if each.why else ""
    if each.why == INTERRUPTED:
        why = ", left by a migration or a rewind that was interrupted"
    stays = f"; stays: {each.needed}" if each.needed else ""
    return f"LSN {each.lsn}: kept since {when}, {output.size_text(each.bytes)}{why}{stays}"


def _as_json(each: Pinned) -> dict[str, Any]:
    created = datetime.fromtimestamp(each.created / 1e6, UTC).isoformat()
    return {**each._asdict(), "created": created, "needed": each.needed or None}
