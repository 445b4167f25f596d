"""Event → history: makes the history document of one change event.

A pure function: the same event gives the same bytes, so that an event read twice is stored once, and two daemons
cannot disagree. It is the counterpart of `fold`. For most events, `fast_path` writes the same bytes in compiled code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.image import Image
from change_history.diff import images
from change_history.reconstruct import fold
from change_history.stored import changes
from change_history.stored.changes import Change
from watcher.events import event, update
from watcher.events.ambiguous import resolve

if TYPE_CHECKING:
    from change_history.bson.cluster_time import ClusterTime
    from watcher.events.event import StreamEvent

_ID = b"\x05_id\x00" + raw.int32(16) + b"\x00"
_MILLISECONDS = 1000
_EMPTY_ARRAY = raw.EMPTY_DOCUMENT


def record(data: bytes, known: bytes | None = None) -> bytes:
    """Turn one change event into its history document.

    Args:
        data: the event as the server sent it, BSON.
        known: the document before the event from history, used if the event has no pre-image; None: unknown.

    Returns:
        The document that `models.HistoryModel` would have written, BSON.

    Raises:
        change_history.bson.raw.MalformedBSON: the bytes are not a BSON document.
        watcher.events.event.UnreadableEventError: the resume token, operation or cluster time is missing.
        watcher.events.update.UnknownUpdateFormatError: the update's description has an unknown format.
    """
    return document(event.parse(data), known)


def document(happened: StreamEvent, known: bytes | None = None) -> bytes:
    """Turn one parsed change event into its history document. Arguments and errors are those of `record`."""
    fields, operation, namespace, cluster_time, token, _ = happened
    parts = [_ID, happened.id]
    if namespace:
        parts += (b"\x02namespace\x00", raw.string(namespace))
    document_id = happened.document_id()
    if document_id is not None:
        parts += (raw.TYPE_BYTE[document_id[0]], b"document_id\x00", document_id[1])
    parts += (b"\x02operation\x00", raw.string(operation))
    wall_time = fields.get(b"wallTime")
    parts += (b"\x09timestamp\x00", wall_time[1] if wall_time is not None else _date_of(cluster_time))
    parts += (b"\x11cluster_time\x00", cluster_time.payload, b"\x04changes\x00")
    if happened.without_values:
        parts.append(raw.from_items([(raw.DOCUMENT, changes.untold(operation))]))
    elif operation in event.DOCUMENT_OPERATIONS:
        found, key_order = _CHANGES[operation](happened, known)
        parts.append(raw.from_items([(raw.DOCUMENT, changes.encode(change)) for change in found]))
        if key_order is not None:
            keys = raw.from_items([(raw.STRING, raw.string(key)) for key in key_order])
            parts += (b"\x04key_order\x00", keys)
    else:
        parts.append(_EMPTY_ARRAY)
        description = happened.description()
        if description:
            parts += (b"\x03description\x00", raw.from_fields(description.items()))
    session, number = fields.get(b"lsid"), fields.get(b"txnNumber")
    if session is not None and number is not None:
        parts += (b"\x03transaction\x00", raw.from_fields([(b"session", session), (b"number", number)]))
    parts += (b"\x05resume_token\x00", raw.int32(len(token)), b"\x00", token)
    return raw.document(parts)


def followed(happened: StreamEvent, known: bytes | None = None) -> tuple[bytes, bytes | None]:
    """The history document of an event, and the document after it; None: unknown, or deleted.

    If the event cannot have happened to the document in history, there is an undetected gap. Then the old values are
    unknown, and so is the document after the event.

    Arguments and errors are those of `record`.
    """
    history = document(happened, known)
    if happened.without_values:
        return history, None
    before, _ = _before(happened, known)
    entry = fold.read(history)
    if before is None and not fold.tells_all(entry):
        return history, None
    try:
        return history, fold.apply(before, entry)
    except fold.DoesNotApplyError:
        return document(happened), None


def _date_of(cluster_time: ClusterTime) -> bytes:
    """Cluster time as a date, for servers before 6.0, whose events carry no wall time."""
    return (cluster_time.seconds * _MILLISECONDS).to_bytes(8, "little")


def _insert(happened: StreamEvent, _known: bytes | None) -> tuple[list[Change], None]:
    inserted = happened.document(b"fullDocument")
    if inserted is None:
        raise event.UnreadableEventError("an insert without its document")
    return [Change((key,), None, (kind, payload)) for key, kind, payload in raw.elements(_as_stored(inserted))], None


def _delete(happened: StreamEvent, known: bytes | None) -> tuple[list[Change], None]:
    before, old_from = _before(happened, known)
    if before is None:
        return [Change((), None, None, changes.UNKNOWN)], None
    return [Change((key,), (kind, payload), None, old_from) for key, kind, payload in raw.elements(before)], None


def _replace(happened: StreamEvent, known: bytes | None) -> tuple[list[Change], list[bytes] | None]:
    before, old_from = _before(happened, known)
    after = happened.document(b"fullDocument")
    if after is None:
        raise event.UnreadableEventError("a replacement without its document")
    after = _as_stored(after)
    if before is None:
        return [Change((k,), None, (kind, payload), changes.UNKNOWN) for k, kind, payload in raw.elements(after)], None
    found, key_order = images.diff(before, after)
    return [change._replace(old_from=old_from) for change in found] if old_from else found, key_order


def _update(happened: StreamEvent, known: bytes | None) -> tuple[list[Change], list[bytes] | None]:
    image, old_from = _before(happened, known)
    before = Image(image) if image is not None else None
    delta = happened.document(b"rawUpdateDescription")
    if delta is not None:
        return changes.of_steps(update.from_raw(delta), before, old_from), None
    description = happened.document(b"updateDescription")
    if description is None:
        raise update.UnknownUpdateFormatError("an update without a description")
    post_image = happened.document(b"fullDocument")
    if post_image is not None:
        post_image = _as_stored(each_key_once(post_image))
    after = Image(post_image) if post_image is not None else None
    found = changes.of_steps(resolve(update.from_description(description), before, after), before, old_from)
    if image is not None and post_image is not None and not _leads_to(post_image, image, found):
        return images.diff(image, post_image)
    return found, None


def _as_stored(document: bytes) -> bytes:
    """Move `_id` to the front, where the server stores it; a pipeline may have moved it in the event."""
    if document[5:9] == b"_id\x00":
        return document
    contents = raw.elements(document)
    first = sorted(contents, key=lambda element: element[0] != b"_id")
    return raw.from_fields((key, (kind, payload)) for key, kind, payload in first)


def each_key_once(document: bytes) -> bytes:
    """Repair a post-image: 6.0 duplicates keys that a pipeline moved within a sub-document; the last one counts."""
    contents: dict[bytes, raw.Value] = {}
    for key, kind, payload in raw.elements(document):
        contents.pop(key, None)
        contents[key] = (kind, each_key_once(payload) if kind in (raw.DOCUMENT, raw.ARRAY) else payload)
    return raw.from_fields(contents.items())


def _before(happened: StreamEvent, known: bytes | None) -> tuple[bytes | None, bytes | None]:
    """The document before the event, and its source, if that is not the server's pre-image."""
    image = happened.document(b"fullDocumentBeforeChange")
    return (image, None) if image is not None else (known, changes.HISTORY if known is not None else None)


def _leads_to(after: bytes, before: bytes, found: list[Change]) -> bool:
    try:
        return fold.apply(before, fold.Entry(b"update", found, None)) == after
    except fold.DoesNotApplyError:
        return False


_CHANGES = {b"insert": _insert, b"delete": _delete, b"replace": _replace, b"update": _update}
