"""Differences between documents, as text and as JSON.

- items[_id: 7].qty: 1
+ items[_id: 7].qty: 2
~ items[_id: 9]: moved from [3] to [0]
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from change_history.bson import extended_json, raw
from change_history.bson.paths import dotted
from change_history.bson.values import Missing, to_python
from change_history.diff.compare import DifferenceKind
from watcher.cli.rendering.lines import Line
from watcher.words import value_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from change_history.bson.paths import Path
    from change_history.bson.raw import Value
    from change_history.diff.compare import Difference, Side
    from watcher.cli.rendering.lines import Output


MOST_MOVED = 10
"""Moved elements of one array that are printed one by one; of more, only their number, unless all are requested."""

_REMOVED, _ADDED, _OTHER = ("- ", "red"), ("+ ", "green"), ("~ ", "yellow")
_NAME_SHARE, _LEAST_ROOM, _BEFORE = 2, 12, 8
_COMPARED = 65_536


def show(output: Output, differences: Iterable[Difference]) -> None:
    """Print differences; lines are cut to the width of a terminal, and unlimited elsewhere."""
    for line in lines(differences, width=output.width):
        output.print(line)


def lines(differences: Iterable[Difference], *, width: int | None = None) -> Iterator[Line]:
    """Differences as lines, each marked by its first character: - old, + new, ~ only in another place."""
    found = list(differences)
    moved = Counter(one.path[:-1] for one in found if one.kind == DifferenceKind.MOVED)
    told: set[Path] = set()
    for one in found:
        array = one.path[:-1]
        if one.kind != DifferenceKind.MOVED or width is None or moved[array] <= MOST_MOVED:
            yield from _lines(one, width)
        elif array not in told:
            told.add(array)
            name = where(array, one.identities[:-1])
            yield _other(name, f"{moved[array]} elements moved to other places", width)


def where(path: Path, identities: tuple[Value | None, ...]) -> str:
    """A path in readable form: keys separated by dots, elements by their `_id`s or else by their indexes.

    Beside each key of the path, `identities` has the `_id` of the element, or None.
    """
    said = ""
    for key, identity in zip(path, identities, strict=True):
        if isinstance(key, int):
            said += f"[{key}]" if identity is None else f"[_id: {value_text.text_of(to_python(identity))}]"
        else:
            said += ("." if said else "") + _key(key)
    return said


def _lines(one: Difference, width: int | None) -> Iterator[Line]:
    name = where(one.path, one.identities)
    if one.kind == DifferenceKind.MOVED:
        yield _other(name, f"moved from [{one.old_path[-1]!r}] to [{one.path[-1]!r}]", width)
    elif one.kind == DifferenceKind.REORDERED and not isinstance(one.new, Missing):
        keys = ", ".join(_key(raw.text_of(key)) for key in raw.items(one.new[1]))
        yield _other(name, f"keys in another order: {keys}", width)
    elif not one.path:
        for side, mark in ((one.old, _REMOVED), (one.new, _ADDED)):
            yield from _whole(side, mark, width)
    else:
        room = None if width is None else max(width - len(_ADDED[0]) - len(_named(name, width)), _LEAST_ROOM)
        old, new = _texts(one.old, one.new, room)
        if one.old is not Missing.ABSENT:
            yield _line(_REMOVED, name, old, width, missing=isinstance(one.old, Missing))
        if one.new is not Missing.ABSENT:
            yield _line(_ADDED, name, new, width, missing=isinstance(one.new, Missing))


def _whole(document: Side, mark: tuple[str, str], width: int | None) -> Iterator[Line]:
    """A document that exists only on one side, field by field."""
    if isinstance(document, Missing):
        if document is Missing.UNKNOWN:
            yield _line(mark, "", "what the document was is not known", width, missing=True)
        return
    fields = raw.elements(document[1])
    for key, kind, payload in fields:
        yield _line(mark, _key(key), _text((kind, payload), width), width)
    if not fields:
        yield _line(mark, "", "{}", width)


def _texts(old: Side, new: Side, room: int | None) -> tuple[str, str]:
    """Both values, cut so that the difference is visible."""
    texts = _text(old, room), _text(new, room)
    if room is None or texts[0] != texts[1]:
        return texts
    longer = _text(old, _COMPARED), _text(new, _COMPARED)
    pairs = enumerate(zip(*longer, strict=False))
    start = max(next((at for at, (one, other) in pairs if one != other), 0) - _BEFORE, 0)
    shown = [value_text.shorten(value_text.ELLIPSIS + text[start:] if start else text, room) for text in longer]
    return shown[0], shown[1]


def _text(side: Side, room: int | None) -> str:
    return value_text.text_of(side if isinstance(side, Missing) else to_python(side), room)


def _line(mark: tuple[str, str], name: str, text: str, width: int | None, *, missing: bool = False) -> Line:
    sign, style = mark
    line = Line(sign, style).append(_named(name, width), style)
    return _fitted(line.append(text, "italic dim" if missing else style), width)


def _other(name: str, words: str, width: int | None) -> Line:
    return _fitted(Line(_OTHER[0] + _named(name, width) + words, _OTHER[1]), width)


def _named(name: str, width: int | None) -> str:
    if not name:
        return ""
    return (name if width is None else value_text.shorten(name, width // _NAME_SHARE)) + ": "


def _fitted(line: Line, width: int | None) -> Line:
    if width is not None:
        line.cut(width)
    return line


def _key(key: bytes) -> str:
    return value_text.key_text(key.decode("utf-8", "surrogateescape"))


def json_line(difference: Difference, document_id: Value | None = None) -> str:
    """A difference as one line of canonical Extended JSON, with `document_id` where it is about one of several.

    `field` and `path` are as in history: the dotted path, and the exact one, always. `old_path` is there if the indexes
    in it were others, `elements` has the elements that the path leads through. Absent values are left out; for unknown
    ones, `old_value_from` or `new_value_from` is `unknown`.
    """
    return extended_json.dumps_document(json_document(difference, document_id))


def json_document(difference: Difference, document_id: Value | None = None) -> bytes:
    """A difference as the BSON document that `json_line` writes."""
    return raw.from_fields(_members(difference, document_id))


def _members(difference: Difference, document_id: Value | None) -> Iterator[tuple[bytes, Value]]:
    path = difference.path
    if document_id is not None:
        yield b"document_id", document_id
    yield b"kind", _string(difference.kind.encode())
    yield b"field", _string(dotted(path))
    yield b"path", _path_array(path)
    if difference.old_path != path:
        yield b"old_path", _path_array(difference.old_path)
    elements = [
        raw.from_fields([(b"path", _path_array(path[: depth + 1])), (b"_id", identity)])
        for depth, identity in enumerate(difference.identities)
        if identity is not None
    ]
    if elements:
        yield b"elements", (raw.ARRAY, raw.from_items((raw.DOCUMENT, element) for element in elements))
    for name, side in ((b"old_value", difference.old), (b"new_value", difference.new)):
        if not isinstance(side, Missing):
            yield name, side
        elif side is Missing.UNKNOWN:
            yield name + b"_from", _string(b"unknown")


def _string(text: bytes) -> Value:
    return raw.STRING, raw.string(text)


def _path_array(path: Path) -> Value:
    keys = ((raw.INT32, raw.int32(key)) if isinstance(key, int) else _string(key) for key in path)
    return raw.ARRAY, raw.from_items(keys)
