"""What a seal keeps of each history entry: a record of 65 bytes, of which the first 49 are in the hash tree.

A record is the entry's `_id` (16 bytes), a letter that says how the entry came to be what it is (1 byte), the
commitment (32 bytes) and the salt (16 bytes). The commitment is SHA-256 of the salt and the entry as it is stored,
byte for byte. The salt is outside the tree: once it is removed, the commitment still stands where it stood, and tells
nothing any more about a value that somebody could guess.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import raw

if TYPE_CHECKING:
    from collections.abc import Iterable

RECORD_BYTES = 65
SALT_BYTES = 16
NO_SALT = bytes(SALT_BYTES)
NOTHING = bytes(32)
"""The commitment to an entry that is no longer there."""

NEW, LATE, GAP, ACTOR, ERASED, EXPIRED = b"n", b"l", b"g", b"a", b"e", b"x"
NAMES = {NEW: "new", LATE: "late", GAP: "gap", ACTOR: "actor", ERASED: "erased", EXPIRED: "expired"}
"""What a record says: the entry came with the stream; it came late; it is a gap; it was given an actor; values were
removed from it; it was removed by age."""

_ID = b"\x05_id\x00\x10\x00\x00\x00\x00"
_ID_AT, _ID_END = 4 + len(_ID), 4 + len(_ID) + 16
_GAP = b"\x02operation\x00\x04\x00\x00\x00gap\x00"
_IN_TREE = 49


class Record(NamedTuple):
    """A record, taken apart."""

    id: bytes
    kind: bytes
    commitment: bytes
    salt: bytes

    @property
    def packed(self) -> bytes:
        """Its 65 bytes."""
        return self.id + self.kind + self.commitment + self.salt

    def is_of(self, entry: bytes) -> bool:
        """Whether a stored entry is the one committed to. Nobody can tell once the salt is gone."""
        return sha256(self.salt + entry).digest() == self.commitment


def unpack(record: bytes) -> Record:
    """Take a record apart."""
    return Record(record[:16], record[16:17], record[17:49], record[49:])


def split(records: bytes) -> list[bytes]:
    """The records that lie together."""
    return [records[at : at + RECORD_BYTES] for at in range(0, len(records), RECORD_BYTES)]


def in_tree(records: Iterable[bytes]) -> list[bytes]:
    """What stands at the leaves of the tree."""
    return [record[:_IN_TREE] for record in records]


def commit(entries: Iterable[bytes], kind: bytes | None = None) -> list[bytes]:
    """Commit to entries as they are stored, each with a salt of its own.

    Args:
        kind: what the records say; None: `NEW`, or `GAP` where the entry is one.
    """
    found = entries if isinstance(entries, list) else list(entries)
    dice = os.urandom(SALT_BYTES * len(found))
    salts = [dice[at : at + SALT_BYTES] for at in range(0, len(dice), SALT_BYTES)]
    if kind is not None:  # the daemon's own way, many times a second
        return [
            entry[_ID_AT:_ID_END] + kind + sha256(salt + entry).digest() + salt
            for entry, salt in zip(found, salts, strict=True)
        ]
    return [
        entry[_ID_AT:_ID_END] + (GAP if is_gap(entry) else NEW) + sha256(salt + entry).digest() + salt
        for entry, salt in zip(found, salts, strict=True)
    ]


def gone(entry_id: bytes, kind: bytes) -> bytes:
    """The record of an entry that is no longer there."""
    return entry_id + kind + NOTHING + NO_SALT


def has_id(entry: bytes) -> bool:
    """Whether a stored document begins with an `_id` as every entry of history has it."""
    return entry.startswith(_ID, 4)


def id_of(entry: bytes) -> bytes:
    """The `_id` of an entry that begins with one."""
    return entry[_ID_AT:_ID_END]


def with_id(entry: bytes, entry_id: bytes) -> bytes:
    """The entry under another `_id`."""
    return entry[:_ID_AT] + entry_id + entry[_ID_END:]


def is_gap(entry: bytes) -> bool:
    """Whether an entry is a gap."""
    return entry.startswith(_GAP, _ID_END)


def without_actor(entry: bytes) -> bytes:
    """The entry as it was before it was given an actor."""
    return raw.document(
        raw.element(name, (kind, payload)) for name, kind, payload in raw.elements(entry) if name != b"actor"
    )


def with_actor(entry: bytes, actor: bytes) -> bytes:
    """An entry that has no actor with one, which is always its last field."""
    return raw.document([entry[4:-1], raw.element(b"actor", (raw.DOCUMENT, actor))])
