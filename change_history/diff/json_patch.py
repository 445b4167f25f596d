"""RFC 6902 JSON Patch from one state of a document to another, its values in canonical Extended JSON.

It applies to the old document as written by `change_history.bson.extended_json`, and gives the new one, as far as JSON
can express it: JSON has no order of keys, so another order alone gives no operation; of a repeated key, readers keep
the last; and a missing document has no JSON text, so its removal is written as `remove` of the path "", which some
libraries refuse.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import raw
from change_history.bson.extended_json import dumps_document
from change_history.bson.image import Image
from change_history.bson.values import Missing
from change_history.diff.compare import DifferenceKind, compare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from change_history.bson.paths import Key, Path
    from change_history.bson.raw import Value
    from change_history.diff.compare import Difference, Side

MOST_MOVES = 1000
"""An array in which more elements than this have moved is replaced as a whole."""


class Operation(NamedTuple):
    """One operation.

    Attributes:
        op: `add`, `remove`, `replace` or `move`.
        path: JSON Pointer (RFC 6901), in UTF-8.
        value: the value of `add` and `replace`; None otherwise.
        source: the pointer `from` of `move`; None otherwise.
    """

    op: str
    path: bytes
    value: Value | None = None
    source: bytes | None = None


def between(old: bytes | None, new: bytes | None) -> list[Operation]:
    """The operations from one BSON document to another; None: it does not exist.

    Raises:
        change_history.bson.raw.MalformedBSON: they are no BSON documents.
    """
    differences = compare(old, new)
    if new is None or any(not one.path and one.kind in _OPS for one in differences):
        return [_operation(one) for one in differences]
    return list(_inside(differences, 0, Image(new)))


def dumps(operations: Iterable[Operation]) -> str:
    """Write a patch as one line of JSON."""
    return "[" + ", ".join(dumps_document(raw.from_fields(_members(one))) for one in operations) + "]"


def pointer(path: Path) -> bytes:
    """A path as a JSON Pointer (RFC 6901)."""
    keys = (b"%d" % key if isinstance(key, int) else key for key in path)
    return b"".join(b"/" + key.replace(b"~", b"~0").replace(b"/", b"~1") for key in keys)


def _members(operation: Operation) -> Iterator[tuple[bytes, Value]]:
    yield b"op", (raw.STRING, raw.string(operation.op.encode()))
    if operation.source is not None:
        yield b"from", (raw.STRING, raw.string(operation.source))
    yield b"path", (raw.STRING, raw.string(operation.path))
    if operation.value is not None:
        yield b"value", operation.value


_OPS = {DifferenceKind.ADDED: "add", DifferenceKind.REMOVED: "remove", DifferenceKind.CHANGED: "replace"}


def _operation(difference: Difference) -> Operation:
    return Operation(_OPS[difference.kind], pointer(difference.path), _value(difference.new))


def _value(side: Side) -> Value | None:
    return None if isinstance(side, Missing) else side


def _inside(differences: list[Difference], depth: int, new: Image) -> Iterator[Operation]:
    """Yield the operations on the direct contents of a document or array, then those deeper in it.

    Indexes are valid when an operation is applied: first elements are removed from the last to the first, then elements
    are moved, then others are added from the first to the last; from then on they are those of the new document.
    """
    own: dict[DifferenceKind, list[Difference]] = defaultdict(list)
    inner: dict[Key, list[Difference]] = defaultdict(list)
    for difference in differences:
        if len(difference.path) == depth + 1:
            own[difference.kind].append(difference)
        elif len(difference.path) > depth:
            inner[difference.path[depth]].append(difference)
    moves: list[Operation] = []
    if own[DifferenceKind.MOVED]:
        path = own[DifferenceKind.MOVED][0].path[:-1]
        steps = list(islice(_moves(path, own), MOST_MOVES + 1))
        if len(steps) > MOST_MOVES:
            yield Operation("replace", pointer(path), new.get(path))
            return
        moves = steps
    yield from (_operation(difference) for difference in reversed(own[DifferenceKind.REMOVED]))
    yield from moves
    yield from (
        _operation(difference) for kind in (DifferenceKind.ADDED, DifferenceKind.CHANGED) for difference in own[kind]
    )
    for deeper in inner.values():
        yield from _inside(deeper, depth + 1, new)


def _moves(array: Path, own: dict[DifferenceKind, list[Difference]]) -> Iterator[Operation]:
    """Yield the moves in one array, applied after the removals and before the additions.

    Each element is moved right after the one that it follows in the new document.
    """
    moved = {_index(difference.path): _index(difference.old_path) for difference in own[DifferenceKind.MOVED]}
    removed = {_index(difference.old_path) for difference in own[DifferenceKind.REMOVED]}
    added = {_index(difference.path) for difference in own[DifferenceKind.ADDED]}
    last = max(moved)
    # The length of the array does not matter: elements further behind stay where they are.
    size = max(last, *moved.values(), *removed) + len(moved) + len(removed) + 1
    current = [index for index in range(size) if index not in removed]
    leaving = set(moved.values())
    staying = iter([index for index in current if index not in leaving])
    before = None
    for index in range(last + 1):
        if index in added:
            continue
        if index in moved:
            source = current.index(moved[index])
            element = current.pop(source)
            target = 0 if before is None else current.index(before) + 1
            current.insert(target, element)
            yield Operation("move", pointer((*array, target)), None, pointer((*array, source)))
            before = element
        else:
            before = next(staying)


def _index(path: Path) -> int:
    return path[-1]  # type: ignore[return-value]  # only elements of arrays move
