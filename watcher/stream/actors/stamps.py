"""Stamps: a field of the document itself names who wrote it, and is believed only where this very event wrote it.

A document carries its stamp on when somebody writes to it who does not stamp. So what the field holds says nothing;
that the event gave it another value does, or that it changed a companion, such as a time that is set with every stamp.
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
        companions: fields that whoever stamps changes along with it.
    """

    path: Keys
    companions: tuple[Keys, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Stamp:
        """Read `updated_by`, `meta.user`, or with companions `updated_by:updated_at`."""
        first, *others = (tuple(path.encode().split(b".")) for path in text.split(_APART))
        return cls(first, tuple(others))

    @property
    def hint(self) -> frozenset[bytes]:
        """Keys of which one stands in every history document that this can be told from."""
        return frozenset(path[-1] for path in (self.path, *self.companions))


class Stamps:
    """Reads actors from stamps.

    Args:
        fields: as `ACTOR_FIELDS` has them; of several that an event wrote, the first counts.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        self._stamps = tuple(map(Stamp.parse, fields))
        self._hints = tuple(frozenset().union(*(stamp.hint for stamp in self._stamps)))

    def __bool__(self) -> bool:
        return bool(self._stamps)

    def actor_of(self, history: bytes, event: bytes, known: bytes | None) -> bytes | None:
        """Who stamped the document in an event, as an actor is stored; None: nobody did.

        Args:
            history: the history document of the event, without an actor.
            event: the event as the server sent it.
            known: the document before it as history tells it.
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
    """The value that an event gave a field; None: it did not, or that cannot be told."""
    around = [change for change in found if change.path and change.path == path[: len(change.path)]]
    if len(around) != 1:  # a key that a document has twice says nothing
        return None
    (change,) = around
    depth = len(change.path)
    new, old = _inside(change.new, path[depth:]), _inside(change.old, path[depth:])
    if operation == _INSERT:
        return new
    if change.old_from == changes.UNKNOWN:
        # Of an update the server names the fields that got another value. What stands within one, or was only put to
        # the end, may have been there before.
        told = operation == b"update" and depth == len(path) and not change.at_end
        return new if told else None
    return new if new != old else None


def _unchanged(found: Sequence[Change], path: Keys, event: bytes, known: bytes | None) -> raw.Value | None:
    """The value of a field after an event that did not change it; None: it did, or that is not known."""
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
    """What stands at a path within a value; None: nothing, or there is no telling, as a key is there twice."""
    for key in path:
        if value is None or value[0] != raw.DOCUMENT:
            return None
        contents, repeated = raw.keyed(value[1])
        value = contents.get(key) if key not in repeated else None
    return value
