"""`serve`: the owner of a database as a daemon.

What it can be told is declared in `cairndb.server.settings`, and read by that: flags are one of
four means of saying it, and the only one that a command line knows of.

    0    it was told to stop, and has
    2    it was asked wrongly: settings, tokens, certificates, the application
    3    an address or the database can't be had
    75   the database failed while it was served: start it again
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer  # noqa: TC002  read by Typer, from the annotation

from cairndb.cli import output

if TYPE_CHECKING:
    from cairndb.server.settings import Loaded

EXTRA = "cairndb[server]"


def serve(context: typer.Context) -> int:
    """Serve a database to others, over HTTP and the Redis protocol.

    Example: cairn serve bank:Bank bank.cairn
    """
    try:
        from cairndb.server.settings import HelpShown, load  # noqa: PLC0415  slow, of an extra

        try:
            loaded = load(context.args)
        except HelpShown:
            return 0
        if loaded.print_settings:
            show(loaded)
            return 0
        from cairndb.server.protocols import protocols  # noqa: PLC0415  as above
        from cairndb.server.starting import serve as run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("cairndb"):
            raise
        raise output.Misuse(f"cairn serve needs {error.name}: pip install '{EXTRA}'") from None
    return run(loaded, protocols)


def show(loaded: Loaded) -> None:
    """Each setting, and where its value came from."""
    shown = {
        name: {
            "value": getattr(loaded.settings, name),
            "source": origin.source,
            "name": origin.name or None,
        }
        for name, origin in loaded.origins.items()
    }
    if loaded.json:
        output.write_json(shown)
        return
    width = max(map(len, shown))
    values = max(len(_text(each["value"])) for each in shown.values())
    for name, each in shown.items():
        origin = each["name"] or each["source"]
        output.write(f"{name:{width}}  {_text(each['value']):{min(values, 40)}}  {origin}")
    sys.stdout.flush()


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'
