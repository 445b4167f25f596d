"""Writes plain events into a file directly from their bytes; nearly all events of a long history are plain.

All other events are left to `watcher.cli.rendering.events`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.quick import compiled
from change_history.bson.values import to_python
from change_history.stored.event import to_event
from watcher.words import times, value_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from change_history.stored.event import Event
    from watcher.cli.rendering.lines import Line

COMPILED = compiled("watcher.words._event_text")
"""The compiled module; None: it is missing, and no event is written here."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIELD, _KEY = -1, -2
_TO_THE_SECOND, _WITH_MS = len("2024-05-01 14:00:00."), len("2024-05-01 14:00:00.000")


class PlainEvents:
    """Writes whole events as `watcher.cli.rendering.events.Renderer` prints them into a file.

    Args:
        heading: gives the first line of an event; gets the event without its changes.
        zone: zone of the times.
        with_ids: write the document of each event.
        with_namespaces: write its collection too.
    """

    def __init__(
        self, heading: Callable[[Event], Line], *, zone: tzinfo | None, with_ids: bool, with_namespaces: bool
    ) -> None:
        self._heading = heading
        self._zone = zone
        self._with_ids = with_ids
        self._with_namespaces = with_namespaces
        self._second: int | None = None
        self._before = self._after = ""

    def text(self, stored: bytes) -> str | None:
        """The lines of an event; None: it is not plain.

        Args:
            stored: its history document, BSON.
        """
        found = COMPILED.event_text(stored, _other, self._with_ids) if COMPILED is not None else None
        if found is None:
            return None
        more, operation, milliseconds, namespace, identity, lines, start, end = found
        if more:
            heading = self._heading(to_event(raw.document([stored[4:start], stored[end:-1]]))).plain
        else:
            heading = f"{self._when(milliseconds)}  {_printable(operation)}"
            if self._with_namespaces:
                heading += f"  {_printable(namespace)}"
            if identity:
                heading += f"{' ' if self._with_namespaces else '  '}{identity}"
        return f"{heading}\n{lines}"

    def _when(self, milliseconds: int) -> str:
        """The same as `times.wall`; the text of a second is reused, because many events share it."""
        second, rest = divmod(milliseconds, 1000)
        if second != self._second:
            said = times.wall(_EPOCH + timedelta(seconds=second), self._zone)
            self._second, self._before, self._after = second, said[:_TO_THE_SECOND], said[_WITH_MS:]
        return f"{self._before}{rest:03d}{self._after}"


def _other(kind: int, data: bytes) -> str:
    """The text of what the compiled code does not write itself: a name that is not plain, or a value, by its type."""
    if kind == _FIELD:
        return _printable(data) or '""'
    if kind == _KEY:
        return value_text.key_text(data.decode("utf-8", "surrogateescape"))
    if kind == raw.STRING:
        return value_text.text_of(data[4:-1].decode("utf-8", "surrogateescape"))
    return value_text.text_of(to_python((kind, data)))


@lru_cache(1024)
def _printable(text: bytes) -> str:
    return value_text.printable(text.decode("utf-8", "surrogateescape"))
