"""Which events a log is made of, and what has to be said about those it is not made of."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING

import click

from watcher.cli.rendering.counts import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson.raw_bson import RawBSONDocument

    from change_history import History, Selection


class Answer:
    """The events of a log, with the gaps among them.

    Args:
        history: where they are.
        selection: which.
        newest_first: their order.
    """

    def __init__(self, history: History, selection: Selection, *, newest_first: bool) -> None:
        self._history = history
        self._selection = selection
        self._newest_first = newest_first
        self._unknown = 0

    def followed(self, limit: int | None) -> Iterator[RawBSONDocument]:
        """What is recorded, of that the newest so many, then what comes."""
        return self._history.follow(self._selection, stop=Event(), limit=limit, on_unknown=self._leave_out)

    def recorded(self, limit: int | None, default: int | None) -> Iterator[RawBSONDocument]:
        """What is recorded.

        Args:
            limit: only the newest so many.
            default: the limit if there is none; then a word is said about what was left out.
        """
        if limit is None and default is None:
            return self._with_gaps(self._stored(None))
        if limit is not None:
            found = list(self._stored(limit))
            return self._with_gaps(found, cut=len(found) == limit)
        most = default or 0
        found = list(self._stored(most + 1))
        if len(found) > most:
            click.echo(f"Showing the newest {most} events; --limit N shows more, a pipe to `less` all.", err=True)
        return self._with_gaps(found[:most] if self._newest_first else found[-most:], cut=len(found) > most)

    def say_what_is_unknown(self) -> None:
        """Tell of events that may belong to the answer: what was asked for of them is unknown."""
        if self._unknown:
            click.echo(
                f"{words(self._unknown, 'event')} left out: the value that was asked for is not known of them.",
                err=True,
            )

    def _stored(self, limit: int | None) -> Iterator[RawBSONDocument]:
        return self._history.stored(
            self._selection, limit=limit, newest_first=self._newest_first, on_unknown=self._leave_out
        )

    def _with_gaps(
        self, events: Iterator[RawBSONDocument] | list[RawBSONDocument], *, cut: bool = False
    ) -> Iterator[RawBSONDocument]:
        return self._history.with_gaps(self._selection, events, cut=cut, newest_first=self._newest_first)

    def _leave_out(self) -> None:
        self._unknown += 1
