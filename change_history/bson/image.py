"""Looking up paths in a document image without decoding it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import raw

if TYPE_CHECKING:
    from change_history.bson.paths import Path
    from change_history.bson.raw import Value


class Image:
    """A document as bytes, taken apart only along the paths that are asked for, each part once."""

    __slots__ = ("_inner", "fields")

    def __init__(self, document: bytes) -> None:
        self.fields: dict[bytes, Value] = raw.fields(document)
        self._inner: dict[Path, dict[bytes, Value] | list[Value]] = {}

    def get(self, path: Path) -> Value | None:
        """The value at a path, or None where the document has none."""
        if len(path) == 1:
            return self.fields.get(path[0])  # type: ignore[arg-type]  # a document's keys are bytes
        if not path:
            return (raw.DOCUMENT, raw.from_fields(self.fields.items()))
        container = self._container(path[:-1])
        key = path[-1]
        if isinstance(container, dict):
            return container.get(b"%d" % key if isinstance(key, int) else key)
        if isinstance(container, list) and isinstance(key, int) and key < len(container):
            return container[key]
        return None

    def _container(self, path: Path) -> dict[bytes, Value] | list[Value] | None:
        found = self._inner.get(path)
        if found is None:
            value = self.get(path)
            if value is None:
                return None
            if value[0] == raw.DOCUMENT:
                found = self._inner[path] = raw.fields(value[1])
            elif value[0] == raw.ARRAY:
                found = self._inner[path] = raw.items(value[1])
        return found
