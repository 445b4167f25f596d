"""Documents stored for a second pass: in memory while they are few, then in a temporary file."""

from __future__ import annotations

import struct
import tempfile
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    from change_history.bson.raw import Value

_IN_MEMORY = 32 * 1024 * 1024
_HEAD = struct.Struct("<BIqq")
"""Type and bytes of the `_id`; bytes of the document and of the reason, below zero where there is none."""


class Spool:
    """Stores documents with their `_id`s, in order. A context manager, which removes them.

    Attributes:
        an_id: one of the `_id`s; None: it is empty.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, prefix="watcher-export-")  # noqa: SIM115 - as we are
        self.an_id: Value | None = None

    def add(self, entry: tuple[Value, bytes | None, str | None]) -> None:
        """Store one: its `_id`, the document, and why there is none.

        Raises:
            OSError: the disk is full.
        """
        (kind, payload), document, unknown = entry
        self.an_id = (kind, payload)
        reason = unknown.encode() if unknown is not None else None
        sizes = (-1 if document is None else len(document), -1 if reason is None else len(reason))
        self._file.write(_HEAD.pack(kind, len(payload), *sizes))
        self._file.write(payload + (document or b"") + (reason or b""))

    def __iter__(self) -> Iterator[tuple[Value, bytes | None, str | None]]:
        self._file.seek(0)
        while head := self._file.read(_HEAD.size):
            kind, id_size, size, reason_size = _HEAD.unpack(head)
            payload = self._file.read(id_size)
            document = self._file.read(size) if size >= 0 else None
            reason = self._file.read(reason_size).decode() if reason_size >= 0 else None
            yield (kind, payload), document, reason

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
