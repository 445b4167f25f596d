"""Which event each leaf of a document has its value from.

A leaf is a value that is no document and no array, or an empty one of these. The rules:

- An event sets a leaf if it gives the path another value, or another type. A value that an event states again, equal to
  the byte, such as the fields of a sub-document set as a whole, keeps its older event. A withheld value looks the same
  after a change; an event that names its exact path has changed it.
- Where an event tells single elements of an array, their places count. Where it tells an array as a whole, as `$pull`,
  `$sort` and most others do, its elements are matched as `change_history.diff.compare` matches them, by `_id` where
  all have one of
  their own, else by a common subsequence of equal ones, and between two of these in pairs; a matched element takes its
  events along to its new place, whatever the index there was before.
- An array or a document that has become empty is attributed to the event that removed the last of its contents.
- When a removed field or a deleted document comes back, its earlier values do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from change_history.bson import raw
from change_history.bson.image import Image
from change_history.bson.paths import is_index
from change_history.bson.redacted import hides_change, is_withheld
from change_history.diff.compare import aligned, identities
from change_history.reconstruct import fold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from change_history.bson.paths import Key, Path
    from change_history.bson.raw import Value
    from change_history.stored.changes import Change

Event: TypeAlias = int
"""The caller's number for an event."""

_CONTAINERS = frozenset({raw.DOCUMENT, raw.ARRAY})


class Blamed:
    """The blame of a document or array whose parts were not all set by the same event.

    Args:
        event: the event that last changed the container itself.
        parts: the blame of each part, by key or index.
    """

    __slots__ = ("event", "parts")

    def __init__(self, event: Event, parts: dict[bytes, Blame] | list[Blame]) -> None:
        self.event = event
        self.parts = parts


Blame: TypeAlias = "Event | Blamed"
"""The event that set everything in a value, or the blame of its parts."""


def after(
    blame: Blame | None, before: bytes | None, entry: fold.Entry, event: Event
) -> tuple[Blame | None, bytes | None]:
    """Apply an event to a document and its blame.

    Args:
        blame: that of the document before the event; changed in place. None: there is no document, or it is unknown.
        before: the document before the event; None likewise.
        event: the number of the event.

    Returns:
        The blame and the document after it; None: the document does not exist.

    Raises:
        change_history.reconstruct.fold.DoesNotApplyError: the event does not fit the document.
    """
    whole = fold.tells_all(entry)
    document = fold.apply(None if whole else before, entry)
    if document is None:
        return None, None
    if before is None or blame is None or entry.operation == b"insert":
        return event, document
    if whole:
        return _carried((raw.DOCUMENT, before), (raw.DOCUMENT, document), blame, event), document
    image = Image(before)
    for change in entry.changes:
        blame = _changed(blame, image, change, event)
    return blame, document


def leaves(document: bytes, blame: Blame) -> Iterator[tuple[Path, Value, Event]]:
    """Every leaf of a document, in its order: path, value, event."""
    yield from _leaves((), (raw.DOCUMENT, document), blame)


def below(document: bytes, blame: Blame, field: str) -> Iterator[tuple[Path, Value, Event]]:
    """The leaves at a field and below it, as from `leaves`, for all paths that the dotted field matches."""
    waiting: list[tuple[Path, Value, Blame, bytes]] = [
        ((), (raw.DOCUMENT, document), blame, field.encode("utf-8", "surrogateescape"))
    ]
    while waiting:
        path, value, part, rest = waiting.pop()
        for key, inner in _parts(value) if value[0] in _CONTAINERS else ():
            name = b"%d" % key if isinstance(key, int) else key
            if name == rest:
                yield from _leaves((*path, key), inner, _part(part, key))
            elif rest.startswith(name + b"."):
                waiting.append(((*path, key), inner, _part(part, key), rest[len(name) + 1 :]))


def _leaves(path: Path, value: Value, blame: Blame) -> Iterator[tuple[Path, Value, Event]]:
    parts = _parts(value) if value[0] in _CONTAINERS else []
    if not parts:
        yield path, value, blame.event if isinstance(blame, Blamed) else blame
    for key, part in parts:
        yield from _leaves((*path, key), part, _part(blame, key))


