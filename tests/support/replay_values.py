"""What the history of one event must say: its old values, its new values, and both as Python reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.image import Image
from change_history.bson.values import ABSENT, document_to_python, to_raw
from change_history.bson.values import UNKNOWN as UNKNOWN_VALUE
from change_history.reconstruct import fold
from change_history.stored.changes import UNKNOWN
from models import HistoryModel
from tests.support.replay_events import Difference, operation_of

if TYPE_CHECKING:
    from change_history.bson.paths import Path
    from change_history.stored.changes import Change


def _changes(stored: bytes) -> list[Change]:
    return fold.read(stored).changes


def check_old_values(event: bytes, stored: bytes, before: bytes | None) -> None:
    """Old values are the pre-image's, or said to be unknown; never a null, never a guess."""
    fields = raw.fields(event)
    image = fields.get(b"fullDocumentBeforeChange", raw.NULL_VALUE)
    if image[0] == raw.DOCUMENT:
        if image[1] != before:
            raise Difference("the pre-image is not the document before", event, stored, before=before)
        found = Image(image[1])
        for change in _changes(stored):
            if change.old_from is not None or change.old != found.get(change.path):
                raise Difference(f"the old value of {change.path}", event, stored)
            if change.new is None and change.truncated_to is None and change.old is None:
                raise Difference(f"a removal of nothing at {change.path}", event, stored)
        return
    expected = None if operation_of(fields) == b"insert" else UNKNOWN
    for change in _changes(stored):
        if change.old is not None or change.old_from != expected:
            raise Difference(f"an old value nobody knows at {change.path}", event, stored)


def check_new_values(event: bytes, stored: bytes, before: bytes | None, after: bytes | None) -> None:
    """New values are the post-image's, and every path is exact: indexes in arrays, keys in documents."""
    images = [Image(document) for document in (after, before) if document is not None]
    changes = _changes(stored)
    for number, change in enumerate(changes):
        path, new, truncated_to = change.path, change.new, change.truncated_to
        for depth, key in enumerate(path):
            kinds = {_kind(image, path[:depth]) for image in images}
            if (raw.ARRAY if isinstance(key, int) else raw.DOCUMENT) not in kinds:
                raise Difference(f"the path {path} is not exact", event, stored, before=before, server=after)
        if after is None or any(later.path[: len(path)] == path for later in changes[number + 1 :]):
            continue
        value = images[0].get(path)
        if value != new and not (truncated_to is not None and new is None):
            raise Difference(f"the new value of {path}", event, stored, before=before, server=after)


def _kind(image: Image, path: Path) -> int | None:
    if not path:
        return raw.DOCUMENT
    value = image.get(path)
    return None if value is None else value[0]


def check_decoding(event: bytes, stored: bytes) -> None:
    """What Python reads through the model is, value by value, the very BSON that is stored."""
    decoded = document_to_python(stored)
    if to_raw(decoded) != (raw.DOCUMENT, stored):
        raise Difference("decoding loses something", event, stored)
    model = HistoryModel._from_son(decoded)
    for change, payload in zip(model.changes, raw.items(raw.fields(stored)[b"changes"][1]), strict=True):
        kept = raw.fields(payload[1])
        for name, value in (("old_value", change.old_value), ("new_value", change.new_value)):
            found = None if value is ABSENT or value is UNKNOWN_VALUE else to_raw(value)
            if found != kept.get(name.encode()):
                raise Difference(f"the model's {name} of {change.field}", event, stored)
