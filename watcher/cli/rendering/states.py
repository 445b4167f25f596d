"""Documents at a point in time: their state or why there is none, remarks, and the document itself.

Documents are written as relaxed Extended JSON, indented, with terminal control characters escaped. Numbers are
written without their type, which the canonical form (`change_history.bson.extended_json`) keeps.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from change_history import Selection
from change_history.bson import extended_json, raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.paths import dotted
from change_history.bson.redacted import MAGIC, redacted
from change_history.bson.values import ABSENT
from change_history.query import transactions
from change_history.query.gaps import view
from change_history.reconstruct.filters import FilterError
from change_history.reconstruct.point_in_time import NoSuchVersionError
from change_history.reconstruct.state import UnknownStateError
from change_history.stored.order import BEGINNING
from watcher.cli import exit_codes
from watcher.cli.rendering import actors, event_words, not_found
from watcher.cli.session import CommandError, say, until_closed
from watcher.words import meanings, times
from watcher.words.operations import operation_of
from watcher.words.value_text import printable, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import tzinfo

    from bson import Timestamp

    from change_history import State
    from change_history.bson.paths import Path
    from change_history.bson.raw import Value
    from change_history.reader import Reader
    from change_history.reconstruct.collection import CollectionState
    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.stored.event import Event
    from change_history.stored.order import HistoryPosition
    from watcher.cli.session import Context


@contextmanager
def open_history(context: Context) -> Iterator[Reader]:
    """Open the history to query states of documents; an unanswerable query ends the command with the reason.

    Raises:
        click.UsageError: the server refuses a filter.
    """
    try:
        with until_closed(), context.history() as history:
            yield history
    except UnknownStateError as error:
        raise CommandError(f"{error}.", exit_codes.UNKNOWN) from error
    except FilterError as error:
        raise click.UsageError(f"--query: {error}") from error


def state(history: Reader, namespace: str, document_id: Any, at: PointInTime | None, zone: tzinfo | None) -> State:
    """A document's state; if it is unknown, the command ends."""
    try:
        found = history.state(namespace, document_id, at)
    except NoSuchVersionError as error:
        said = no_such_version(history, namespace, document_id, error, zone)
        raise CommandError(said, exit_codes.NOT_FOUND) from error
    if found.unknown is not None:
        raise CommandError(unknown(found, at, zone), exit_codes.UNKNOWN)
    return found


def say_gaps(gaps: Iterable[Event], zone: tzinfo | None) -> None:
    """Report the gaps in the interval of an answer, each once."""
    for line in across(list({bytes(gap.id): gap for gap in gaps}.values()), zone):
        say(line)


def say_withheld(document: bytes) -> None:
    """Report the redacted values of a document that is printed as JSON, where they look like other binary values."""
    found = list(islice(_withheld(document, ()), _MOST_WITHHELD + 1))
    if found:
        more = ", and more" if len(found) > _MOST_WITHHELD else ""
        say(f"withheld, with a Binary in its place: {', '.join(found[:_MOST_WITHHELD])}{more}")


def _withheld(container: bytes, above: Path) -> Iterator[str]:
    if MAGIC not in container:
        return
    for key, kind, payload in raw.elements(container):
        path = (*above, key)
        if kind in {raw.DOCUMENT, raw.ARRAY}:
            yield from _withheld(payload, path)
        elif (value := redacted((kind, payload))) is not None:
            yield f"{printable(dotted(path).decode('utf-8', 'replace'))} {printable(str(value))}"


_MOST_WITHHELD = 10
_MOST_GAPS = 3
_RENAME = "rename"


def named(namespace: str, document_id: Any) -> str:
    """A document by its name: `shop.users, id 42`."""
    return f"{printable(namespace)}, id {text_of(document_id)}"


