"""Removes values from history documents. Pure.

Every value that is not a document or an array is replaced by a placeholder; documents and arrays stay, with their field
names. So the rest folds as before, to a document of the same structure without its values. If the names have to be
erased too, an entry only shows that something happened.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.bson.redacted import ERASED
from change_history.redaction_rules import Paths, Rule
from change_history.stored.changes import Change, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from change_history.bson.paths import Key

Value = raw.Value

_CONTAINERS = frozenset({raw.DOCUMENT, raw.ARRAY})
_TEXTS = frozenset({raw.STRING, raw.SYMBOL})
_WITH_BYTES = frozenset({raw.STRING, raw.SYMBOL, raw.BINARY, raw.REGEX, raw.CODE, raw.CODE_WITH_SCOPE, raw.DB_POINTER})
_ID = b"_id"
_STRUCTURE = frozenset(
    {
        *(b"_id", b"namespace", b"operation", b"timestamp", b"cluster_time", b"resume_token", b"transaction"),
        *(b"version", b"parts", b"change_count", b"document_id", b"source"),
    }
)
"""Fields of a history document, or of an imported entry, that contain no values to erase."""


class Trail(StrEnum):
    """What is kept of an event of an erased document."""

    FIELDS = "fields"
    """That it happened, when, and to which fields."""
    TIMES = "times"
    """That it happened, and when."""
    NOTHING = "nothing"
    """Nothing."""


class Fields:
    """The fields of a document to erase.

    Args:
        names: paths as in redaction rules: `items.sku` covers the elements of an array as well. Empty: all fields but
            `_id`.

    Raises:
        ValueError: one of them is not a valid path.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = tuple(names)
        self._paths = Paths([Rule.parse(f"*.*:{name}=drop") for name in self.names])

    def erased(self, entry: bytes, trail: Trail = Trail.FIELDS) -> bytes:
        """A history document, or an imported entry, without the values.

        Args:
            trail: what is kept of it; the caller has to handle `Trail.NOTHING`.
        """
        found = raw.fields(entry)
        told = found.get(b"changes")
        if told is None:
            return entry
        changes = [decode(payload) for _, payload in raw.items(told[1])]
        if trail is Trail.FIELDS or self.names:
            after = [self._change(change) for change in changes]
        else:
            after = _bare(raw.text_of(found[b"operation"]), changes)
            found.pop(b"key_order", None)
        if after == changes:
            return entry
        found[b"changes"] = (raw.ARRAY, raw.from_items([(raw.DOCUMENT, encode(change)) for change in after]))
        return raw.from_fields(found.items())

    def left(self, entry: bytes, trail: Trail) -> bytes | None:
        """As `erased`; None: nothing is kept of it."""
        return None if trail is Trail.NOTHING else self.erased(entry, trail)

    def _change(self, change: Change) -> Change:
        if change.path[:1] == (_ID,):
            return change
        if not self.names:
            return change._replace(old=_all_of(change.old), new=_all_of(change.new))
        _, state = self._paths.along(change.path)
        if not change.path:  # the whole document, as in an event without values
            state = self._paths.start
        return change._replace(old=self._below(change.old, state), new=self._below(change.new, state))

    def _below(self, value: Value | None, state: int) -> Value | None:
        if value is None or not state:
            return value
        if self._paths.rule(state) is not None:
            return _all_of(value)
        kind, payload = value
        if kind not in _CONTAINERS:
            return value
        step = self._paths.index if kind == raw.ARRAY else self._paths.key
        parts = [(key, self._below((sub, part), step(state, key))) for key, sub, part in raw.elements(payload)]
        return kind, raw.from_fields((key, part) for key, part in parts if part is not None)


def _all_of(value: Value | None) -> Value | None:
    if value is None:
        return None
    kind, payload = value
    if kind not in _CONTAINERS:
        return ERASED
    parts = [(key, _all_of((sub, part))) for key, sub, part in raw.elements(payload)]
    return kind, raw.from_fields((key, part) for key, part in parts if part is not None)


