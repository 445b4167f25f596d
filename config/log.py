"""Logging: one chain for our own lines and for those of libraries, as console text or as JSON lines.

A line never holds a document's value. The messages of many exceptions quote data: MongoDB's duplicate-key error the
duplicate, the driver's bulk-write error whole documents, Python's ``ValueError`` the value. Local variables would be
worse. So frames are given as file, line and function, and a message only where its author is known not to quote data.

Terminal control characters are escaped: names of collections may contain all that MongoDB allows.
"""

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TextIO

import structlog
from pymongo.errors import ConnectionFailure, NotPrimaryError, OperationFailure
from structlog.typing import EventDict, Processor, WrappedLogger

# The parent of our lines in the standard library, with a level of its own. Everything else stays at warning, whatever
# the level: at debug the driver logs each command with the documents in it.
_OURS = "watcher"
_LIBRARIES_LEVEL = logging.WARNING

_WITHHELD = "(message withheld, it may quote data)"
_OUR_PACKAGES = frozenset({"change_history", "config", "models", "watcher"})
_CODE_UNIT = 2
"""Bytes of UTF-16, which JSON escapes are made of."""


def is_console(fmt: str, stream: TextIO | None = None) -> bool:
    """Whether log lines are console text: ``console``, or ``auto`` on a terminal.

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
    """
    out = sys.stderr if stream is None else stream
    terminal = out.isatty()
    console = is_console(fmt, out)
    numeric = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([_escape] if console else []),
        _render_failure(text if console else structured),
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=terminal and "NO_COLOR" not in os.environ)
        if console
        else structlog.processors.JSONRenderer(_dumps)
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


def start(level: str, fmt: str) -> None:
    """Set logging up for a process, including uncaught errors; the arguments are those of `configure`."""
    configure(level, fmt)
    guard_uncaught()


def guard_uncaught() -> None:
    """Send exceptions that nothing caught to the log, in the main thread and in others.

    Python would print them to standard error with their messages, which may quote a document.
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


def _safe_message(error: BaseException) -> str:
    """The message of an exception, as far as it cannot contain a document's value.

    That is the code and name of a server's refusal, and the message of network and operating-system errors and of ours.
    """
    match error:
        case OperationFailure(code=code, details=details):
            name = (details or {}).get("codeName")
            return f"server error {code}" + (f" {name}" if name else "")
        case NotPrimaryError():
            return "the server is not primary"
        case ConnectionFailure() | OSError():
            return str(error)
    return str(error) if type(error).__module__.partition(".")[0] in _OUR_PACKAGES else _WITHHELD


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Walk from an exception to its causes, outermost first, and into the members of groups; each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
        waiting.append(current.__cause__ or (None if current.__suppress_context__ else current.__context__))


def structured(error: BaseException) -> list[dict[str, Any]]:
    """Give an exception and its causes as data.

    Returns:
        For each a ``type``, a ``message`` and its ``frames`` (``file``, ``line``, ``function``), outermost call first.
    """
    return [
        {
            "type": type(each).__qualname__,
            "message": _safe_message(each),
            "frames": [
                {"file": frame.filename, "line": frame.lineno, "function": frame.name}
                for frame in traceback.extract_tb(each.__traceback__)
            ],
        }
        for each in _chain(error)
    ]


def text(error: BaseException) -> str:
    """Give an exception and its causes as lines for a person.

    Returns:
        Like Python's own traceback, without source lines and withheld messages; causes follow what they caused.
    """
    parts = []
    for number, each in enumerate(structured(error)):
        heading = "Traceback (most recent call last):" if number == 0 else "which came with:"
        lines = [f'  File "{f["file"]}", line {f["line"]}, in {f["function"]}' for f in each["frames"]]
        parts += [heading, *lines, f"{each['type']}: {each['message']}"]
    return "\n".join(parts)


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape controls and marks that change the writing direction in the values of a console line."""
    return {key: _shown(value, key) if isinstance(value, str) else value for key, value in event.items()}


def _dumps(value: Any, **options: Any) -> str:
    """Write a JSON line: printable characters as they are, others with JSON's escapes."""
    text = json.dumps(value, ensure_ascii=False, **options)
    return text if text.isprintable() else "".join(c if c.isprintable() else _unit(c) for c in text)


def _shown(value: str, key: str) -> str:
    if value.isprintable():
        return value
    kept = "\n" if key == "event" else ""  # libraries' warnings have several lines
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in value)


def _unit(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    parts = (units[at : at + _CODE_UNIT] for at in range(0, len(units), _CODE_UNIT))
    return "".join(f"\\u{part.hex()}" for part in parts)
