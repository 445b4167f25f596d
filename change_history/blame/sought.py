"""The leaves whose setter is still sought, by dotted path, to skip entries that concern none of them.

An entry concerns a leaf if one of its changes is at the leaf, above it, or below it; or sets an element beyond the end
of an array in which the leaf is a null that may fill the room between. Dotted paths do not distinguish every key from
an index, or two keys from one with a dot: in doubt, an entry is read although it need not be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.paths import dotted
from change_history.bson.quick import COMPILED
from change_history.reconstruct.fold import PARTIAL
from change_history.stored.order import identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from change_history.bson.paths import Path
    from change_history.bson.raw import Value

_LENGTH = 4


class Sought:
    """The leaves that are sought.

    Args:
        leaves: the path and value of each.
        last: `_id` of the entry, 16 bytes, from which on older ones may be skipped.
    """

    def __init__(self, leaves: Iterable[tuple[Path, Value]], last: bytes) -> None:
        # The number of leaves at or below each path. A change of `_id` holds the whole document, or ends it.
        self._above: dict[bytes, int] = {b"_id": 1}
        self._leaves: dict[bytes, int] = {}
        self._filled: dict[bytes, int] = {}
        self._last = last
        self._passes_over = False
        for path, value in leaves:
            for length in range(len(path) + 1):
                above = dotted(path[:length])
                self._above[above] = self._above.get(above, 0) + 1
            leaf = dotted(path)
            self._leaves[leaf] = self._leaves.get(leaf, 0) + 1
            if value[0] == raw.NULL and isinstance(path[-1], int):
                self._filled[dotted(path[:-1])] = 1

    def remove(self, path: Path) -> None:
        """Stop seeking a leaf."""
        for length in range(len(path) + 1):
            _count_down(self._above, dotted(path[:length]))
        _count_down(self._leaves, dotted(path))

    def may_skip(self, paths: bytes) -> bool:
        """Whether entries that change only these paths can be skipped unread.

        Args:
            paths: dotted, with a NUL between two.
        """
        return self._passes_over and not concerns_any(paths, self._above, self._leaves, self._filled)

    def concerned(self, batches: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the entries that may concern a leaf that is still sought.

        Entries with operations not in `PARTIAL` always do, and so does every entry before one.

        Args:
            batches: stored history documents of one document, concatenated, newest first.
        """
        for batch in batches:
            at = 0
            while at < len(batch):
                if self._passes_over:
                    at = first_concerned(batch, at, self._above, self._leaves, self._filled)
                    if at == len(batch):
                        break
                entry = batch[at : at + int.from_bytes(batch[at : at + _LENGTH], "little")]
                at += len(entry)
                fields = raw.fields(entry)
                if identity(fields) == self._last:
                    self._passes_over = True
                if raw.text_of(fields[b"operation"]) not in PARTIAL:
                    self._passes_over = False
                yield entry


def first_concerned(
    entries: bytes, at: int, above: dict[bytes, int], leaves: dict[bytes, int], filled: dict[bytes, int]
) -> int:
    """The offset of the first entry that may concern a leaf, or is no update of a part of the document.

    Args:
        entries: stored history documents, concatenated.
        at: the offset of one of them, at which to begin.
        above: the dotted paths of the leaves and of all containers they are in.
        leaves: the dotted paths of the leaves.
        filled: the dotted paths of arrays with a null that may fill the room up to an element.

    Returns:
        The offset; the length of the entries if there is none.
    """
    if COMPILED is not None:
        return COMPILED.first_concerned(entries, at, above, leaves, filled)  # type: ignore[no-any-return]
    while at < len(entries):
        length = int.from_bytes(entries[at : at + _LENGTH], "little", signed=True)
        if length < len(raw.EMPTY_DOCUMENT) or at + length > len(entries):
            return at
        paths = _paths(entries[at : at + length])
        if paths is None or any(_concerns(path, above, leaves, filled) for path in paths):
            return at
        at += length
    return at


def concerns_any(paths: bytes, above: dict[bytes, int], leaves: dict[bytes, int], filled: dict[bytes, int]) -> bool:
    """Whether changes of paths may concern a leaf.

    Args:
        paths: dotted, with a NUL between two.
        above: as in `first_concerned`, like the rest.
    """
    if COMPILED is not None:
        return COMPILED.concerns_any(paths, above, leaves, filled)  # type: ignore[no-any-return]
    return any(_concerns(path, above, leaves, filled) for path in paths.split(b"\0"))


def _paths(entry: bytes) -> list[bytes] | None:
    """The dotted paths that an entry changes; None: it may do something else too."""
    try:
        fields = raw.fields(entry)
        kind, changes = fields[b"changes"]
        if kind != raw.ARRAY or b"parts" in fields or raw.text_of(fields[b"operation"]) not in PARTIAL:
            return None
        return [_path(change) for change in raw.items(changes)]
    except (LookupError, ValueError):
        return None


def _path(change: Value) -> bytes:
    name, value = next(iter(raw.readable(change[1]).items()), (b"", raw.NULL_VALUE))
    if change[0] != raw.DOCUMENT or name != b"field" or value[0] != raw.STRING:
        raise ValueError("a change that does not begin with its path")
    return raw.text_of(value)


def _concerns(path: bytes, above: dict[bytes, int], leaves: dict[bytes, int], filled: dict[bytes, int]) -> bool:
    if path in above:
        return True
    parts = path.split(b".")
    if any(b".".join(parts[:length]) in leaves for length in range(1, len(parts))):
        return True
    return len(parts) > 1 and parts[-1].isdigit() and b".".join(parts[:-1]) in filled


def _count_down(counts: dict[bytes, int], key: bytes) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
