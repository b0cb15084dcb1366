"""The `cairn` command, group by group: what each says and how it fails is ruled in `output`.

    reading    get, ls, tree
    writing    set, del, checkpoint
    history    log
    watching   watch
    past       diff
    rewinding  rewind
    forgetting forget
    backups    backup, restore
    schemas    schema show, diff, migrate
    checking   verify, stats
    locks      locks
    doctor     doctor
    exporting  export
    importing  import
    prompt     shell
    claiming   claim
    tracing    trace
    serving    serve
    tokens     token new, list, remove

All that only reads does so beside the owner, without its lock and without the application.
"""

from __future__ import annotations

import signal
import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cairndb.cli import (
    backups,
    checking,
    claiming,
    doctor,
    exporting,
    forgetting,
    history,
    importing,
    locks,
    output,
    past,
    prompt,
    reading,
    rewinding,
    schemas,
    serving,
    tokens,
    tracing,
    watching,
    writing,
)
from cairndb.errors import (
    CairnError,
    DatabaseLocked,
    ReadOnlyError,
    SchemaError,
    UsageError,
    ValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

application = typer.Typer(
    name="cairn",
    help=(
        "Look into, check and change cairndb databases.\n\n"
        "DATABASE is the directory that cairndb.open was given, PATH leads from the root to a "
        "value: /accounts/alice/balance. What only reads works beside a program that has the "
        "database open.\n\n"
        "Try: cairn tree bank.cairn"
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_commands: dict[str, Callable[..., int | None]] = {
    "get": reading.get,
    "ls": reading.ls,
    "tree": reading.tree,
    "set": writing.set_value,
    "del": writing.delete,
    "log": history.log,
    "watch": watching.watch,
    "diff": past.diff,
    "rewind": rewinding.rewind,
    "forget": forgetting.forget,
    "backup": backups.backup,
    "restore": backups.restore,
    "verify": checking.verify,
    "stats": checking.stats,
    "doctor": doctor.doctor,
    "checkpoint": writing.checkpoint,
    "locks": locks.locks,
    "shell": prompt.shell,
    "export": exporting.export,
    "import": importing.import_,
    "claim": claiming.claim,
    "trace": tracing.trace,
    "serve": serving.serve,
}
_settings: dict[str, dict[str, Any]] = {
    "set": {"ignore_unknown_options": True},  # a negative number is no option
    "trace": {"allow_interspersed_args": False},  # the options of what it runs are none of its own
    # Its options are its settings, `--help` among them, and it reads them by itself.
    "serve": {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
}
for _name, _command in _commands.items():
    application.command(_name, context_settings=_settings.get(_name))(_command)

application.add_typer(schemas.application, name="schema")
application.add_typer(tokens.application, name="token")

# Faults of what was asked, or of the class that --root names; all else is the database's.
_MISUSE = (output.Misuse, ReadOnlyError, SchemaError, UsageError, ValidationError)

# By its version Typer depends on click or carries it inside: the classes are reached either way.
_AskedWrongly, _Shown = typer.BadParameter.__mro__[1:3]


@application.callback(invoke_without_command=True)
def _begin(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        output.write(f"cairndb {_installed_version()}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        sys.stderr.write(context.get_help() + "\n")
        raise typer.Exit(output.USAGE)


def _installed_version() -> str:
    from importlib import metadata  # noqa: PLC0415  rarely asked for

    try:
        return metadata.version("cairndb")
    except metadata.PackageNotFoundError:
        return "(from source, not installed)"


def take_over_process() -> None:
    """What only a process of one's own may do: called once, by `__main__`.

    It ends quietly when whoever reads the output has gone (`cairn log … | head`): dying at any
    point is harmless, as kill -9 is. What the output's encoding lacks is escaped. And warnings are
    lines for people, without source code.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
        reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_args, **_more: output.say_error(message)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; None: the process's own.

    Returns:
        The exit code.
    """
    try:
        code = application(arguments, prog_name="cairn", standalone_mode=False)
        sys.stdout.flush()
    except Exception as error:  # noqa: BLE001  all but our own bugs, which are raised again
        return _explain(error)
    except KeyboardInterrupt:
        return output.INTERRUPTED
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> int:
    if isinstance(error, output.Negative):
        output.say_error(error)
        return output.NEGATIVE
    if isinstance(error, _MISUSE):
        output.say_error(error)
        return output.USAGE
    if isinstance(error, DatabaseLocked):
        # The rest of its advice is for programs.
        who = str(error).partition(". Wait")[0]
        output.say_error(f"{who}. Commands that only read work beside it")
        return output.DATABASE
    if isinstance(error, OSError) and error.filename is not None and not error.filename2:
        output.say_error(f"{error.filename}: {error.strerror}")
        return output.DATABASE
    if isinstance(error, CairnError | OSError):
        output.say_error(error)
        return output.DATABASE
    if isinstance(error, _Shown) and hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        hint = f" (see '{context.command_path} --help')" if context else ""
        output.say_error(error.format_message() + hint)
        return output.USAGE
    raise error