def _bare(operation: bytes, changes: list[Change]) -> list[Change]:
    """The changes of an entry without field names: something happened to the document, or it was deleted."""
    of_id = [change for change in changes if change.path == (_ID,)]
    if any(change.new is None for change in of_id):
        return of_id
    old = ERASED if operation not in {b"insert", b"baseline"} else None
    return [Change((), old, ERASED if operation != b"delete" else None)]


class Finder:
    """Finds and erases values, wherever they occur.

    A string is found in every string and field name that contains it. Any other value is found where an equal value
    occurs, in the server's sense of equality.

    Args:
        values: the values to find.
        key: key of the digests that replace the strings in field names.
    """

    def __init__(self, values: Iterable[Value], key: bytes) -> None:
        found = list(values)
        self._texts = [payload[4:-1] for kind, payload in found if kind in _TEXTS]
        self._others = {key_of(value) for value in found if value[0] not in _TEXTS}
        self._key = key

    def may_be_in(self, data: bytes) -> bool:
        """Whether the data must be searched in detail: always, if there are values other than strings."""
        return bool(self._others) or any(text in data for text in self._texts)

    def erased(self, entry: bytes) -> bytes:
        """A history document, or an imported entry, without the values."""
        if not self.may_be_in(entry):
            return entry
        found = [(name, self._field(name, value)) for name, value in raw.fields(entry).items()]
        return raw.from_fields(found)

    def in_id(self, entry: bytes) -> bool:
        """Whether a value is where it cannot be erased: in the `_id` of a document."""
        document_id = raw.fields(entry).get(b"document_id")
        return document_id is not None and self.value(document_id) != document_id

    def is_in(self, data: bytes) -> bool:
        """Whether a document contains one of the values, or one of the strings in any of its bytes."""
        if any(text in data for text in self._texts):
            return True
        return bool(self._others) and self.value((raw.DOCUMENT, data)) != (raw.DOCUMENT, data)

    def _field(self, name: bytes, value: Value) -> Value:
        if name in _STRUCTURE:
            return value
        if name == b"changes":
            changes = [self._change(decode(payload)) for _, payload in raw.items(value[1])]
            return raw.ARRAY, raw.from_items([(raw.DOCUMENT, encode(change)) for change in changes])
        if name == b"key_order":
            keys = [raw.string(self._name(raw.text_of(key))) for key in raw.items(value[1])]
            return raw.ARRAY, raw.from_items([(raw.STRING, key) for key in keys])
        return self.value(value)

    def _change(self, change: Change) -> Change:
        if change.path[:1] == (_ID,):
            return change
        path = tuple(map(self._key_of_path, change.path))
        old = self.value(change.old) if change.old is not None else None
        new = self.value(change.new) if change.new is not None else None
        return change._replace(path=path, old=old, new=new)

    def _key_of_path(self, key: Key) -> Key:
        return self._name(key) if isinstance(key, bytes) else key

    def value(self, value: Value) -> Value:
        """A value without the values to erase."""
        kind, payload = value
        if kind in _CONTAINERS and not (self._others and key_of(value) in self._others):
            parts = [
                (self._name(key) if kind == raw.DOCUMENT else key, self.value((sub, part)))
                for key, sub, part in raw.elements(payload)
            ]
            return kind, raw.from_fields(parts)
        if kind in _WITH_BYTES and any(text in payload for text in self._texts):
            return ERASED
        return ERASED if self._others and key_of(value) in self._others else value

    def _name(self, name: bytes) -> bytes:
        """A field name without the strings: equal names stay equal, but do not reveal the string."""
        for text in self._texts:
            if text and text in name:
                digest = blake2b(text, key=self._key, digest_size=4).hexdigest().encode()
                name = name.replace(text, b"erased-" + digest)
        return name
