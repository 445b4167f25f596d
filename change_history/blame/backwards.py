"""Which entry each leaf has its value from, read from the newest entry on: it ends when every leaf has its setter.

The rules are those of `leaves`, and the answers the same. Where only following the whole document can decide, such as
for an array that was set as a whole, `NeedsAllError` is raised.
"""

from __future__ import annotations

from itertools import dropwhile
from typing import TYPE_CHECKING, TypeAlias

from change_history.blame.sought import Sought
from change_history.bson import raw
from change_history.bson.redacted import hides_change
from change_history.reconstruct import fold
from change_history.stored.changes import UNKNOWN
from change_history.stored.order import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from change_history.bson.paths import Path
    from change_history.bson.raw import Value
    from change_history.stored.changes import Change

    Fields = dict[bytes, Value]

Keys: TypeAlias = tuple[bytes, ...]
"""A path with its indexes written as keys: a container has only keys or only indexes."""

_ID: Keys = (b"_id",)
_CONTAINERS = frozenset({raw.DOCUMENT, raw.ARRAY})


class NeedsAllError(Exception):
    """A leaf can only be attributed by following the whole document forwards."""


def setters(
    leaves: Sequence[tuple[Path, Value]],
    entries: Callable[[Sought], Iterable[Fields]],
    last: bytes,
    beginning: Callable[[], Fields | None],
) -> list[bytes]:
    """Find the entry that each leaf of a document has its value from.

    Args:
        leaves: the path and value of each.
        entries: returns the document's entries, newest first; read no further than needed. It gets the leaves still
            sought, and may omit entries that concern none of them.
        last: `_id` of the last entry in the given state of the document; newer ones are skipped.
        beginning: reads the entry that set everything that no later entry has changed; None: there is none. It is
            called once only the document's `_id` is left, which only such an entry sets.

    Returns:
        The `_id` of the entry for each leaf, 16 bytes.

    Raises:
        NeedsAllError: the entries have to be followed forwards.
    """
    sought = Sought(leaves, last)
    search = _Search(leaves, sought)
    asked = False
    for fields in dropwhile(lambda entry: identity(entry) != last, entries(sought)):
        search.take(fields)
        if not asked and search.only_id_is_left:
            asked = True
            begun = beginning()
            if begun is not None:
                search.set_rest(begun)
        if search.is_complete:
            break
    search.end()
    return search.found()


class _Search:
    def __init__(self, leaves: Sequence[tuple[Path, Value]], sought: Sought) -> None:
        if any(value[0] in _CONTAINERS for _, value in leaves):
            raise NeedsAllError("the event that emptied a container is only told by what it was")
        self._leaves = leaves
        self._sought = sought
        self._setters: list[bytes | None] = [None] * len(leaves)
        self._left = len(leaves)
        self._below: dict[Keys, set[int]] = {}
        self._keys = [_keys(path) for path, _ in leaves]
        for number, keys in enumerate(self._keys):
            for length in range(len(keys) + 1):
                self._below.setdefault(keys[:length], set()).add(number)
        self._baseline: Fields | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every leaf has its entry."""
        return not self._left

    @property
    def only_id_is_left(self) -> bool:
        """Whether every other leaf has its entry."""
        return self._left == len(self._below.get(_ID, ()))

    def take(self, fields: Fields) -> None:
        """Take the next older entry."""
        operation = raw.text_of(fields[b"operation"])
        if self._baseline is not None:
            if operation != b"delete":
                raise NeedsAllError("the baseline of a document that was known before")
            self.end()
        elif operation == b"insert":
            self.set_rest(fields)
        elif operation == b"baseline":
            self._baseline = fields
        elif operation in fold.PARTIAL:
            entry = fold.read_fields(fields)
            if fold.tells_all(entry):
                raise NeedsAllError("the whole document was told")
            for change in reversed(entry.changes):
                self._take_change(change, fields)
        else:
            raise NeedsAllError("the document was not there")

    def end(self) -> None:
        """Finish: there are no older entries."""
        if self._baseline is not None:
            self.set_rest(self._baseline)

    def found(self) -> list[bytes]:
        """The entry of each leaf."""
        found = [setter for setter in self._setters if setter is not None]
        if len(found) != len(self._leaves):
            raise NeedsAllError("no entry told the whole document")
        return found

    def set_rest(self, fields: Fields) -> None:
        """Attribute all remaining leaves to an entry."""
        self._setters = [identity(fields) if setter is None else setter for setter in self._setters]
        self._left = 0

    def _take_change(self, change: Change, fields: Fields) -> None:
        keys = _keys(change.path)
        concerned = self._below.get(keys)
        if self._leads_through_leaf(keys):
            raise NeedsAllError("a leaf has taken the place of a container")
        if change.truncated_to is not None:
            if any(self._index_below(number, keys) >= change.truncated_to for number in concerned or ()):
                raise NeedsAllError("an element that was cut off is there")
            return
        if change.new is not None and change.old is None and keys[-1].isdigit():
            self._expect_no_filling(keys[:-1], int(keys[-1]))
        if not concerned:
            return
        if change.new is None or change.old_from == UNKNOWN:
            raise NeedsAllError("a leaf that was removed, or whose value before is not known")
        for number in list(concerned):
            path, value = self._leaves[number]
            below = path[len(keys) :]
            if any(isinstance(key, int) for key in below) or _value_at(change.new, below) != value:
                raise NeedsAllError("an array was set as a whole")
            if change.old is None or _value_at(change.old, below) != value or (not below and hides_change(value)):
                self._set(number, fields)

    def _leads_through_leaf(self, keys: Keys) -> bool:
        """Whether a path leads through the place of a leaf that has no entry yet."""
        for length in range(1, len(keys)):
            below = self._below.get(keys[:length])
            if not below:
                return False
            if len(below) == 1 and len(self._keys[next(iter(below))]) == length:
                return True
        return False

    def _expect_no_filling(self, array: Keys, index: int) -> None:
        for number in self._below.get(array, ()):
            path, value = self._leaves[number]
            filling = value[0] == raw.NULL and len(path) == len(array) + 1 and isinstance(path[-1], int)
            if filling and self._index_below(number, array) < index:
                raise NeedsAllError("a null may be what filled an array up to a new element")

    def _index_below(self, number: int, array: Keys) -> int:
        """The index of a leaf's element in an array."""
        path, _ = self._leaves[number]
        index = path[len(array)] if len(path) > len(array) else None
        if not isinstance(index, int):
            raise NeedsAllError("what was an array is none")
        return index

    def _set(self, number: int, fields: Fields) -> None:
        self._setters[number] = identity(fields)
        self._left -= 1
        self._sought.remove(self._leaves[number][0])
        keys = self._keys[number]
        for length in range(len(keys) + 1):
            self._below[keys[:length]].discard(number)


def _keys(path: Path) -> Keys:
    return tuple([b"%d" % key if isinstance(key, int) else key for key in path])


def _value_at(value: Value, path: Path) -> Value | None:
    """The value at a path of keys through documents; None: there is none, or another type of value is on the way."""
    for key in path:
        if value[0] != raw.DOCUMENT or isinstance(key, int):
            return None
        inner = raw.fields(value[1]).get(key)
        if inner is None:
            return None
        value = inner
    return value
