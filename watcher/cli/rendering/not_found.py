"""The message when history has nothing about a request: what was searched, and suggestions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any

from bson import Binary, Decimal128, Int64, ObjectId

from change_history import Selection
from change_history.bson.values import ABSENT
from change_history.query import transactions
from change_history.stored.event import to_event
from watcher.cli.parsing import arguments
from watcher.cli.rendering import event_words
from watcher.words import meanings, times, value_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import tzinfo

    from change_history.reader import Reader

_EMPTY = "The history is empty: nothing has been recorded yet, or it is kept in another WATCHER_HISTORY_DATABASE."
_STANDALONE = (
    f"{_EMPTY}\nThe deployment asked is a standalone mongod, which has no change streams: nothing of it can be "
    "recorded.\nStart it with --replSet rs0 and run rs.initiate() once in mongosh; a single node will do."
)
_MOST_SUGGESTIONS = 3
_MOST_GAPS = 3
_MOST_LOOKED_AT = 1000
_MOST_CELLS = 200


def message(history: Reader, selection: Selection, zone: tzinfo | None = None) -> str:
    """Explain an empty answer, in one or more lines."""
    said = [f"nothing is recorded of {_searched(selection, zone)}.", *_suggestions(history, selection)]
    return "\n".join([*said, *_expired(history, selection, zone), *_gaps(history, selection, zone)])


def _expired(history: Reader, selection: Selection, zone: tzinfo | None) -> Iterator[str]:
    """A note that older history has expired."""
    before = history.expired_before(selection.namespace) if selection.namespace is not None else None
    if before is not None:
        yield f"Its history before {times.typed(before, zone)} has expired: see `watcher retention`."


def _gaps(history: Reader, selection: Selection, zone: tzinfo | None) -> Iterator[str]:
    """A note about the gaps in the requested window."""
    found = history.gaps(selection.namespace, since=selection.since, until=selection.until)
    first = [event_words.gap_interval(gap, zone) for gap in islice(found, _MOST_GAPS + 1)]
    if first:
        more = " and others" if len(first) > _MOST_GAPS else ""
        yield f"Events of it may be lost, in {', '.join(first[:_MOST_GAPS])}{more}: see `watcher gaps`."


def others(namespace: str, namespaces: Sequence[str]) -> str:
    """The namespaces with history, for a namespace that has none."""
    near = get_close_matches(namespace, namespaces, _MOST_SUGGESTIONS)
    named = near or namespaces[:_MOST_SUGGESTIONS]
    more = "" if len(namespaces) == len(named) else " (similar names)" if near else ", and others"
    return f"There is history of: {', '.join(map(value_text.printable, named))}{more}."


def _searched(selection: Selection, zone: tzinfo | None) -> str:
    parts = [value_text.printable(selection.namespace) if selection.namespace is not None else "any collection"]
    if selection.document_id is not ABSENT:
        parts.append(f"id {_with_kind(selection.document_id)}")
    if selection.field is not None:
        parts.append(f"field {value_text.printable(selection.field)}")
    if selection.operations:
        parts.append(f"operation {' or '.join(selection.operations)}")
    if selection.transaction is not None:
        parts.append(f"transaction {transactions.name_of(selection.transaction)}")
    by = {"by": selection.actor, "reason": selection.reason, "request": selection.request}
    values = {word: value for word, value in by.items() if value is not None}
    changed = {"changed from": selection.changed_from, "changed to": selection.changed_to}
    values |= {word: value for word, value in changed.items() if value is not ABSENT}
    parts += [f"{word} {_with_kind(value)}" for word, value in values.items()]
    for word, point in (("since", selection.since), ("until", selection.until)):
        if point is not None:
            parts.append(f"{word} {times.typed(point, zone)}")
    return ", ".join(parts)


def _suggestions(history: Reader, selection: Selection) -> Iterator[str]:
    namespace, document_id = selection.namespace, selection.document_id
    namespaces = history.namespaces()
    if not namespaces:
        yield _STANDALONE if history.is_standalone() else _EMPTY
        return
    yield from _actors(history, selection)
    if namespace is None:
        return
    if namespace not in namespaces:
        yield others(namespace, namespaces)
        return
    if document_id is not ABSENT and not history.knows(namespace, document_id):
        for other in _first_number(
            other for other in meanings.look_alikes(document_id) if history.knows(namespace, other)
        ):
            yield f"There is an id of another type, {_kind(other)}: watcher log {namespace} {meanings.argument(other)}"
            return
        yield f"To see which documents it has: watcher log {namespace} --oneline"
        return
    if selection.field is not None and (near := _near_fields(history, selection, selection.field)):
        yield f"There are changes of: {', '.join(map(value_text.printable, near))}."
    if selection.field is not None and (hint := arguments.element_hint(selection.field)):
        yield hint
    yield from _values_of_other_types(history, selection)
    if document_id is not ABSENT:
        yield f"The document has other history: watcher log {namespace} {meanings.argument(document_id)}"


def _actors(history: Reader, selection: Selection) -> Iterator[str]:
    """Suggestions of actors with similar names, or of another type that looks the same."""
    for name, option in (("actor", "by"), ("request", "request")):
        for other in _found(history, selection, name):
            yield f"There is one of another type, {_kind(other)}: --{option} {meanings.argument(other)}"
    if selection.actor is None:
        return
    known = history.actors()
    names = {str(actor).lower(): actor for actor in known}
    near = [names[name] for name in get_close_matches(str(selection.actor).lower(), names, _MOST_SUGGESTIONS)]
    if others := [actor for actor in near if actor != selection.actor]:
        yield f"There is history by: {', '.join(map(value_text.text_of, others))}."
    elif not known:
        yield "Of no event it is known who did it: see `watcher doctor`, or docs/actor.md."


def _near_fields(history: Reader, selection: Selection, field: str) -> list[str]:
    """Recently changed fields with similar names, without the field itself."""
    about = Selection(selection.namespace, selection.document_id)
    lately = islice(history.stored(about, newest_first=True), _MOST_LOOKED_AT)
    names = dict.fromkeys(change.field for stored in lately for change in to_event(stored).changes)
    names.pop(field, None)
    return get_close_matches(field, names, _MOST_SUGGESTIONS)


def _values_of_other_types(history: Reader, selection: Selection) -> Iterator[str]:
    for option in ("changed_from", "changed_to"):
        for other in _found(history, selection, option):
            name = option.replace("_", "-")
            yield f"There is a value of another type, {_kind(other)}: --{name} {meanings.argument(other)}"


def _found(history: Reader, selection: Selection, condition: str) -> Iterator[Any]:
    """Values that look like that of a condition and find events."""
    alike = meanings.look_alikes(getattr(selection, condition))
    return _first_number(
        other
        for other in alike
        if next(history.stored(replace(selection, **{condition: other}), limit=1), None) is not None
    )


def _first_number(values: Iterable[Any]) -> Iterator[Any]:
    """The values, with the first number only: 17, Long(17) and 17.0 find the same."""
    numbers = False
    for value in values:
        number = isinstance(value, int | float | Decimal128)
        if not (number and numbers):
            yield value
        numbers = numbers or number


def _kind(value: Any) -> str:
    """The name of a value's type."""
    if isinstance(value, Binary):
        return "a UUID" if value.subtype in meanings.UUID_SUBTYPES else "binary data"
    return next(name for kind, name in _KINDS.items() if isinstance(value, kind))


_KINDS: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    Int64: "a Long",
    int: "an integer",
    float: "a double",
    ObjectId: "an ObjectId",
    Decimal128: "a Decimal128",
    datetime: "a date",
    object: "another one",
}


def _with_kind(value: Any) -> str:
    kind = {str: "a string", int: "an integer", float: "a double"}.get(type(value))
    return value_text.text_of(value, _MOST_CELLS) + (f" ({kind})" if kind else "")
