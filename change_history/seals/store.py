"""The storage of seals: `seals`, one document each, and `seal_leaves`, their records in chunks.

The chunks of a seal are written before it, under a name of their own, since its number is known only once it is stored.
A chunk whose name is in no seal has no effect: the process that wrote it has ended, or is not finished yet.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary
from pymongo import ReadPreference, WriteConcern
from pymongo.read_concern import ReadConcern

from change_history.seals.records import NO_SALT, RECORD_BYTES, SALT_BYTES, bounds, root, split, unpack
from change_history.seals.seal import Sealed, read
from change_history.stored.names import SEAL_LEAVES, SEALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from change_history.seals.records import Record

CHUNK = 8192
"""Records in a chunk; the last of a seal may have fewer. A power of two, so that roots of chunks are tree nodes."""

_MAJORITY = WriteConcern("majority")
_COMMITTED = ReadConcern("majority")
_NUMBER_BYTES = 4
_NAME_BYTES = 16
_NAMED = {"_id": {"$type": "binData"}}
"""A document with another `_id` is no chunk of records."""


class RecordChunk(NamedTuple):
    """Some records of a seal, in their order.

    Attributes:
        root: root of the hash tree over them, as stored.
        bounds: the least and the greatest id in them, as stored, by which an entry's records are found.
    """

    id: bytes
    records: bytes
    root: bytes
    bounds: tuple[Any, Any]


class Store:
    """The seals of one history database. Writes are acknowledged by a majority, and reads see only such writes."""

    def __init__(self, database: Database[Any]) -> None:
        options: dict[str, Any] = {
            "write_concern": _MAJORITY,
            "read_concern": _COMMITTED,
            "read_preference": ReadPreference.PRIMARY,
        }
        self._seals = database.get_collection(SEALS, **options)
        self._leaves = database.get_collection(SEAL_LEAVES, **options)

    def prepare(self) -> None:
        """Make the indexes."""
        self._seals.create_index("leaves", name="leaves")
        self._leaves.create_index([("last", 1), ("first", 1)], name="range")
        self._leaves.create_index([("by", 1), ("at", 1)], name="by")

    def discard(self, by: str) -> None:
        """Delete the chunks that a sealer has stored since its last seal and not sealed, because it was stopped."""
        with self._leaves.find({"by": by, **_NAMED}, {"_id": 1}, sort=[("by", -1), ("at", -1)], hint="by") as cursor:
            for found in cursor:
                if self._numbers([found["_id"][:_NAME_BYTES]]):
                    return
                self._leaves.delete_one({"_id": found["_id"]})

    def last(self) -> Sealed | None:
        """The last seal; None: there is none.

        Raises:
            ValueError: it cannot be read.
        """
        found = self._seals.find_one(sort=[("_id", -1)])
        return _sealed(found) if found is not None else None

    def last_number(self) -> int:
        """The number of the last seal; 0: there is none."""
        found = self._seals.find_one(sort=[("_id", -1)], projection={"_id": 1})
        return found["_id"] if found is not None and isinstance(found["_id"], int) else 0

    def get(self, number: int) -> Sealed | None:
        """One seal; None: there is none of this number. Raises as `last` does."""
        found = self._seals.find_one({"_id": number})
        return _sealed(found) if found is not None else None

    def each(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """The seals as they are stored, in the order of their numbers; `read_stored` reads one."""
        with self._seals.find({"_id": {"$gt": after}} if after else {}, sort=[("_id", 1)]) as cursor:
            yield from cursor

    def counts(self) -> Iterator[int]:
        """The number of records in each seal; seals that cannot be read are left out."""
        for found in self.each():
            try:
                yield _sealed(found).seal.count
            except ValueError:
                continue

    def append(self, sealed: Sealed, session: ClientSession | None = None) -> None:
        """Append a seal.

        Raises:
            pymongo.errors.DuplicateKeyError: another sealer has stored one of this number.
        """
        document = {
            "_id": sealed.seal.number,
            "seal": sealed.text,
            "digest": sealed.digest,
            "signature": sealed.signature,
            "leaves": Binary(sealed.leaves),
            "at": dt.datetime.now(dt.UTC),
        }
        self._seals.insert_one(document, session=session)

    def put(self, name: bytes, number: int, records: bytes, by: str) -> bytes:
        """Store a chunk, and return the root over it. Safe to repeat.

        Args:
            name: of the records of the seal that is to be made, 16 bytes.
            number: of the chunk, from 0 on.
            records: concatenated; `CHUNK` of them, or fewer in the last chunk.
            by: the sealer.
        """
        top = root(records)
        first, last = bounds(records)
        chunk_id = Binary(name + number.to_bytes(_NUMBER_BYTES, "big"))
        document = {
            "_id": chunk_id,
            "first": Binary(first),
            "last": Binary(last),
            "root": Binary(top),
            "records": Binary(records),
            "by": by,
            "at": dt.datetime.now(dt.UTC),
        }
        self._leaves.replace_one({"_id": chunk_id}, document, upsert=True)
        return top

    def chunks(self, name: bytes) -> Iterator[RecordChunk]:
        """The chunks of a seal, in their order."""
        with self._leaves.find(_of(name), sort=[("_id", 1)]) as cursor:
            for found in cursor:
                yield _chunk(found)

    def chunk(self, chunk_id: bytes) -> RecordChunk | None:
        """One chunk."""
        found = self._leaves.find_one({"_id": Binary(chunk_id)})
        return _chunk(found) if found is not None else None

    def records_of(self, ids: Iterable[bytes], also: Iterable[bytes] = ()) -> dict[bytes, list[tuple[int, Record]]]:
        """The records of entries, by `_id`: for each the numbers of the seals and the records, oldest first.

        Args:
            also: names of chunks to read, whatever their stored bounds.
        """
        found: dict[bytes, list[tuple[int, Record]]] = {}
        wanted = sorted(set(ids))
        concerned = {*(chunk_id for chunk_id, _ in self._concerned(wanted)), *also}
        numbers = self._numbers({chunk_id[:_NAME_BYTES] for chunk_id in concerned})
        among = set(wanted)
        for chunk_id in concerned:
            number = numbers.get(chunk_id[:_NAME_BYTES])
            chunk = self.chunk(chunk_id) if number is not None else None
            if number is None or chunk is None:
                continue
            for record in split(chunk.records):
                if record[:16] in among:
                    found.setdefault(record[:16], []).append((number, unpack(record)))
        for records in found.values():
            records.sort(key=lambda item: item[0])
        return found

    def forget_salts(self, keep: dict[bytes, int]) -> int:
        """Remove the salts of former contents of entries, so that they cannot be guessed.

        Args:
            keep: ids of entries, and the number of the seal from which on their records keep the salt.

        Returns:
            How many salts were removed.
        """
        removed = 0
        concerned = list(self._concerned(sorted(keep)))
        numbers = self._numbers({chunk_id[:_NAME_BYTES] for chunk_id, _ in concerned})
        for chunk_id, _ in concerned:
            number = numbers.get(chunk_id[:_NAME_BYTES])
            if number is not None:
                removed += self._forget(chunk_id, number, keep)
        return removed

    def _forget(self, chunk_id: bytes, number: int, keep: dict[bytes, int]) -> int:
        while (found := self._leaves.find_one({"_id": Binary(chunk_id)})) is not None:
            records = bytearray(found["records"])
            removed = 0
            for start in range(0, len(records), RECORD_BYTES):
                salt = slice(start + RECORD_BYTES - SALT_BYTES, start + RECORD_BYTES)
                if number < keep.get(bytes(records[start : start + 16]), 0) and records[salt] != NO_SALT:
                    records[salt] = NO_SALT
                    removed += 1
            if not removed:
                return 0
            same = {"_id": Binary(chunk_id), "changed": found.get("changed", {"$exists": False})}
            change = {"$set": {"records": Binary(bytes(records))}, "$inc": {"changed": 1}}
            if self._leaves.update_one(same, change).matched_count:
                return removed
        return 0

    def _concerned(self, wanted: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
        """The chunks that may have records of some ids, which must be sorted, each with the number of such ids."""
        if not wanted:
            return
        query = {"last": {"$gte": Binary(wanted[0])}, "first": {"$lte": Binary(wanted[-1])}, **_NAMED}
        with self._leaves.find(query, {"first": 1, "last": 1}, hint="range") as cursor:
            for found in cursor:
                first, last = found["first"], found["last"]
                if not isinstance(first, bytes) or not isinstance(last, bytes):
                    continue  # an array, made by somebody else, in which the server finds what it compares with
                among = bisect_right(wanted, bytes(last)) - bisect_left(wanted, bytes(first))
                if among > 0:
                    yield bytes(found["_id"]), among

    def _numbers(self, names: Iterable[bytes]) -> dict[bytes, int]:
        """The numbers of seals, keyed by the names of their records."""
        wanted = {"$in": [Binary(name) for name in names], "$not": {"$type": "array"}}
        query = {"leaves": wanted, "_id": {"$type": "number"}}
        return {bytes(found["leaves"]): found["_id"] for found in self._seals.find(query, {"leaves": 1})}


def read_stored(found: dict[str, Any]) -> Sealed:
    """Read a seal as it is stored.

    Raises:
        ValueError: it cannot be read.
    """
    return _sealed(found)


def _sealed(found: dict[str, Any]) -> Sealed:
    try:
        text, digest, signature = found["seal"], found["digest"], found.get("signature", "")
        if not all(isinstance(each, str) for each in (text, digest, signature)):
            raise ValueError("no seal: its text is no string")
        leaves = found.get("leaves", b"")
        if not isinstance(leaves, bytes):
            raise ValueError("no seal: the name of its records is no binary")  # noqa: TRY004 - a ValueError for all
        return Sealed(read(text), text, digest, signature, bytes(leaves))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no seal: {error!r}") from error


def _chunk(found: dict[str, Any]) -> RecordChunk:
    records, root = (bytes(each) if isinstance(each, bytes) else b"" for each in map(found.get, ("records", "root")))
    return RecordChunk(bytes(found["_id"]), records, root, (found.get("first"), found.get("last")))


def _of(name: bytes) -> dict[str, Any]:
    return {"_id": {"$gte": Binary(name + bytes(_NUMBER_BYTES)), "$lte": Binary(name + b"\xff" * _NUMBER_BYTES)}}
