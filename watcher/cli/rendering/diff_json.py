"""Differences between documents as programs read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import extended_json, raw
from change_history.bson.paths import dotted
from change_history.bson.values import Missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from change_history.bson.paths import Path
    from change_history.bson.raw import Value
    from change_history.diff.difference import Difference


def json_line(difference: Difference, document_id: Value | None = None) -> str:
    """A difference as one line of canonical Extended JSON.

    `field` and `path` are as in history: the dotted path, and the exact one, always. `old_path` is there if the indexes
    in it were others, `elements` tells which elements the path leads through. What is absent is left out, what nobody
    knows has `old_value_from` or `new_value_from` `unknown`.

    Args:
        difference: what to write.
        document_id: `_id` of its document, where a line is about one of several.
    """
    return extended_json.dumps_document(document(difference, document_id))


def document(difference: Difference, document_id: Value | None = None) -> bytes:
    """A difference as the BSON document that `json_line` writes."""
    return raw.from_fields(_members(difference, document_id))


def _members(difference: Difference, document_id: Value | None) -> Iterator[tuple[bytes, Value]]:
    path = difference.path
    if document_id is not None:
        yield b"document_id", document_id
    yield b"kind", _string(difference.kind.encode())
    yield b"field", _string(dotted(path))
    yield b"path", _array(path)
    if difference.old_path != path:
        yield b"old_path", _array(difference.old_path)
    elements = [
        raw.from_fields([(b"path", _array(path[: depth + 1])), (b"_id", identity)])
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


def _array(path: Path) -> Value:
    keys = ((raw.INT32, raw.int32(key)) if isinstance(key, int) else _string(key) for key in path)
    return raw.ARRAY, raw.from_items(keys)
