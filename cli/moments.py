"""Cluster times and spans of time as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bson import Timestamp

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def clock(moment: Timestamp, zone: tzinfo | None) -> str:
    """A cluster time as date and time of day, to the second.

    Args:
        moment: the cluster time.
        zone: time zone; None: the local one.
    """
    return datetime.fromtimestamp(moment.time, UTC).astimezone(zone).isoformat(" ", "seconds")


def exact(moment: Timestamp) -> str:
    """A cluster time as it can be typed, `seconds:increment`."""
    return f"{moment.time}:{moment.inc}"


def span(seconds: float) -> str:
    """A span of time in its two largest units: `2 h 5 min`."""
    left = int(seconds)
    parts = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "less than 1 s"