def _parts(value: Value) -> list[tuple[Key, Value]]:
    if value[0] == raw.DOCUMENT:
        return list(raw.fields(value[1]).items())
    return list(enumerate(raw.items(value[1])))


def _changed(blame: Blame, before: Image, change: Change, event: Event) -> Blame:
    """The blame after one change of an update, which must fit the document."""
    top = node = _opened(blame, before, ())
    path: Path = ()
    inner = change.path if change.truncated_to is not None else change.path[:-1]
    for key in inner:
        slot = _slot(node, key)
        path = (*path, slot)
        if (value := before.get(path)) is not None and is_withheld(value):
            _put(node, slot, event)  # something inside was changed
            return top
        child = _part(node, slot)
        if child == event:
            return top  # nothing inside is older
        opened = _opened(child, before, path)
        _put(node, slot, opened)
        node = opened
    if change.truncated_to is not None:
        del node.parts[change.truncated_to :]  # type: ignore[arg-type]  # it is an array
        node.event = event
    elif change.new is None:
        node.parts.pop(_slot(node, change.path[-1]))  # type: ignore[arg-type]  # its own kind of key
        node.event = event
    else:
        slot = _slot(node, change.path[-1])
        old = before.get((*path, slot))
        _set(node, slot, old, change.new, event)
    return top


def _set(node: Blamed, slot: Key, old: Value | None, new: Value, event: Event) -> None:
    if isinstance(node.parts, list) and isinstance(slot, int) and slot >= len(node.parts):
        node.parts.extend([event] * (slot + 1 - len(node.parts)))  # with the nulls between
        return
    is_new = isinstance(node.parts, dict) and slot not in node.parts
    _put(
        node,
        slot,
        event if is_new or old is None or hides_change(new) else _carried(old, new, _part(node, slot), event),
    )


def _opened(blame: Blame, before: Image, path: Path) -> Blamed:
    """The blame of the document or array at a path, split by its parts."""
    if isinstance(blame, Blamed):
        return blame
    value = before.get(path) if path else None
    if value is not None and value[0] == raw.ARRAY:
        return Blamed(blame, [blame] * len(raw.items(value[1])))
    keys = raw.fields(value[1]) if value is not None else before.fields
    return Blamed(blame, dict.fromkeys(keys, blame))


def _slot(node: Blamed, key: Key) -> Key:
    """A path's key as the container has it: a key of a document, an index of an array."""
    if isinstance(node.parts, dict):
        return b"%d" % key if isinstance(key, int) else key
    return int(key) if isinstance(key, bytes) and is_index(key) else key


def _part(blame: Blame, slot: Key) -> Blame:
    return blame.parts[slot] if isinstance(blame, Blamed) else blame  # type: ignore[index]  # its own kind of key


def _put(node: Blamed, slot: Key, part: Blame) -> None:
    node.parts[slot] = part  # type: ignore[index]  # its own kind of key


def _carried(old: Value, new: Value, blame: Blame, event: Event) -> Blame:
    """The blame of a value that has replaced another."""
    if old == new:
        return blame
    if old[0] != new[0] or new[0] not in _CONTAINERS or not _parts(new):
        return event
    if new[0] == raw.DOCUMENT:
        before = raw.fields(old[1])
        fields = raw.fields(new[1]).items()
        return Blamed(
            event,
            {k: _carried(before[k], value, _part(blame, k), event) if k in before else event for k, value in fields},
        )
    items, partners = raw.items(old[1]), _partners(raw.items(old[1]), raw.items(new[1]))
    return Blamed(
        event,
        [
            _carried(items[was], value, _part(blame, was), event) if was is not None else event
            for was, value in zip(partners, raw.items(new[1]), strict=True)
        ],
    )


def _partners(old: list[Value], new: list[Value]) -> list[int | None]:
    """The index of the matching old element for each new one; None: it has none."""
    before, after_ = identities(old), identities(new)
    if before is not None and after_ is not None:
        return [before.get(key) for key in after_]
    found: list[int | None] = [None] * len(new)
    at_old = at_new = 0
    for one, other in [*aligned(old, new), (len(old), len(new))]:
        for step in range(min(one - at_old, other - at_new)):
            found[at_new + step] = at_old + step
        if other < len(new):
            found[other] = one
        at_old, at_new = one + 1, other + 1
    return found
