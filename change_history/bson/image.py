"""Looking up paths in a document image without decoding it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.redacted import is_withheld

if TYPE_CHECKING:
    from change_history.bson.paths import Path
    from change_history.bson.raw import Value


class RepeatedKeyError(ValueError):
    """The document has a key of the path more than once."""


class WithinWithheldError(RepeatedKeyError):
    """The path leads into a withheld value, so what is there is unknown too."""


class Image:
    """A document as bytes, parsed only along the requested paths, each part once."""

    __slots__ = ("_document", "_inner", "_repeated", "fields")

    def __init__(self, document: bytes) -> None:
        self._document = document
        self.fields, repeated = raw.keyed(document)
        self._inner: dict[Path, dict[bytes, Value] | list[Value]] = {}
        self._repeated: dict[Path, frozenset[bytes]] = {(): repeated} if repeated else {}

    def get(self, path: Path) -> Value | None:
        """The value at a path, or None where the document has none.

        Raises:
            RepeatedKeyError: a key on the path is repeated, so the value is ambiguous, or it is inside a withheld one.
        """
        if not path:
            return (raw.DOCUMENT, self._document)
        container = self._container(path[:-1]) if len(path) > 1 else self.fields
        key = path[-1]
        if self._repeated and key in self._repeated.get(path[:-1], ()):
            raise RepeatedKeyError(f"the document has {key!r} more than once")
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
                found, repeated = raw.keyed(value[1])
                self._inner[path] = found
                if repeated:
                    self._repeated[path] = repeated
            elif value[0] == raw.ARRAY:
                found = self._inner[path] = raw.items(value[1])
            elif is_withheld(value):
                raise WithinWithheldError(f"what is at {path!r} is withheld")
        return found
