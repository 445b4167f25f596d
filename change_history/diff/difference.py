"""One difference between two documents: what `compare` finds, `patch` applies and the command line shows."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from change_history.bson import raw
    from change_history.bson.paths import Key, Path
    from change_history.bson.values import Missing

Side: TypeAlias = "raw.Value | Missing"
"""What one of the two documents has at a path: a value, `ABSENT`, or `UNKNOWN` where nobody can tell."""


class Kind(StrEnum):
    """What happened to a path."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"
    """An element has another place among those of its array that are in both."""
    REORDERED = "reordered"
    """The keys of a document stand in an order that removing, setting in place and adding at the end does not give."""


class Difference(NamedTuple):
    """What is different at one path.

    Attributes:
        kind: what happened.
        path: where in the new document; of what was removed, where it would be but for its own key or index, which is
            the old one. The empty path is the whole document.
        old_path: where in the old document, likewise. It differs from `path` only in indexes of arrays.
        old: value before. Of a moved element its index; of reordered keys the array of all keys, in their order.
        new: value after, likewise.
        identities: beside each part of `path` the `_id` of the element to which it leads, None where that is no
            element or elements are not told apart by `_id`s there.
    """

    kind: Kind
    path: Path
    old_path: Path
    old: Side
    new: Side
    identities: tuple[raw.Value | None, ...]


class Place(NamedTuple):
    """Where a value stands in both documents. The attributes are those of `Difference`."""

    path: Path = ()
    old_path: Path = ()
    identities: tuple[raw.Value | None, ...] = ()

    def field(self, key: bytes) -> Place:
        """The place of a field of the document here."""
        return self._into(key, key, None)

    def element(self, old_index: int, index: int, identity: raw.Value | None = None) -> Place:
        """The place of an element of the array here."""
        return self._into(old_index, index, identity)

    def difference(self, kind: Kind, old: Side, new: Side) -> Difference:
        """A difference here."""
        return Difference(kind, self.path, self.old_path, old, new, self.identities)

    def _into(self, old_key: Key, key: Key, identity: raw.Value | None) -> Place:
        return Place((*self.path, key), (*self.old_path, old_key), (*self.identities, identity))
