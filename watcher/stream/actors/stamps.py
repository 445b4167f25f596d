"""Stamps: a field of the document names who wrote it. It is believed only if the event itself wrote the field.

A document keeps its old stamp when a writer that does not stamp changes it. So the field's value alone proves nothing.
The event must have changed the value, or a companion field, such as a time that is set with every stamp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import raw
from change_history.stored import actor, changes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from change_history.stored.changes import Change

_APART = ":"
_INSERT = b"insert"
_WRITING = frozenset({_INSERT, b"update", b"replace"})

Keys = tuple[bytes, ...]


class Stamp(NamedTuple):
    """A field that names who wrote a document.

    Attributes:
        path: its keys, from the top of the document.
        companions: fields that are always changed together with the stamp.
    """

    path: Keys
    companions: tuple[Keys, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Stamp:
        """Parse `updated_by`, `meta.user`, or with companions `updated_by:updated_at`."""
        first, *others = (tuple(path.encode().split(b".")) for path in text.split(_APART))
        return cls(first, tuple(others))

    @property
    def hint(self) -> frozenset[bytes]:
        """Keys of which at least one occurs in every history document that this stamp can be read from."""
        return frozenset(path[-1] for path in (self.path, *self.companions))


class Stamps:
    """Reads actors from stamps.

    Args:
        fields: in the syntax of `ACTOR_FIELDS`; if an event wrote several, the first one counts.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        self._stamps = tuple(map(Stamp.parse, fields))
        self._hints = tuple(frozenset().union(*(stamp.hint for stamp in self._stamps)))

    def __bool__(self) -> bool:
        return bool(self._stamps)

    def actor_of(self, history: bytes, event: bytes, known: bytes | None) -> bytes | None:
        """The actor that an event stamped on its document, as stored BSON; None: the event wrote no stamp.

        Args:
            history: the history document of the event, without an actor.
            event: the event as the server sent it.
            known: the document before the event, reconstructed from history; None: not reconstructed.
        """
        if not any(hint in history for hint in self._hints):
            return None
        fields = raw.fields(history)
        operation = raw.text_of(fields[b"operation"])
        if operation not in _WRITING or b"document_id" not in fields:
            return None
        found = [changes.decode(change) for _, change in raw.items(fields[b"changes"][1])]
        for stamp in self._stamps:
            value = _written(found, stamp.path, operation)
            if value is None and any(_written(found, path, operation) for path in stamp.companions):
                value = _unchanged(found, stamp.path, event, known)
            if value is not None and actor.is_name(value):
                return actor.encode(value, actor.STAMP)
        return None


def _written(found: Sequence[Change], path: Keys, operation: bytes) -> raw.Value | None:
    """The value that an event gave a field; None: it did not set the field, or that is not certain."""
    around = [change for change in found if change.path and change.path == path[: len(change.path)]]
    if len(around) != 1:  # a duplicate key is ambiguous
        return None
    (change,) = around
    depth = len(change.path)
    new, old = _inside(change.new, path[depth:]), _inside(change.old, path[depth:])
    if operation == _INSERT:
        return new
    if change.old_from == changes.UNKNOWN:
        # For an update, the server names the fields whose value changed. A value nested in such a field, or one that
        # was only moved to the end, may have been there before.
        told = operation == b"update" and depth == len(path) and not change.at_end
        return new if told else None
    return new if new != old else None


def _unchanged(found: Sequence[Change], path: Keys, event: bytes, known: bytes | None) -> raw.Value | None:
    """The value of a field that an event did not change; None: the event changed it, or that is not known."""
    for change in found:
        depth = min(len(change.path), len(path))
        if change.path[:depth] == path[:depth] and _inside(change.new, path[depth:]) != _inside(
            change.old, path[depth:]
        ):
            return None
    fields = raw.fields(event)
    after = fields.get(b"fullDocument")
    before = fields.get(b"fullDocumentBeforeChange")
    if after is not None and after[0] == raw.DOCUMENT and raw.text_of(fields[b"operationType"]) == b"replace":
        return _inside(after, path)
    if before is not None and before[0] == raw.DOCUMENT:
        return _inside(before, path)
    return _inside((raw.DOCUMENT, known), path) if known is not None else None


def _inside(value: raw.Value | None, path: Keys) -> raw.Value | None:
    """The value at a path within a value; None: there is none, or a duplicate key makes it ambiguous."""
    for key in path:
        if value is None or value[0] != raw.DOCUMENT:
            return None
        contents, repeated = raw.keyed(value[1])
        value = contents.get(key) if key not in repeated else None
    return value
