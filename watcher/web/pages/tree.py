"""A document as a tree of lines with its changes marked, within a page's limits; what is left out has a line.

All views of a document use this tree. It has one node for each field or element, and one for each removed value at
its old place. Templates render the nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.paths import decoded
from change_history.bson.values import Missing
from change_history.diff.compare import DifferenceKind, compare
from watcher.web.pages import values
from watcher.words.value_text import ELLIPSIS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from markupsafe import Markup

    from change_history.bson.paths import Key, Path, TextPath
    from change_history.bson.raw import Value
    from change_history.diff.compare import Difference

MOST_LINES = 1200
"""Lines that are rendered at once at most."""

MOST_CHILDREN = 200
"""Unchanged fields or elements of one document or array that are rendered at once at most."""

MOST_COMPARED = 3_000_000
"""Bytes of two documents together; larger ones are not compared."""

_OPEN_DEPTH = 8
_DEEPEST = 30
"""So deep a tree is drawn at once, even to what changed: templates call themselves for each level."""
_OPEN_BYTES = 20_000
_ONE_LINE = 72
_CONTAINERS = frozenset({raw.DOCUMENT, raw.ARRAY})


@dataclass(slots=True)
class Node:
    """A field of a document or an element of an array.

    Attributes:
        path: its path; of a removed value, its old path.
        key: its key or index.
        mark: its change: `add`, `del`, `chg`, `mov`; empty: nothing.
        value: its value as HTML; None: a document or an array that is shown by its children.
        old: its old value as HTML, if it changed.
        note: a remark that follows the value.
        kind: `doc` or `arr` for a document or an array; empty for other values.
        count: number of its fields or elements.
        size: its size in bytes.
        children: the fields or elements that are rendered.
        rest: number of those that are not, from `rest_from` on.
        closed: its children are rendered only when it is opened.
        touched: something inside changed.
        setter: the caller's data about a leaf, such as the event that set it.
        anchor: its number among the changed nodes; 0: it did not change.
    """

    path: TextPath
    key: str | int
    mark: str = ""
    value: Markup | None = None
    old: Markup | None = None
    note: str = ""
    kind: str = ""
    count: int = 0
    size: int = 0
    children: list[Node] = field(default_factory=list)
    rest: int = 0
    rest_from: int = 0
    closed: bool = False
    touched: bool = False
    setter: object = None
    anchor: int = 0

    @property
    def is_index(self) -> bool:
        """Whether it is an element of an array."""
        return isinstance(self.key, int)


class Marks:
    """The changes between two states of a document, by path.

    Args:
        differences: as `change_history.diff.compare` gives them.
    """

    def __init__(self, differences: Iterable[Difference] = ()) -> None:
        self.at: dict[Path, list[Difference]] = {}
        self.gone: dict[Path, list[Difference]] = {}
        self.touched: set[Path] = set()
        self.count = 0
        for one in differences:
            self.count += 1
            if one.kind == DifferenceKind.REMOVED and one.path:
                self.gone.setdefault(one.path[:-1], []).append(one)
            else:
                self.at.setdefault(one.path, []).append(one)
            self.touched.update(one.path[:depth] for depth in range(len(one.path)))

    def __bool__(self) -> bool:
        return self.count > 0


def marks(before: bytes | None, after: bytes | None, unseen: Iterable[Difference] = ()) -> Marks | None:
    """The changes between two states; None: they are too large to be compared for a page.

    Args:
        before: BSON of the document; None: it did not exist.
        after: likewise.
        unseen: further changes, which a comparison of the two cannot find.
    """
    if len(before or b"") + len(after or b"") > MOST_COMPARED:
        return None
    if before is None or after is None:
        return Marks()
    return Marks([*compare(before, after), *unseen])


class Tree:
    """Makes the nodes of documents.

    Args:
        marks: what to mark.
        whole: gives the address of the whole value at a path, if it is not shown in full.
        setters: gives the `setter` of a leaf by its path.
        lines: number of lines that are rendered at most.
    """

    def __init__(
        self,
        marks: Marks | None = None,
        *,
        whole: Callable[[TextPath], str | None] | None = None,
        setters: Mapping[TextPath, object] | None = None,
        lines: int = MOST_LINES,
    ) -> None:
        self._marks = marks if marks is not None else Marks()
        self._whole = whole
        self._setters = setters
        self._left = lines
        self._base = 0

    def document(self, data: bytes, *, start: int = 0) -> Node:
        """The tree of a document, from one field on."""
        return self.of((raw.DOCUMENT, data), (), start=start)

    def of(self, value: Value, path: Path, *, start: int = 0) -> Node:
        """The tree of the value at a path, open, from one field or element on."""
        key = path[-1] if path else b""
        self._base = len(path)
        node = self._node(key, value, path)
        if value[0] in _CONTAINERS:
            node.value, node.closed = None, False
            self._open(node, value, path, start)
        return node

    def _node(self, key: Key, value: Value, path: Path) -> Node:
        kind, payload = value
        node = Node(decoded(path), key if isinstance(key, int) else key.decode("utf-8", "surrogateescape"))
        for one in self._marks.at.get(path, ()):
            if one.kind == DifferenceKind.MOVED:
                node.mark, node.note = node.mark or "mov", f"was element {one.old_path[-1]!r}"
            elif one.kind == DifferenceKind.REORDERED:
                node.note = "keys in another order"
            else:
                node.mark = "add" if one.kind == DifferenceKind.ADDED else "chg"
                if one.kind == DifferenceKind.CHANGED and not isinstance(one.old, Missing):
                    node.old = values.raw_value(one.old, values.LONG)
        node.touched = path in self._marks.touched
        if kind in _CONTAINERS:
            node.kind = "doc" if kind == raw.DOCUMENT else "arr"
            node.size = len(payload)
            if payload == raw.EMPTY_DOCUMENT and path not in self._marks.gone:
                node.value = values.text("{}" if kind == raw.DOCUMENT else "[]")
                self._blame(node)
            return node
        node.value = values.raw_value(value, values.LONG, self._whole(node.path) if self._whole else None)
        self._blame(node)
        return node

    def _blame(self, node: Node) -> None:
        if self._setters is not None:
            node.setter = self._setters.get(node.path)

    def _open(self, node: Node, value: Value, path: Path, start: int) -> None:
        is_array = value[0] == raw.ARRAY
        found: list[tuple[Key, Value]] = (
            list(enumerate(raw.items(value[1])))
            if is_array
            else [(key, (kind, payload)) for key, kind, payload in raw.elements(value[1])]
        )
        node.count = len(found)
        gone = {} if start else self._gone(path)
        drawn = 0
        for number, (key, inner) in enumerate(found):
            node.children += [self._removed(one) for one in gone.pop(number, ())]
            inner_path = (*path, key)
            if number < start:
                continue
            changed = inner_path in self._marks.at or inner_path in self._marks.touched
            if not changed and (drawn >= MOST_CHILDREN or self._left <= 0):
                if not node.rest:
                    node.rest_from = number
                node.rest += 1
                continue
            drawn += not changed
            self._left -= 1
            node.children.append(self._child(key, inner, inner_path))
        for rest in gone.values():
            node.children += [self._removed(one) for one in rest]

    def _child(self, key: Key, value: Value, path: Path) -> Node:
        node = self._node(key, value, path)
        if value[0] not in _CONTAINERS or node.value is not None:
            return node
        depth = len(path) - self._base
        opened = node.touched or (
            depth < _OPEN_DEPTH and len(value[1]) <= _OPEN_BYTES and self._left > 0 and node.mark != "add"
        )
        short = self._on_one_line(value) if not node.touched and self._setters is None else None
        if short is not None:
            node.value = short
        elif depth >= _DEEPEST:
            node.closed = True
            node.count = len(raw.elements(value[1]))
        elif opened or (node.mark == "add" and len(value[1]) <= _OPEN_BYTES and self._left > 0):
            self._open(node, value, path, 0)
        else:
            node.closed = True
            node.count = len(raw.elements(value[1]))
        return node

    @staticmethod
    def _on_one_line(value: Value) -> Markup | None:
        """A small document or array on one line; None: it is too long for that."""
        if len(value[1]) > _ONE_LINE * 4:
            return None
        shown = values.raw_value(value, _ONE_LINE)
        return None if ELLIPSIS in shown else shown

    def _gone(self, path: Path) -> dict[int, list[Difference]]:
        """The values removed here, by the index of the element before which they are shown; -1: fields."""
        found: dict[int, list[Difference]] = {}
        for one in self._marks.gone.get(path, ())[:MOST_CHILDREN]:
            place = one.old_path[-1]
            found.setdefault(place if isinstance(place, int) else -1, []).append(one)
        return found

    def _removed(self, one: Difference) -> Node:
        key = one.old_path[-1]
        old = None if isinstance(one.old, Missing) else one.old
        return Node(
            decoded(one.old_path),
            key if isinstance(key, int) else key.decode("utf-8", "surrogateescape"),
            mark="del",
            old=values.raw_value(old, values.LONG) if old is not None else None,
        )


def changed(node: Node) -> list[Node]:
    """The changed nodes in reading order; sets their `anchor`."""
    found = [child for _, child in flat(node) if child.mark]
    for number, child in enumerate(found, 1):
        child.anchor = number
    return found


def flat(node: Node, depth: int = 0) -> Iterable[tuple[int, Node]]:
    """The nodes below one with their depths, in reading order."""
    for child in node.children:
        yield depth, child
        yield from flat(child, depth + 1)