def version_text(state: State, zone: tzinfo | None) -> str:
    """A state's version, with the time and the event that made it."""
    event = state.entry
    if event is None:
        return "no version"
    elsewhere = f" under the former name {printable(event.namespace)}" if event.namespace != state.namespace else ""
    return f"version {state.version}{elsewhere}, {of_event(event, zone)}"


def of_event(event: Event, zone: tzinfo | None) -> str:
    """An event in short: `2024-05-01 14:00:00.000+02:00 update, event 6b04bf1a00000002c6c6, by alice (stamp)`."""
    transaction = event_words.transaction_name(event)
    told = [
        f"{times.of_event(event, zone)} {operation_of(event)}",
        f"event {transactions.event_name(event.id)}",
        f"transaction {transaction}" if transaction else "",
        actors.actor_text(event.actor),
    ]
    return ", ".join(filter(None, told))


def across(gaps: Sequence[Event], zone: tzinfo | None) -> Iterator[str]:
    """Lines about the gaps in the interval of an answer."""
    for gap in gaps[:_MOST_GAPS]:
        yield (
            f"Events were lost from {event_words.gap_interval(gap, zone)}, because of {printable(view(gap).cause)}: "
            "what they changed is not known."
        )
    if len(gaps) > _MOST_GAPS:
        yield f"There are {len(gaps) - _MOST_GAPS} gaps more: see `watcher gaps`."


def unknown(state: State, at: PointInTime | None, zone: tzinfo | None) -> str:
    """Why a document's state at a point in time is unknown."""
    of, then = named(state.namespace, state.document_id), times.asked(at, zone)
    last = f" Its last recorded event up to {then}: {version_text(state, zone)}." if state.entry is not None else ""
    return "\n".join([f"history cannot tell {of}: {state.unknown}.{last}", *across(state.gaps, zone)])


def unversioned(history: Reader, namespace: str, document_id: Any, zone: tzinfo | None) -> str:
    """The message for a version of a document that has no entries in the namespace."""
    arrival = _arrival(history, namespace, BEGINNING, meanings.argument(document_id), zone)
    if not arrival:
        return not_found.message(history, Selection(namespace, document_id), zone)
    return "\n".join([f"{named(namespace, document_id)}: no version of it is recorded under this name.", *arrival])


def no_such_version(
    history: Reader, namespace: str, document_id: Any, error: NoSuchVersionError, zone: tzinfo | None
) -> str:
    """The message for a version that a document does not have."""
    if not error.count:
        return unversioned(history, namespace, document_id, zone)
    return f"{named(namespace, document_id)}: {error}."


def why_absent(history: Reader, state: State, at: PointInTime | None, zone: tzinfo | None) -> str:
    """Why a document did not exist at a point in time, and where to find it."""
    return "\n".join([*_absent(history, state, at, zone), *across(state.gaps, zone)])


def why_empty(history: Reader, collection: CollectionState, zone: tzinfo | None) -> str:
    """Why a collection had no documents, and where to find them."""
    return "\n".join([*_nothing(history, collection, zone), *across(collection.gaps, zone)])


def _absent(history: Reader, state: State, at: PointInTime | None, zone: tzinfo | None) -> Iterator[str]:
    of, argument = named(state.namespace, state.document_id), meanings.argument(state.document_id)
    ended = state.ended_by
    if ended is not None and ended.document_id is ABSENT:
        yield f"{of} was not there any more."
        yield from _turned(ended, state.namespace, argument, zone)
        return
    if ended is not None:
        yield f"{of} was not there any more: {of_event(ended, zone)}."
        if state.version is not None and state.version > 1 and ended.namespace == state.namespace:
            yield f"What it was before: watcher show {command(state.namespace, argument)} --at {state.version - 1}"
            yield f"To bring it back: watcher revert {command(state.namespace, argument)} --undelete"
        return
    later = history.first_later(state)
    arrival = _arrival(history, state.namespace, state.position, argument, zone)
    if later is None and not arrival:
        yield not_found.message(history, Selection(state.namespace, state.document_id), zone)
        return
    yield f"nothing is recorded of {of} up to {times.asked(at, zone)}."
    if later is not None:
        yield f"Its first recorded event after it: {of_event(later, zone)}."
    yield from arrival


