"""Compute the changes from one image of a document to another, as an event records them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.values import document_to_python
from change_history.stored import event
from change_history.stored.changes import UNKNOWN, Change, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from change_history.bson.paths import Path


def diff(before: bytes, after: bytes) -> tuple[list[Change], list[bytes] | None]:
    """Compare two images of one document.

    Sub-documents are compared field by field, arrays as a whole (the server too reports `$pull` and the like as a
    whole; readers compare the elements). If a replacement gives `_id` another type, 1 for 1.0, or a document repeats
    a key, every field is listed, since changes that set `_id` hold the whole document
    (`change_history.reconstruct.fold`).

    Returns:
        The changes, and the document's keys in their new order; None: applying the changes (fields set in place, new
        ones at the end) gives the right order.
    """
    (old, old_repeated), (new, new_repeated) = raw.keyed(before), raw.keyed(after)
    if old.get(b"_id") != new.get(b"_id") or old_repeated or new_repeated:
        removed = [Change((key,), value, None) for key, value in old.items() if key not in new]
        told = [
            Change((key,), None, (kind, payload), UNKNOWN)
            if key in old_repeated
            else Change((key,), old.get(key), (kind, payload))
            for key, kind, payload in raw.elements(after)
        ]
        return [*removed, *told], None
    changes: list[Change] = []
    ordered = _compare(before, after, (), changes)
    return changes, None if ordered else list(raw.fields(after))


def changes(before: bytes | None, after: bytes | None) -> list[Change]:
    """The changes from one state to another, as one event would have recorded them.

    Folding applies them as it applies an update (`change_history.reconstruct.fold`): sub-documents by field, arrays as
    wholes, a field that is there in its place and a new one at the end. Fields that come to
    stand elsewhere are changes with `at_end`, their old value equal to the new one if nothing else became of them.

    Args:
        before: a BSON document; None: it does not exist. `after` likewise.

    Returns:
        An empty list for equal bytes. For a document that is only on one side, one change for each field. Where a key
        is repeated, one for each field of the new document, in its order, which no update could produce.
    """
    if before == after:
        return []
    if before is None or after is None:
        return [
            *(
                Change((key,), (kind, payload), None)
                for key, kind, payload in raw.elements(before or raw.EMPTY_DOCUMENT)
            ),
            *(
                Change((key,), None, (kind, payload))
                for key, kind, payload in raw.elements(after or raw.EMPTY_DOCUMENT)
            ),
        ]
    found, _ = diff(before, after)
    if raw.repeats(before) or raw.repeats(after):
        return found
    old, new = raw.fields(before), raw.fields(after)
    moved = set(_out_of_order(list(old), list(new)))
    return [
        *(change for change in found if change.path[0] not in moved),
        *(Change((key,), old.get(key), value, at_end=key in old) for key, value in new.items() if key in moved),
    ]


def read(found: list[Change]) -> list[event.Change]:
    """Convert changes to Python values, without a time."""
    return [event.to_change(document_to_python(encode(change))) for change in found]


def _compare(before: bytes, after: bytes, prefix: Path, changes: list[Change]) -> bool:
    """Collect the changes below a path; return whether applying them also gives the right order of keys."""
    old, new = raw.fields(before), raw.fields(after)
    changes.extend(Change((*prefix, key), value, None) for key, value in old.items() if key not in new)
    for key, value in new.items():
        was = old.get(key)
        if was == value:
            continue
        path = (*prefix, key)
        if was is not None and was[0] == value[0] == raw.DOCUMENT:
            finer: list[Change] = []
            if not raw.repeats(was[1]) and not raw.repeats(value[1]) and _compare(was[1], value[1], path, finer):
                changes.extend(finer)
                continue
        changes.append(Change(path, was, value))
    return [*(key for key in old if key in new), *(key for key in new if key not in old)] == list(new)


def _out_of_order(old: list[bytes], new: list[bytes]) -> Iterator[bytes]:
    """The keys from the first one that is out of order on: all of them move to the end, in order."""
    places = {key: place for place, key in enumerate(old)}
    reached = -1
    rest = iter(new)
    for key in rest:
        if places.get(key, -1) < reached or key not in places:
            yield key
            yield from rest
            return
        reached = places[key]
