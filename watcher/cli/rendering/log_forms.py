"""The forms in which a log is printed: at length, a line an event, JSON, counted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from change_history.bson.values import ABSENT
from change_history.query.summary import Summary
from change_history.stored.reading import to_event
from watcher.cli.parsing import moments
from watcher.cli.rendering import output, render, revert_text, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson.raw_bson import RawBSONDocument

    from change_history import Selection
    from change_history.revert.told import Reverts
    from models import HistoryModel


class Form(Protocol):
    """Prints events."""

    def event(self, stored: RawBSONDocument) -> None:
        """Take one event, or gap, whole as it was recorded."""

    def end(self) -> None:
        """There are no more. Is not called if there were none."""


def choose(selection: Selection, reverts: Reverts, *, as_json: bool, oneline: bool, stat: bool, utc: bool) -> Form:
    """The form that is asked for. Standard output is made ready for it."""
    if as_json:
        output.speak_utf8()
    else:
        output.survive_any_character()
    if stat:
        return _Counted(selection, as_json=as_json, utc=utc)
    return _Json(reverts) if as_json else _Text(selection, reverts, oneline=oneline, utc=utc)


def print_all(events: Iterator[RawBSONDocument], form: Form, *, endless: bool) -> bool:
    """Print events as they come; whether there were any. A reader that closes the pipe has seen enough."""
    found = False
    try:
        for stored in events:
            found = True
            form.event(stored)
        if found:
            form.end()
    except BrokenPipeError:
        output.let_go()
    except KeyboardInterrupt:
        if not endless:
            raise
    return found


class _Json:
    def __init__(self, reverts: Reverts) -> None:
        self._reverts = reverts

    def event(self, stored: RawBSONDocument) -> None:
        render.json_line(stored, self._reverts.of_stored(stored))

    def end(self) -> None:
        """Every line is out."""


class _Text:
    def __init__(self, selection: Selection, reverts: Reverts, *, oneline: bool, utc: bool) -> None:
        self._reverts = reverts
        self._zone = moments.zone_of(utc=utc)
        renderer = render.Renderer(
            render.PipedConsole(),
            utc=utc,
            with_ids=selection.document_id is ABSENT,
            with_namespaces=selection.namespace is None,
            narrow=selection.changes_of,
            remark=self._remark,
        )
        self._print = renderer.oneline if oneline else renderer.event

    def event(self, stored: RawBSONDocument) -> None:
        self._print(to_event(stored))

    def end(self) -> None:
        """Every line is out."""

    def _remark(self, event: HistoryModel) -> str:
        revert = self._reverts.of(event)
        return "" if revert is None else revert_text.of_event(revert, self._zone)


class _Counted:
    def __init__(self, selection: Selection, *, as_json: bool, utc: bool) -> None:
        self._summary = Summary(selection, moments.zone_of(utc=utc))
        self._as_json = as_json

    def event(self, stored: RawBSONDocument) -> None:
        self._summary.add(stored)

    def end(self) -> None:
        if self._as_json:
            summary.print_json(self._summary)
        else:
            summary.print_tables(self._summary, whole=not sys.stdout.isatty())