def _nothing(history: Reader, collection: CollectionState, zone: tzinfo | None) -> Iterator[str]:
    namespace, position = collection.namespace, collection.position
    turn = history.turn_before(namespace, position)
    arrival = _arrival(history, namespace, position, "", zone)
    known = namespace in history.namespaces()
    if turn is not None:
        yield f"{printable(namespace)} had no documents then."
        yield from _turned(turn, namespace, "", zone)
    elif known or arrival:
        yield f"{printable(namespace)} had no documents then that are recorded."
    else:
        yield not_found.message(history, Selection(namespace), zone)
    yield from arrival


def _turned(event: Event, namespace: str, document: str, zone: tzinfo | None) -> Iterator[str]:
    """What happened to the documents of a collection, and how to see them."""
    subject = event_words.subject(event, None, with_ids=True, with_namespaces=True)
    yield f"What the collection had ended with {of_event(event, zone)}: {subject}."
    if event.operation == _RENAME and event.namespace == namespace:
        yield f"It has another name since: watcher show {command(_target(event), document)}"
        return
    if event.operation == _RENAME:
        yield f"Since then it has what {printable(event.namespace)} had before."
    point = times.exact(just_before(event.cluster_time))
    yield f"What there was right before: watcher show {command(namespace, document)} --at {point}"


def _arrival(
    history: Reader, namespace: str, position: HistoryPosition, document: str, zone: tzinfo | None
) -> list[str]:
    event = history.arrival_after(namespace, position)
    if event is None:
        return []
    when, was = of_event(event, zone), printable(event.namespace)
    typed = f"watcher show {command(event.namespace, document)} --at …"
    return [f"Before {when}, what {printable(namespace)} has since was {was}: {typed}"]


def command(namespace: str, document: str) -> str:
    """The arguments that name a document, or without `document` its collection."""
    return f"{printable(namespace)} {document}".rstrip()


def _target(rename: Event) -> str:
    to = rename.description["to"]
    return f"{to['db']}.{to['coll']}"


def just_before(point: Timestamp) -> Timestamp:
    """The cluster time right before another."""
    return ClusterTime.of(point).just_before.timestamp


WIDTH = 100
"""Characters; a part of a document that fits in them is written on one line."""

_INDENT = "  "


def pretty(document: bytes) -> str:
    """Write a BSON document on as many lines as it needs."""
    return "\n".join(_lines((raw.DOCUMENT, document), 0))


def pretty_line(document: bytes) -> str:
    """Write a BSON document on one line."""
    return extended_json.readable_document(document)


def _lines(value: Value, depth: int) -> Iterator[str]:
    """A value on lines; the first has no indent of its own."""
    kind, payload = value
    found = raw.elements(payload) if kind in {raw.DOCUMENT, raw.ARRAY} else []
    whole = extended_json.readable(value) if depth or not found else None
    if whole is not None and (not found or len(whole) + depth * len(_INDENT) <= WIDTH):
        yield whole
        return
    opening, closing = "{}" if kind == raw.DOCUMENT else "[]"
    inner = _INDENT * (depth + 1)
    yield opening
    for number, (key, inner_kind, inner_payload) in enumerate(found, 1):
        name = f"{_key(key)}: " if kind == raw.DOCUMENT else ""
        lines = list(_lines((inner_kind, inner_payload), depth + 1))
        lines[0] = f"{inner}{name}{lines[0]}"
        lines[-1] += "," if number < len(found) else ""
        yield from lines
    yield _INDENT * depth + closing


def _key(key: bytes) -> str:
    return extended_json.dumps_raw((raw.STRING, raw.string(key)))
