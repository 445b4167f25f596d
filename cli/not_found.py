"""What to say when nothing is recorded of what was asked for: what was searched, and what might have been meant."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from cli import extended_json, gap_text, literals, value_text
from models.values import ABSENT, to_raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from history import History, Selection

_MOST_SUGGESTIONS = 3
_MOST_GAPS = 3


def message(history: History, selection: Selection) -> str:
    """Explain an empty answer, in one or more lines."""
    said = [f"nothing is recorded of {_searched(selection)}.", *_suggestions(history, selection)]
    return "\n".join([*said, *_gaps(history, selection)])


def _gaps(history: History, selection: Selection) -> Iterator[str]:
    """What may be missing from history in the window that was asked for."""
    found = history.gaps(selection.namespace, since=selection.since, until=selection.until)
    first = [gap_text.interval(gap, None) for gap in islice(found, _MOST_GAPS + 1)]
    if first:
        more = " and others" if len(first) > _MOST_GAPS else ""
        yield f"Events of it may be lost, in {', '.join(first[:_MOST_GAPS])}{more}: see `watcher gaps`."


def _searched(selection: Selection) -> str:
    parts = [value_text.printable(selection.namespace)]
    if selection.document_id is not ABSENT:
        parts.append(f"id {_id_text(selection.document_id)}")
    if selection.field is not None:
        parts.append(f"field {value_text.printable(selection.field)}")
    for word, moment in (("since", selection.since), ("until", selection.until)):
        if moment is not None:
            parts.append(f"{word} {value_text.text_of(moment)}")
    return ", ".join(parts)


def _suggestions(history: History, selection: Selection) -> Iterator[str]:
    namespace, document_id = selection.namespace, selection.document_id
    namespaces = history.namespaces()
    if not namespaces:
        yield "The history is empty: nothing has been recorded yet, or it is kept in another WATCHER_HISTORY_DATABASE."
        return
    if namespace not in namespaces:
        near = get_close_matches(namespace, namespaces, _MOST_SUGGESTIONS) or namespaces[:_MOST_SUGGESTIONS]
        yield f"There is history of: {', '.join(map(value_text.printable, near))}."
        return
    if document_id is ABSENT:
        return
    if history.knows(namespace, document_id):
        yield f"The document has other history: watcher log {namespace} {_argument(document_id)}"
        return
    for other in _look_alikes(document_id):
        if history.knows(namespace, other):
            yield f"There is an id of another type: watcher log {namespace} {_argument(other)}"


def _look_alikes(document_id: Any) -> Iterator[Any]:
    """Ids of other types that look the same to a person."""
    if isinstance(document_id, ObjectId | int | float) and not isinstance(document_id, bool):
        yield str(document_id)
    if type(document_id) is str:
        if ObjectId.is_valid(document_id):
            yield ObjectId(document_id)
        if document_id.lstrip("-").isdecimal():
            yield int(document_id)


def _id_text(document_id: Any) -> str:
    kind = {str: "a string", int: "an integer", float: "a double"}.get(type(document_id))
    return value_text.text_of(document_id) + (f" ({kind})" if kind else "")


def _argument(document_id: Any) -> str:
    """How to type an id so that a shell passes it and `literals.document_id` reads it."""
    bare = str(document_id)
    if value_text.is_plain_word(bare) and to_raw(literals.document_id(bare)) == to_raw(document_id):
        return bare
    quoted = extended_json.dumps(document_id).replace("'", "'\\''")
    return f"'{quoted}'"
