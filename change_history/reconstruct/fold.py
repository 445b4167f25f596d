"""History → document: apply recorded events to a document, byte for byte as the server did.

The counterpart of `record`. A field that exists is set in place, a new one is put at the end; an element set
beyond an array's end fills the room between with nulls. So does the server apply its own deltas
(src/mongo/db/update/document_diff_applier.cpp).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import raw
from change_history.bson.paths import is_index
from change_history.bson.redacted import is_withheld
from change_history.stored.changes import Change, decode, whole_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from change_history.bson.paths import Key
    from change_history.bson.raw import Value


_WHOLE = frozenset({b"insert", b"baseline"})
_MAYBE_WHOLE = frozenset({b"replace", b"reconcile"})
PARTIAL = frozenset({b"update", b"replace", b"reconcile"})
"""Operations that may record the changes of a part of a document only."""

ERASED_REASON = "what it did was erased on request"


class DoesNotApplyError(ValueError):
    """A recorded change does not fit the document it is applied to: history before it is incomplete."""


class _WithheldError(Exception):
    """A change is inside a withheld value: the value stays withheld."""


class Entry(NamedTuple):
    """The fields of a history document that folding needs."""

    operation: bytes
    changes: list[Change]
    key_order: list[bytes] | None


def read(history: bytes) -> Entry:
    """Read a stored history document.

    Raises:
        DoesNotApplyError: it is only the head of a document in parts (see `change_history.stored.chunks`).
    """
    return read_fields(raw.fields(history))


def read_fields(found: dict[bytes, Value]) -> Entry:
    """Read a stored history document, given as its top-level fields."""
    if b"parts" in found:
        raise DoesNotApplyError("the head of a large history document tells no values; its parts are to be read")
    changes = found.get(b"changes")
    order = found.get(b"key_order")
    return Entry(
        raw.text_of(found[b"operation"]),
        [decode(payload) for _, payload in raw.items(changes[1])] if changes is not None else [],
        [raw.text_of(key) for key in raw.items(order[1])] if order is not None else None,
    )


def whole(found: dict[bytes, Value]) -> bytes | None:
    """The document that a stored history document, given as its top-level fields, holds whole.

    Returns:
        The document; None: it has to be read as an `Entry`.
    """
    if b"parts" in found or raw.text_of(found[b"operation"]) not in _WHOLE or b"changes" not in found:
        return None
    return whole_document(found[b"changes"][1])


def fold(document: bytes | None, history: Iterable[bytes]) -> bytes | None:
    """Apply stored history documents, in order, to a document.

    Args:
        document: the document before the first event; None: it did not exist.
        history: stored `HistoryModel` documents of this one document, oldest first.

    Returns:
        The document after the last event; None: it no longer exists.

    Raises:
        DoesNotApplyError: an event does not fit, because history before it is incomplete.
    """
    folding = Folding(document)
    for entry in history:
        folding.apply(read(entry))
    return folding.document()


def latest(history: Sequence[bytes]) -> bytes | None:
    """Fold stored history documents of one document, in order, starting from the last one that holds it whole.

    Raises:
        DoesNotApplyError: none holds it whole, or a later one does not fit.
    """
    entries = [read(entry) for entry in history]
    start = max((number for number, entry in enumerate(entries) if tells_all(entry)), default=0)
    folding = Folding(None)
    for entry in entries[start:]:
        folding.apply(entry)
    return folding.document()


def apply(document: bytes | None, entry: Entry) -> bytes | None:
    """Apply one recorded event to a document.

    Raises:
        DoesNotApplyError: the event does not fit the document.
    """
    folding = Folding(document)
    folding.apply(entry)
    return folding.document()


class Folding:
    """A document to which events are applied one after the other; it is encoded only on request."""

    def __init__(self, document: bytes | None) -> None:
        self._document = document
        self._root: _Node | None = None  # replaces the bytes once an event has changed a part of them

    def apply(self, entry: Entry) -> None:
        """Apply one recorded event.

        Raises:
            DoesNotApplyError: the event does not fit; the document is undefined from here on.
        """
        operation, changes, key_order = entry
        if operation == b"delete" or (operation == b"reconcile" and _is_gone(changes)):
            self._document = self._root = None
        elif changes and not changes[0].path:
            if any(value is not None and is_withheld(value) for value in (changes[0].old, changes[0].new)):
                raise DoesNotApplyError(ERASED_REASON)
            if operation == b"baseline":
                raise DoesNotApplyError("it was not known at the horizon, up to which its history has expired")
            raise DoesNotApplyError("the event was too large to be delivered with its values: what it did is unknown")
        elif operation in _WHOLE or (operation in _MAYBE_WHOLE and _is_whole(changes)):
            told = ((change.path[0], change.new) for change in changes if change.new is not None)
            self._document, self._root = raw.from_fields(told), None  # type: ignore[arg-type]
        elif operation in PARTIAL:
            root = self._opened()
            for change in changes:
                root.apply(change)
            if key_order is not None:
                root.reorder(key_order)

    def document(self) -> bytes | None:
        """The document after the last event; None: it no longer exists."""
        if self._root is not None:
            self._document, self._root = self._root.value()[1], None
        return self._document

    def _opened(self) -> _Node:
        if self._root is None:
            if self._document is None:
                raise DoesNotApplyError("an update of a document that is not there")
            self._root = _Node((raw.DOCUMENT, self._document))
        return self._root


def tells_all(entry: Entry) -> bool:
    """Whether an event determines the document after it, whatever it was before."""
    return (
        entry.operation in _WHOLE
        or entry.operation == b"delete"
        or (entry.operation in _MAYBE_WHOLE and (_is_whole(entry.changes) or _is_gone(entry.changes)))
    )


def _is_whole(changes: list[Change]) -> bool:
    """Whether the whole new document is listed: only then is its `_id`, which no event changes, among the changes."""
    return any(change.path == (b"_id",) and change.new is not None for change in changes)


def _is_gone(changes: list[Change]) -> bool:
    return any(change.path == (b"_id",) and change.new is None for change in changes)


class _Node:
    """A document or array that is being changed; values on no changed path stay bytes.

    BSON allows a document to repeat a key, and an array to have keys other than 0, 1, 2, …. The event of an update does
    not tell which occurrence it changed. A key that occurs once is changed as ever; repeated ones stay in place.
    """

    __slots__ = ("fields", "items", "repeated")

    def __init__(self, value: Value) -> None:
        self.fields: dict[bytes, Value | _Node] | None = None
        self.items: list[Value | _Node] | None = None
        self.repeated: frozenset[bytes] = frozenset()
        contents = raw.elements(value[1]) if value[0] in (raw.DOCUMENT, raw.ARRAY) else []
        if value[0] == raw.DOCUMENT:
            self.fields = {key: (kind, payload) for key, kind, payload in contents}
            if len(self.fields) != len(contents):
                self._tell_repeated_apart(contents)
        elif value[0] == raw.ARRAY:
            self.items = [(kind, payload) for _, kind, payload in contents]
            if any(key != b"%d" % index for index, (key, _, _) in enumerate(contents)):
                raise DoesNotApplyError("an update of an array whose keys are not 0, 1, 2, … in this order")
        elif is_withheld(value):
            raise _WithheldError
        else:
            raise DoesNotApplyError("a path leads through a value that is neither document nor array")

    def apply(self, change: Change) -> None:
        try:
            self._apply(change)
        except _WithheldError:
            return

    def _apply(self, change: Change) -> None:
        node = self
        for key in change.path[:-1]:
            node = node.open(key)
        last = change.path[-1]
        if change.truncated_to is not None:
            array = node.open(last).items
            if array is None:
                raise DoesNotApplyError("a truncation of something that is no array")
            del array[change.truncated_to :]
        elif change.new is None:
            node.remove(last)
        else:
            node.set(last, change.new, at_end=change.at_end)

    def _tell_repeated_apart(self, contents: list[raw.Element]) -> None:
        """Keep every occurrence of a repeated key under a unique name, made with a NUL, which no BSON key contains."""
        counts = Counter(key for key, _, _ in contents)
        self.repeated = frozenset(key for key, count in counts.items() if count > 1)
        self.fields = {
            b"%b\0%d" % (key, position) if key in self.repeated else key: (kind, payload)
            for position, (key, kind, payload) in enumerate(contents)
        }

    def _name(self, key: Key) -> bytes:
        name = _as_key(key)
        if name in self.repeated:
            raise DoesNotApplyError("an update of a key that the document has more than once")
        return name

    def open(self, key: Key) -> _Node:
        """The container below a key, opened for changes."""
        slot: Key = key
        children: dict[bytes, Value | _Node] | list[Value | _Node]
        if self.fields is not None:
            slot, children = self._name(key), self.fields
        else:
            slot, children = _as_index(key), self.items or []
        try:
            child = children[slot]  # type: ignore[index]
            if not isinstance(child, _Node):
                child = children[slot] = _Node(child)  # type: ignore[index]
        except LookupError as error:
            raise DoesNotApplyError("a path leads through something that is not there") from error
        return child

    def set(self, key: Key, value: Value, *, at_end: bool) -> None:
        if self.fields is not None:
            name = self._name(key)
            if at_end:
                self.fields.pop(name, None)
            self.fields[name] = value
            return
        array, index = self.items or [], _as_index(key)
        if index < len(array):
            array[index] = value
        else:
            array.extend([raw.NULL_VALUE] * (index - len(array)))
            array.append(value)
        self.items = array

    def remove(self, key: Key) -> None:
        if self.fields is None or self.fields.pop(self._name(key), None) is None:
            raise DoesNotApplyError("a removal of something that is not there")

    def reorder(self, keys: list[bytes]) -> None:
        if self.fields is None or set(keys) != set(self.fields):
            raise DoesNotApplyError("a new order of other keys than the document has")
        self.fields = {key: self.fields[key] for key in keys}

    def value(self) -> Value:
        """Encode the document or array."""
        if self.fields is not None:
            contents = ((key, _written(child)) for key, child in self.fields.items())
            if self.repeated:
                contents = ((key.partition(b"\0")[0], child) for key, child in contents)
            return raw.DOCUMENT, raw.from_fields(contents)
        return raw.ARRAY, raw.from_items(_written(child) for child in self.items or [])


def _written(child: Value | _Node) -> Value:
    return child.value() if isinstance(child, _Node) else child


def _as_key(key: Key) -> bytes:
    return b"%d" % key if isinstance(key, int) else key


def _as_index(key: Key) -> int:
    if isinstance(key, int):
        return key
    if is_index(key):
        return int(key)
    raise DoesNotApplyError("a key where an array has only indexes")
