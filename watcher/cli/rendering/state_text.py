"""What is said beside a document as it was: where it stands in its history, and what is not known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import Timestamp

from change_history import Selection
from change_history.bson.values import ABSENT
from change_history.query import transactions
from change_history.query.gaps import view
from change_history.stored.order import BEGINNING
from watcher.cli.parsing import moments
from watcher.cli.rendering import gap_text, heading, not_found
from watcher.cli.rendering.value_text import printable, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo

    from change_history import History, State
    from change_history.reconstruct.collection import CollectionState
    from change_history.reconstruct.point_in_time import NoSuchVersionError, PointInTime
    from change_history.stored.event import Event
    from change_history.stored.order import HistoryPosition

_MOST_GAPS = 3
_LAST_INCREMENT = 2**32 - 1
_RENAME = "rename"


def named(namespace: str, document_id: Any) -> str:
    """A document by its name: `shop.users, id 42`."""
    return f"{printable(namespace)}, id {text_of(document_id)}"


def stands(state: State, zone: tzinfo | None) -> str:
    """Where a document stands: its version, when it came to be, by what."""
    event = state.entry
    if event is None:
        return "no version"
    elsewhere = f" under the former name {printable(event.namespace)}" if event.namespace != state.namespace else ""
    return f"version {state.version}{elsewhere}, {of_event(event, zone)}"


def of_event(event: Event, zone: tzinfo | None) -> str:
    """An event in few words: `2024-05-01 14:00:00.000+02:00 update, event 6b04bf1a00000002c6c6`."""
    transaction = heading.transaction(event)
    return (
        f"{moments.of_event(event, zone)} {printable(event.operation)}, event {transactions.event_name(event.id)}"
        + (f", transaction {transaction}" if transaction else "")
    )


def across(gaps: Sequence[Event], zone: tzinfo | None) -> Iterator[str]:
    """Lines about the gaps that an answer reaches across."""
    for gap in gaps[:_MOST_GAPS]:
        yield (
            f"Events were lost from {gap_text.interval(gap, zone)}, because of {printable(view(gap).cause)}: what they "
            "changed is not known."
        )
    if len(gaps) > _MOST_GAPS:
        yield f"There are {len(gaps) - _MOST_GAPS} gaps more: see `watcher gaps`."


def unknown(state: State, at: PointInTime | None, zone: tzinfo | None) -> str:
    """Why history cannot tell a document as of a moment."""
    of, then = named(state.namespace, state.document_id), moments.asked(at, zone)
    last = f" Its last recorded event up to {then}: {stands(state, zone)}." if state.entry is not None else ""
    return "\n".join([f"history cannot tell {of}: {state.unknown}.{last}", *across(state.gaps, zone)])


def unversioned(history: History, namespace: str, document_id: Any, zone: tzinfo | None) -> str:
    """What to say of a document that has no entry under a name, and is asked for by the number of one."""
    arrival = _arrival(history, namespace, BEGINNING, not_found.argument(document_id), zone)
    if not arrival:
        return not_found.message(history, Selection(namespace, document_id), zone)
    return "\n".join([f"{named(namespace, document_id)}: no version of it is recorded under this name.", *arrival])


def no_such_version(
    history: History, namespace: str, document_id: Any, error: NoSuchVersionError, zone: tzinfo | None
) -> str:
    """What to say of a version that a document does not have."""
    if not error.count:
        return unversioned(history, namespace, document_id, zone)
    return f"{named(namespace, document_id)}: {error}."


def absent(history: History, state: State, at: PointInTime | None, zone: tzinfo | None) -> str:
    """Why a document was not there at a moment, and where it is to be found."""
    return "\n".join([*_absent(history, state, at, zone), *across(state.gaps, zone)])


def nothing(history: History, collection: CollectionState, zone: tzinfo | None) -> str:
    """Why a collection had no documents, and where they are to be found."""
    return "\n".join([*_nothing(history, collection, zone), *across(collection.gaps, zone)])


def _absent(history: History, state: State, at: PointInTime | None, zone: tzinfo | None) -> Iterator[str]:
    of, argument = named(state.namespace, state.document_id), not_found.argument(state.document_id)
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
    arrival = _arrival(history, state.namespace, state.place, argument, zone)
    if later is None and not arrival:
        yield not_found.message(history, Selection(state.namespace, state.document_id), zone)
        return
    yield f"nothing is recorded of {of} up to {moments.asked(at, zone)}."
    if later is not None:
        yield f"Its first recorded event after it: {of_event(later, zone)}."
    yield from arrival


def _nothing(history: History, collection: CollectionState, zone: tzinfo | None) -> Iterator[str]:
    namespace, place = collection.namespace, collection.place
    turn = history.turn_before(namespace, place)
    arrival = _arrival(history, namespace, place, "", zone)
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
    """What became of the documents of a collection, and how to see them."""
    subject = heading.subject(event, None, with_ids=True, with_namespaces=True)
    yield f"What the collection had ended with {of_event(event, zone)}: {subject}."
    if event.operation == _RENAME and event.namespace == namespace:
        yield f"It has another name since: watcher show {command(_target(event), document)}"
        return
    if event.operation == _RENAME:
        yield f"Since then it has what {printable(event.namespace)} had before."
    moment = moments.exact(just_before(event.cluster_time))
    yield f"What there was right before: watcher show {command(namespace, document)} --at {moment}"


def _arrival(history: History, namespace: str, place: HistoryPosition, document: str, zone: tzinfo | None) -> list[str]:
    event = history.arrival_after(namespace, place)
    if event is None:
        return []
    when, was = of_event(event, zone), printable(event.namespace)
    typed = f"watcher show {command(event.namespace, document)} --at …"
    return [f"Before {when}, what {printable(namespace)} has since was {was}: {typed}"]


def command(namespace: str, document: str) -> str:
    """What a command takes to name a document, or without one its collection."""
    return f"{printable(namespace)} {document}".rstrip()


def _target(rename: Event) -> str:
    to = rename.description["to"]
    return f"{to['db']}.{to['coll']}"


def just_before(moment: Timestamp) -> Timestamp:
    """The cluster time right before another."""
    return Timestamp(moment.time, moment.inc - 1) if moment.inc else Timestamp(moment.time - 1, _LAST_INCREMENT)
