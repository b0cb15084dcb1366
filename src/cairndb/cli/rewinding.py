"""`rewind`: back to a state of the past."""

from typing import Annotated

from typer import Option

from cairndb import rewinding
from cairndb.cli import output, source
from cairndb.cli.reading import Database, moment


def rewind(
    database: Database,
    *,
    to: Annotated[str, Option("--to", metavar="LSN|TIME", help="The state to go back to.")],
    json: Annotated[bool, Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Go back to a state of the past, as an update.

    Its schema comes back too. The state that is left is kept: go back to it in the same way. Takes
    the database's lock.

    Example: cairn rewind bank.cairn --to 1
    """
    at = moment(to)
    assert at is not None
    with (
        source.directory_of(database) as directory,
        output.steps("folding", 2 * source.bytes_of(directory)) as step,
    ):
        lsn, made = rewinding.rewind(directory, at, step)
    if json:
        output.write_json({"to": lsn, "lsn": made}, compact=True)
    else:
        output.write(
            f"the state is that of LSN {lsn} again, as LSN {made}; "
            f"to undo this: cairn rewind {database} --to {made - 1}"
        )
