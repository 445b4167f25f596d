"""Counting events by namespace and operation, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_NAMESPACES = 1000
"""The first so many namespaces are counted each; each is a time series or more to whoever scrapes them."""

OTHER = "other"
"""What all further ones are counted under. A collection's namespace has a dot, so none is called that."""


class Tally:
    """Numbers of events by namespace and operation. Added to by one thread; read by any."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._namespaces: set[str] = set()

    def add(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Count events."""
        for (namespace, operation), count in counts.items():
            if namespace not in self._namespaces and len(self._namespaces) < MOST_NAMESPACES:
                self._namespaces.add(namespace)
            key = (namespace if namespace in self._namespaces else OTHER), operation
            self._counts[key] = self._counts.get(key, 0) + count

    def counts(self) -> dict[tuple[str, str], int]:
        """A copy of the numbers, made at once: they go on being added to meanwhile."""
        return self._counts.copy()
