"""Names and spans of time in a finding, which should be one that can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 5
_MINUTE_S, _HOUR_S = 60, 3600


def listed(names: Sequence[str]) -> str:
    """The first few, and how many more there are; `facts` have them all."""
    more = len(names) - _MOST
    return ", ".join(names[:_MOST]) + (f" and {more} more" if more > 0 else "")


def many(count: int, what: str) -> str:
    """A number of things: `1 collection`, `2 collections`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def span(seconds: float) -> str:
    """A span of time: `12 s`, `5 min`, `30.5 h`."""
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:.1f} h"
