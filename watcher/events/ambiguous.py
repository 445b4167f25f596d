"""Resolves ambiguous dotted paths with the pre- and post-image.

In `a.0.b`, `0` may be an index or a key; `a.b` may be two keys or one with a dot. A reading is possible if it leads to
the value that the server reports; if there is no post-image, if the pre-image has its container.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.image import RepeatedKeyError
from change_history.bson.paths import is_index, read_dotted
from change_history.stored.changes import UpdateStep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from change_history.bson.image import Image
    from change_history.bson.paths import Path
    from change_history.bson.raw import Value
    from watcher.events.update import Described


def resolve(described: Described, before: Image | None, after: Image | None) -> list[UpdateStep]:
    """Turn an ordinary `updateDescription` into steps, using the images where paths are ambiguous.

    With both images the caller checks the result (`record` compares the folded document), so the first possible
    reading is taken here.
    """
    known = described.disambiguated
    steps = [
        UpdateStep(known.get(field) or _where(field, before, after, None), None, size)
        for field, size in described.truncated
    ]
    steps.extend(UpdateStep(known.get(field) or _removed(field, before, after), None) for field in described.removed)
    steps.extend(
        UpdateStep(known.get(field) or _where(field, before, after, value), value) for field, value in described.updated
    )
    return steps


def _removed(field: bytes, before: Image | None, after: Image | None) -> Path:
    if before is not None:
        with suppress(RepeatedKeyError):  # the images do not show which of the two was meant
            for path in _readings(field, before):
                if before.get(path) is not None and (after is None or after.get(path) is None):
                    return path
    return read_dotted(field)


def _where(field: bytes, before: Image | None, after: Image | None, value: Value | None) -> Path:
    if b"." not in field:
        return (field,)
    with suppress(RepeatedKeyError):
        if after is None:
            return next(_readings(field, before), read_dotted(field))
        possible = [p for p in _readings(field, after) if (found := after.get(p)) and (value is None or found == value)]
        changed = [p for p in possible if before is None or before.get(p) != after.get(p)]
        return next(iter(changed or possible), read_dotted(field))
    return read_dotted(field)


def _readings(field: bytes, image: Image | None) -> Iterator[Path]:
    """Every reading of a dotted path whose containers an image has."""
    if image is not None:
        yield from _split(field.split(b"."), (), image)


def _split(parts: list[bytes], prefix: Path, image: Image) -> Iterator[Path]:
    container = image.get(prefix) if prefix else (raw.DOCUMENT, b"")
    if container is None or container[0] not in (raw.DOCUMENT, raw.ARRAY):
        return
    if container[0] == raw.ARRAY:
        if is_index(parts[0]):
            path = (*prefix, int(parts[0]))
            if len(parts) == 1:
                yield path
            else:
                yield from _split(parts[1:], path, image)
        return
    for taken in range(1, len(parts)):
        yield from _split(parts[taken:], (*prefix, b".".join(parts[:taken])), image)
    yield (*prefix, b".".join(parts))
