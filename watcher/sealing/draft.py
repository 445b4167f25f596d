"""A seal in the making: its records are written to the database in chunks, so that memory stays bounded."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from change_history.seals import tree
from change_history.seals.records import NAMES, RECORD_BYTES
from change_history.seals.store import CHUNK

if TYPE_CHECKING:
    from change_history.seals.store import Store

_NAME_BYTES = 16
_CHUNK_BYTES = CHUNK * RECORD_BYTES


class Draft:
    """Collects the records of one seal.

    Args:
        by: name of the sealer.
    """

    def __init__(self, store: Store, by: str) -> None:
        self._store = store
        self._by = by
        self._roots: list[bytes] = []
        self._rest = bytearray()
        self._kinds: Counter[bytes] = Counter()
        self.name = os.urandom(_NAME_BYTES)

    def __len__(self) -> int:
        return len(self._roots) * CHUNK + len(self._rest) // RECORD_BYTES

    def add(self, records: bytes) -> None:
        """Append concatenated records.

        Raises:
            pymongo.errors.PyMongoError: a chunk was not acknowledged; the records are in the draft nevertheless.
        """
        kinds = records[16::RECORD_BYTES]
        self._kinds.update({kind: kinds.count(kind) for kind in NAMES})
        self._rest += records
        while len(self._rest) >= _CHUNK_BYTES:
            chunk = bytes(memoryview(self._rest)[:_CHUNK_BYTES])
            self._roots.append(self._store.put(self.name, len(self._roots), chunk, self._by))
            del self._rest[:_CHUNK_BYTES]

    def root(self) -> bytes:
        """Store the remaining records, and return the root over all. More records can be added afterwards."""
        self.add(b"")
        last = [self._store.put(self.name, len(self._roots), bytes(self._rest), self._by)] if self._rest else []
        return tree.root([*self._roots, *last])

    def kinds(self) -> dict[str, int]:
        """Number of records by kind."""
        return {name: self._kinds[kind] for kind, name in NAMES.items() if self._kinds[kind]}
