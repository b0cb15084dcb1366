"""`token new`, `list`, `remove`: who may do what with a database that is served.

The file has only what a token can be recognised by: see `cairndb.server.tokens`. A daemon that uses
it reads it again on SIGHUP.
"""

from __future__ import annotations

from typing import Annotated

import typer
from typer import Argument, Option

from cairndb.cli import output
from cairndb.server.tokens import new_token, read_tokens, remove_token

application = typer.Typer(help="Who may do what with a database that is served.")

File = Annotated[str, Argument(metavar="TOKENS", help="The file, as cairn serve --tokens has it.")]
Name = Annotated[str, Argument(metavar="NAME", help="Whose token it is.")]


@application.command("new")
def new(
    file: File,
    name: Name,
    *,
    run: Annotated[
        list[str] | None,
        Option(
            "--run",
            metavar="PATTERN",
            help="It may run updates whose names match: transfer, 'add_*', '*'. Several times: "
            "any of them. Without, it only reads.",
        ),
    ] = None,
    admin: Annotated[
        bool, Option("--admin", help="It may do everything: set paths, look into the server.")
    ] = False,
    json: Annotated[bool, Option("--json", help="Print it as a JSON object.")] = False,
) -> None:
    """Make a token, and print it: this once, for it is kept nowhere.

    Example: cairn token new tokens.json shop --run transfer
    """
    token = new_token(file, name, tuple(run or ()), admin=admin)
    if json:
        output.write_json({"name": name, "token": token}, compact=True)
    else:
        output.write(token)


@application.command("list")
def list_tokens(
    file: File, *, json: Annotated[bool, Option("--json", help="One JSON object each.")] = False
) -> None:
    """Show what each token may do.

    Example: cairn token list tokens.json
    """
    for token in read_tokens(file):
        if json:
            output.write_json(
                {"name": token.name, "run": list(token.run), "admin": token.admin}, compact=True
            )
            continue
        may = "everything" if token.admin else ", ".join(("read", *map("run {}".format, token.run)))
        made = f"  (made {token.created:%Y-%m-%d})" if token.created else ""
        output.write(f"{token.name}  {may}{made}")


@application.command("remove")
def remove(file: File, name: Name) -> None:
    """Remove a token: a daemon that uses the file must be told, by SIGHUP.

    Example: cairn token remove tokens.json shop
    """
    remove_token(file, name)
