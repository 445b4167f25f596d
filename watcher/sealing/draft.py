"""The seal that is being made: its records go into the database chunk by chunk, so that memory stays bounded."""

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
        by: who makes the seal.
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
        """Append records, which lie one behind the other.

        Raises:
            pymongo.errors.PyMongoError: a chunk is not acknowledged; the records are there nevertheless.
        """
        kinds = records[16::RECORD_BYTES]
        self._kinds.update({kind: kinds.count(kind) for kind in NAMES})
        self._rest += records
        while len(self._rest) >= _CHUNK_BYTES:
            chunk = bytes(memoryview(self._rest)[:_CHUNK_BYTES])
            self._roots.append(self._store.put(self.name, len(self._roots), chunk, self._by))
            del self._rest[:_CHUNK_BYTES]

    def root(self) -> bytes:
        """Store what is left, and give the root over everything. More can be added all the same."""
        self.add(b"")
        last = [self._store.put(self.name, len(self._roots), bytes(self._rest), self._by)] if self._rest else []
        return tree.root([*self._roots, *last])

    def kinds(self) -> dict[str, int]:
        """How many records there are of each kind."""
        return {name: self._kinds[kind] for kind, name in NAMES.items() if self._kinds[kind]}
