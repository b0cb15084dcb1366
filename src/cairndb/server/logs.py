"""Logs: one event a line, JSON where no person reads along; with structlog.

Whoever logs, by structlog or by Python's `logging` (uvicorn, the database, the application), and
what Python itself has to say (warnings, exceptions that nobody caught), all comes out in the same
form, to standard error.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import structlog

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from types import TracebackType
    from typing import TextIO

    from structlog.typing import Processor

NAME: Final = "cairndb.server"

_SHARED: Final[Sequence[Processor]] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    structlog.processors.StackInfoRenderer(),
)


def configure(form: Literal["auto", "json", "text"], level: str, stream: TextIO) -> None:
    """Have everything in this process log in one form.

    Args:
        form: `auto` is text on a terminal.
        level: below which nothing is shown.
        stream: where to.
    """
    for_people = form == "text" or (form == "auto" and stream.isatty())
    renderers: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if for_people:
        renderers.append(
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time")
        )
    else:
        renderers += [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("event"),
            structlog.processors.JSONRenderer(serializer=_dumps),
        ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=renderers)
    )
    root = logging.getLogger()
    for other in root.handlers[:]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # Of these only what is wrong: the rest is said here already.
    for name in ("uvicorn", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.raiseExceptions = False  # a log that can't be written is no reason to stop
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _dumps(value: Any, **_options: Any) -> str:
    return msgspec.json.encode(value, enc_hook=repr).decode()


def log() -> structlog.stdlib.BoundLogger:
    """Where the daemon logs."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(NAME)
    return logger


def log_uncaught() -> None:
    """Have exceptions that nobody caught logged, whichever thread they end."""
    import threading  # noqa: PLC0415  its hook alone

    def in_main(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        log().critical("uncaught exception", exc_info=(kind, error, traceback))

    def in_thread(arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        assert error is not None
        name = arguments.thread.name if arguments.thread else ""
        log().error("a thread ended by an exception", thread=name, exc_info=error)

    sys.excepthook = in_main
    threading.excepthook = in_thread
