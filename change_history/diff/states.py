"""What is different between two states of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.values import document_to_python
from change_history.diff import images
from change_history.stored import event
from change_history.stored.changes import Change, encode

if TYPE_CHECKING:
    from collections.abc import Iterator


def changes(before: bytes | None, after: bytes | None) -> list[Change]:
    """The changes that lead from one state to another, as an event would have recorded them.

    Folding applies them as it applies an update (`change_history.reconstruct.fold`): sub-documents by field, arrays as
    wholes, a field that
    is there in its place and a new one at the end. Fields that come to stand elsewhere are changes with `at_end`, their
    old value equal to the new one if nothing else became of them.

    Args:
        before: a BSON document; None: it was not there.
        after: likewise.

    Returns:
        None for equal bytes. Of a document that is only on one side, one for each of its fields.
    """
    if before is None or after is None:
        return [
            *(Change((key,), value, None) for key, value in raw.fields(before or raw.EMPTY_DOCUMENT).items()),
            *(Change((key,), None, value) for key, value in raw.fields(after or raw.EMPTY_DOCUMENT).items()),
        ]
    found, _ = images.diff(before, after)
    old, new = raw.fields(before), raw.fields(after)
    moved = set(_out_of_order(list(old), list(new)))
    return [
        *(change for change in found if change.path[0] not in moved),
        *(Change((key,), old.get(key), value, at_end=key in old) for key, value in new.items() if key in moved),
    ]


def read(found: list[Change]) -> list[event.Change]:
    """Changes as Python sees them. They have no time of their own."""
    return [event.to_change(document_to_python(encode(change))) for change in found]


def _out_of_order(old: list[bytes], new: list[bytes]) -> Iterator[bytes]:
    """The keys from the first on that does not stand after those before it: all of them go to the end, in order."""
    places = {key: place for place, key in enumerate(old)}
    reached = -1
    rest = iter(new)
    for key in rest:
        if places.get(key, -1) < reached or key not in places:
            yield key
            yield from rest
            return
        reached = places[key]
