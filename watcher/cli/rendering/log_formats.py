"""The answer of `watcher log`: its events, and its formats: text, one line per event, JSON, counts."""

from __future__ import annotations

import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING

import click

from change_history.bson import extended_json
from change_history.bson.values import ABSENT
from change_history.stored.event import to_event
from watcher.cli import session
from watcher.cli.rendering import event_words
from watcher.words.value_text import words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from bson.raw_bson import RawBSONDocument

    from change_history import Selection
    from change_history.reader import Reader
    from change_history.revert.intents import Reverts
    from change_history.stored.event import Event
    from watcher.cli.rendering import plain_events


class LogFormat:
    """Prints events."""

    def watched(self, events: Iterator[RawBSONDocument]) -> Iterator[RawBSONDocument]:
        """The events; on a terminal with a counter, for formats that print nothing until the end."""
        return events

    def event(self, stored: RawBSONDocument) -> None:
        """Process one event or gap, as it is stored."""
        raise NotImplementedError

    def end(self) -> None:
        """End the output. Not called if there were no events."""


def choose(
    selection: Selection, reverts: Reverts, *, as_json: bool, oneline: bool, stat: bool, zone: tzinfo | None
) -> LogFormat:
    """The requested format. Configures standard output for it."""
    session.prepare_output(as_json=as_json)
    if stat:
        return _Counted(selection, as_json=as_json, zone=zone)
    return _Json(reverts) if as_json else _Text(selection, reverts, oneline=oneline, zone=zone)


_WAITS_S = 0.1
"""Seconds for which a line may be buffered, to be written together with others."""


def print_all(events: Iterator[RawBSONDocument], log_format: LogFormat, *, endless: bool) -> bool:
    """Print events as they come; whether there were any. A closed pipe ends the output without an error.

    Args:
        events: the events.
        log_format: prints it.
        endless: the events do not end; each is flushed at once.
    """
    found = False
    due = monotonic()
    try:
        for stored in log_format.watched(events):
            found = True
            log_format.event(stored)
            if endless or monotonic() > due:
                sys.stdout.flush()
                due = monotonic() + _WAITS_S
        if found:
            log_format.end()
        sys.stdout.flush()
    except BrokenPipeError:
        session.let_go()
    except KeyboardInterrupt:
        if not endless:
            raise
    return found


class _Json(LogFormat):
    def __init__(self, reverts: Reverts) -> None:
        self._reverts = reverts
        self._misleading = 0

    def event(self, stored: RawBSONDocument) -> None:
        event_words.json_line(stored, self._reverts.of_stored(stored))
        self._misleading += not extended_json.reads_back(bytes(stored.raw))

    def end(self) -> None:
        if self._misleading:
            session.say(
                f"{words(self._misleading, 'event')} with a sub-document that Extended JSON writes like a type, as "
                "{$oid: …}; `watcher show --bson` gives a document exactly."
            )


class _Text(LogFormat):
    def __init__(self, selection: Selection, reverts: Reverts, *, oneline: bool, zone: tzinfo | None) -> None:
        from watcher.cli.rendering import events, lines
        from watcher.cli.rendering.plain_events import PlainEvents

        self._reverts = reverts
        self._zone = zone
        output = lines.standard_output()
        with_ids = selection.document_id is ABSENT
        with_namespaces = selection.namespace is None or bool(selection.former_names)
        renderer = events.Renderer(
            output,
            zone=zone,
            with_ids=with_ids,
            with_namespaces=with_namespaces,
            narrow=selection.changes_of,
            remark=self._remark,
        )
        self._print = renderer.oneline if oneline else renderer.event
        self._plain: plain_events.PlainEvents | None = None
        if isinstance(output, lines.Plain) and not oneline and not selection.narrows:
            self._plain = PlainEvents(renderer.heading, zone=zone, with_ids=with_ids, with_namespaces=with_namespaces)

    def event(self, stored: RawBSONDocument) -> None:
        text = self._plain.text(bytes(stored.raw)) if self._plain is not None else None
        if text is not None:
            sys.stdout.write(text)
        else:
            self._print(to_event(stored), stored)

    def _remark(self, event: Event) -> str:
        revert = self._reverts.of(event)
        if revert is None:
            return ""
        from watcher.cli.rendering import reverts

        said = reverts.of_event(revert, self._zone, brought_back=event.operation == "insert")
        return said if event.actor is not None else said + reverts.by(revert)


class _Counted(LogFormat):
    def __init__(self, selection: Selection, *, as_json: bool, zone: tzinfo | None) -> None:

        from change_history.query.summary import Summary

        self._summary = Summary(selection, zone)
        self._as_json = as_json

    def watched(self, events: Iterator[RawBSONDocument]) -> Iterator[RawBSONDocument]:
        from watcher.cli.rendering import terminal

        return terminal.counted(events, "counting")

    def event(self, stored: RawBSONDocument) -> None:
        self._summary.add(stored)

    def end(self) -> None:
        from watcher.cli.rendering import counts

        if self._as_json:
            counts.summary_json(self._summary)
        else:
            counts.summary_tables(self._summary, whole=not sys.stdout.isatty())


class EventsAndGaps:
    """The events of a log, with the gaps between them."""

    def __init__(self, history: Reader, selection: Selection, *, newest_first: bool) -> None:
        self._history = history
        self._selection = selection
        self._newest_first = newest_first
        self._unknown = 0

    def followed(self, limit: int | None) -> Iterator[RawBSONDocument]:
        """The newest `limit` recorded events, then new ones as they are recorded."""
        return self._history.follow_stored(
            self._selection, stop=threading.Event(), limit=limit, on_unknown=self._leave_out
        )

    def recorded(self, limit: int | None, default: int | None) -> Iterator[RawBSONDocument]:
        """The newest `limit` recorded events; without it the newest `default`, with a note if there are more."""
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
        """Report the events that may match the query, because the value that it asks for is unknown."""
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
