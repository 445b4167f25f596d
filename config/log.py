"""Logging: one chain for our own lines and for those of libraries, as console text or as JSON lines."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from config import failures, harmless

# The parent of our lines in the standard library, with a level of its own. Everything else stays at warning, whatever
# the level: at debug the driver logs each command with the documents in it.
_OURS = "watcher"
_LIBRARIES_LEVEL = logging.WARNING


def is_console(fmt: str, stream: TextIO | None = None) -> bool:
    """Whether log lines are for people: ``console``, or ``auto`` on a terminal.

    Args:
        fmt: ``console``, ``json`` or ``auto``.
        stream: Where lines go; standard error when not given.
    """
    out = sys.stderr if stream is None else stream
    return fmt == "console" or (fmt == "auto" and out.isatty())


def configure(level: str = "info", fmt: str = "auto", stream: TextIO | None = None) -> None:
    """Set logging up for the whole process; calling it again replaces what was set.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``: the least severe of our lines that is written.
        fmt: ``console``, ``json`` or ``auto``: console on a terminal, JSON lines elsewhere.
        stream: Where lines go; standard error when not given.
    """
    out = sys.stderr if stream is None else stream
    terminal = out.isatty()
    console = is_console(fmt, out)
    numeric = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([harmless.escape] if console else []),
        _render_failure(failures.text if console else failures.structured),
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=terminal and "NO_COLOR" not in os.environ)
        if console
        else structlog.processors.JSONRenderer(harmless.dumps)
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LIBRARIES_LEVEL)
    logging.getLogger(_OURS).setLevel(numeric)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=_our_logger,
        cache_logger_on_first_use=False,  # so that loggers made at import follow a later call
    )


def guard_uncaught() -> None:
    """Send exceptions that nothing caught to the log, in the main thread and in others.

    Python would print them to standard error with their messages, which may quote a document. For the daemon;
    call it after `configure`.
    """

    def report(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if not issubclass(kind, Exception):
            sys.__excepthook__(kind, error or kind(), trace)
            return
        structlog.get_logger().critical("uncaught exception", exc_info=error)

    def report_thread(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, SystemExit):
            report(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook = report
    threading.excepthook = report_thread


def _our_logger(*_: Any) -> logging.Logger:
    return logging.getLogger(_OURS)


def _render_failure(render: Callable[[BaseException], Any]) -> Processor:
    """Make the processor that turns ``exc_info`` into the key ``exception``."""

    def processor(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        info = event.pop("exc_info", None)
        if isinstance(info, tuple):
            info = info[1]
        elif info and not isinstance(info, BaseException):
            info = sys.exception()
        if info:
            event["exception"] = render(info)
        return event

    return processor
