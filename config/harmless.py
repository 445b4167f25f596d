"""Log lines that a terminal shows and does not obey: names of collections may hold whatever MongoDB allows."""

import json
from typing import Any

from structlog.typing import EventDict, WrappedLogger

_CODE_UNIT = 2
"""Bytes of UTF-16, which JSON escapes are made of."""


def escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape controls and marks that turn the writing around in the values of a line for people."""
    return {key: _text(value, key) if isinstance(value, str) else value for key, value in event.items()}


def dumps(value: Any, **options: Any) -> str:
    """Write a line for machines: readable as far as it can be shown, else with JSON's own escapes.

    Args:
        value: what is logged.
        options: of `json.dumps`.
    """
    text = json.dumps(value, ensure_ascii=False, **options)
    return text if text.isprintable() else "".join(c if c.isprintable() else _unit(c) for c in text)


def _text(value: str, key: str) -> str:
    if value.isprintable():
        return value
    kept = "\n" if key == "event" else ""  # libraries' warnings have several lines
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in value)


def _unit(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    parts = (units[at : at + _CODE_UNIT] for at in range(0, len(units), _CODE_UNIT))
    return "".join(f"\\u{part.hex()}" for part in parts)
