"""`verify` and `stats`: whether all is whole, and how much there is."""

from typing import Annotated

from typer import Option

from cairndb.cli import maintenance, output, source
from cairndb.cli.reading import Database


def verify(
    database: Database,
    *,
    json: Annotated[bool, Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Check every checksum, and that the log folds to what the checkpoint says.

    Changes nothing. The exit code is 1 if there are findings.

    Example: cairn verify bank.cairn
    """
    with source.directory_of(database) as directory, output.progress("verifying") as progress:
        report = maintenance.check(directory, progress)
    if json:
        output.write_json(report)
    else:
        for finding in report["findings"]:
            output.write(f"{finding['file']}: at byte {finding['offset']}: {finding['reason']}")
        for line in report["checked"]:
            output.write(line)
    if report["findings"]:
        raise output.Negative(f"{database}: {len(report['findings'])} findings")


def stats(
    database: Database,
    *,
    json: Annotated[bool, Option("--json", help="As a JSON object.")] = False,
) -> None:
    """Show how much there is: updates, files, bytes, and who has it open.

    Example: cairn stats bank.cairn
    """
    with source.directory_of(database) as directory:
        found = maintenance.statistics(directory)
    if json:
        output.write_json(found)
        return
    width = max(map(len, found))
    for name, value in found.items():
        shown = f"{value:,}" if isinstance(value, int) else str(value)
        output.write(f"{name.replace('_', ' '):{width}}  {shown}")
