"""Exceptions as they may be logged: where they rose and what they were, never a document's value.

The messages of many exceptions quote data: MongoDB's duplicate-key error the duplicate, the driver's bulk-write
error whole documents, Python's ``ValueError`` the value. Local variables would be worse. So frames are given
as file, line and function, and a message only where its author is known not to quote data.
"""

import traceback
from collections.abc import Iterator
from typing import Any

from pymongo.errors import ConnectionFailure, NotPrimaryError, OperationFailure

_WITHHELD = "(message withheld, it may quote data)"
_OURS = frozenset({"change_history", "config", "models", "watcher"})


def safe_message(error: BaseException) -> str:
    """Say what an exception says, as far as that cannot be a document's value.

    Args:
        error: Any exception.

    Returns:
        For a server's refusal its code and name; for network and operating-system errors and our own, the
        message; for all others a note that it is withheld.
    """
    match error:
        case OperationFailure(code=code, details=details):
            name = (details or {}).get("codeName")
            return f"server error {code}" + (f" {name}" if name else "")
        case NotPrimaryError():
            return "the server is not primary"
        case ConnectionFailure() | OSError():
            return str(error)
    return str(error) if type(error).__module__.partition(".")[0] in _OURS else _WITHHELD


def chain(error: BaseException) -> Iterator[BaseException]:
    """Walk from an exception to its causes, outermost first, and into the members of groups.

    Args:
        error: The exception that was caught.

    Yields:
        Each exception once.
    """
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

    Args:
        error: The exception that was caught.

    Returns:
        For each a ``type``, a ``message`` and its ``frames`` (``file``, ``line``, ``function``), outermost call first.
    """
    return [
        {
            "type": type(each).__qualname__,
            "message": safe_message(each),
            "frames": [
                {"file": frame.filename, "line": frame.lineno, "function": frame.name}
                for frame in traceback.extract_tb(each.__traceback__)
            ],
        }
        for each in chain(error)
    ]


def text(error: BaseException) -> str:
    """Give an exception and its causes as lines for a person.

    Args:
        error: The exception that was caught.

    Returns:
        Like Python's own traceback, without source lines and withheld messages; causes follow what they caused.
    """
    parts = []
    for number, each in enumerate(structured(error)):
        heading = "Traceback (most recent call last):" if number == 0 else "which came with:"
        lines = [f'  File "{f["file"]}", line {f["line"]}, in {f["function"]}' for f in each["frames"]]
        parts += [heading, *lines, f"{each['type']}: {each['message']}"]
    return "\n".join(parts)
