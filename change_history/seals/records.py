"""The records of a seal: 65 bytes for each history entry, of which the first 49 are in the hash tree.

A record is the entry's `_id` (16 bytes), a letter for its kind: how the entry came to be what it is (1 byte), the
commitment (32 bytes) and the salt (16 bytes). The commitment is SHA-256 of the salt and the entry as it is stored,
byte for byte. The salt is outside the tree: after its removal, the tree is unchanged, and the commitment no longer
helps anybody to guess an erased value.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import raw
from change_history.bson.quick import compiled
from change_history.seals import tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

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
ID = slice(_ID_AT, _ID_END)
"""Bytes of the `_id` in an entry that has an event's (`has_id`)."""
_GAP = b"\x02operation\x00\x04\x00\x00\x00gap\x00"
_IN_TREE = 49


class Record(NamedTuple):
    """A parsed record."""

    id: bytes
    kind: bytes
    commitment: bytes
    salt: bytes

    @property
    def packed(self) -> bytes:
        """Its 65 bytes."""
        return self.id + self.kind + self.commitment + self.salt

    def is_of(self, entry: bytes) -> bool:
        """Whether a stored entry is the one committed to. False once the salt is removed."""
        return sha256(self.salt + entry).digest() == self.commitment


def unpack(record: bytes) -> Record:
    """Parse a record."""
    return Record(record[:16], record[16:17], record[17:49], record[49:])


def split(records: bytes) -> list[bytes]:
    """Split concatenated records."""
    return [records[at : at + RECORD_BYTES] for at in range(0, len(records), RECORD_BYTES)]


def in_tree(records: Iterable[bytes]) -> list[bytes]:
    """The leaves of the tree."""
    return [record[:_IN_TREE] for record in records]


def commit(entries: Iterable[bytes], kind: bytes | None = None) -> list[bytes]:
    """Make the records of entries as they are stored, each with a random salt.

    Args:
        kind: the kind of the records; None: `NEW`, or `GAP` where the entry is one.
    """
    return split(committed(list(entries), kind))


def committed(entries: list[bytes], kind: bytes | None = None) -> bytes:
    """The records of `commit`, concatenated."""
    kinds = kind * len(entries) if kind is not None else b"".join(GAP if is_gap(each) else NEW for each in entries)
    return packed(entries, kinds, os.urandom(SALT_BYTES * len(entries)))


def packed(entries: list[bytes], kinds: bytes, salts: bytes) -> bytes:
    """Make records of entries, concatenated.

    Args:
        kinds: one letter for each entry.
        salts: 16 bytes for each entry.

    Raises:
        ValueError: an entry is too short to have an `_id`, or there are not as many kinds or salts as entries.
    """
    if COMPILED is not None:
        return COMPILED.commit(entries, kinds, salts)  # type: ignore[no-any-return]
    if len(kinds) != len(entries) or len(salts) != SALT_BYTES * len(entries):
        raise ValueError("a kind and a salt are needed for each entry")
    if any(len(entry) < _ID_END for entry in entries):
        raise ValueError("an entry has no _id")
    own = [salts[at : at + SALT_BYTES] for at in range(0, len(salts), SALT_BYTES)]
    return b"".join(
        entry[_ID_AT:_ID_END] + kinds[number : number + 1] + sha256(own[number] + entry).digest() + own[number]
        for number, entry in enumerate(entries)
    )


def root(records: bytes) -> bytes:
    """The root of the hash tree over concatenated records, at least one."""
    if COMPILED is not None:
        return COMPILED.root(records)  # type: ignore[no-any-return]
    return tree.root(tree.leaves(in_tree(split(records))))


def bounds(records: bytes) -> tuple[bytes, bytes]:
    """The least and the greatest id in concatenated records, at least one."""
    if COMPILED is not None:
        return COMPILED.bounds(records)  # type: ignore[no-any-return]
    every = split(records)
    return min(every)[:16], max(every)[:16]


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


def _found() -> ModuleType | None:
    """Load the compiled module, which hashes many entries at once; None: it is missing or wrong.

    Hashing them one by one takes several times as long, and holds the interpreter's lock, for which the other stages of
    a daemon would wait.
    """
    module = compiled("change_history.seals._hashing")
    sample = bytes(range(200))
    # A fault of the compiler or the processor must show here, not when seals are verified.
    sound = module is not None and module.digest(sample[:16], sample) == sha256(sample[:16] + sample).digest()
    return module if sound else None


COMPILED = _found()
"""The compiled module; None: there is none, and the code in Python does everything."""
