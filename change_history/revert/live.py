"""Read and write the watched documents, as bytes, within one transaction on the server."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure

from change_history import server_codes
from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.bson.redacted import MAGIC
from change_history.errors import HistoryError
from change_history.revert.writes import in_order
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    from change_history.revert.writes import Pattern, Write

    Operation: TypeAlias = InsertOne[RawBSONDocument] | DeleteOne | UpdateOne | ReplaceOne[RawBSONDocument]

Key: TypeAlias = "tuple[str, Hashable]"
"""Namespace and `change_history.bson.equality.key_of` the `_id`."""

_NEVER = {
    server_codes.ILLEGAL_OPERATION: "IllegalOperation",
    166: "CommandNotSupportedOnView",
    263: "OperationNotSupportedInTransaction",
}
_HINTS = {
    server_codes.DUPLICATE_KEY: "; another document has that value now: change or revert that one first",
    121: "; the collection's validator does not allow what it was: change that (`collMod`), or put back single fields "
    "(--field)",
}
"""Remedies, by the server's error code."""
_AT_ONCE = 100
_NO_TIME = bytes(8)
_NO_DOCUMENT = (b"$nor", (raw.ARRAY, raw.from_items([(raw.DOCUMENT, raw.EMPTY_DOCUMENT)])))


class RefusedWriteError(HistoryError):
    """The server refuses the document as it is to become, and will again; the message says why."""

    def __init__(self, document: Key, reason: str) -> None:
        super().__init__(reason)
        self.document = document


class TakenValueError(HistoryError):
    """A write set a value of a unique index that another document has, which may be one about to give it up."""

    def __init__(self, namespace: str, pattern: Pattern) -> None:
        super().__init__(f"another document of {namespace} has the same {', '.join(pattern)}")
        self.namespace = namespace
        self.pattern = pattern


class LostRaceError(HistoryError):
    """Somebody else inserted a document that did not exist when it was read."""

    def __init__(self, document: Write) -> None:
        super().__init__("a document is there by now")
        self.document = document


class Live:
    """Documents as a transaction sees them.

    Args:
        unique: by namespace, the unique indexes that an earlier attempt violated.
    """

    def __init__(
        self, client: MongoClient[Any], session: ClientSession, unique: Mapping[str, Sequence[Pattern]] | None = None
    ) -> None:
        self._client = client
        self._session = session
        self._unique = unique or {}

    def read(self, documents: Iterable[tuple[str, raw.Value]]) -> dict[Key, bytes]:
        """Read documents by namespace and `_id`; missing ones are absent from the result.

        A collection's own collation may take "a" and "A" for one id. History does not, so a find for one may return the
        other, which gets its own key. Not even a `simple` collation in the query prevents that on every server.
        """
        found: dict[Key, bytes] = {}
        for namespace, ids in _by_namespace(documents):
            for start in range(0, len(ids), _AT_ONCE):
                wanted = raw.from_items(ids[start : start + _AT_ONCE])
                query = {"_id": RawBSONDocument(raw.from_fields([(b"$in", (raw.ARRAY, wanted))]))}
                with self._collection(namespace).find(query, session=self._session) as cursor:
                    for stored in cursor:
                        data = bytes(stored.raw)
                        found[namespace, key_of(raw.fields(data)[b"_id"])] = data
        return found

    def taken_by(self, write: Write) -> raw.Value | None:
        """The `_id` of another document that the collection's collation equates with that of a write; None: none."""
        query = {"_id": RawBSONDocument(raw.from_fields([(b"$eq", write.raw_id)]))}
        found = self._collection(write.namespace).find_one(query, {"_id": 1})  # by the collection's own collation
        other = raw.fields(bytes(found.raw))[b"_id"] if found is not None else None
        return other if other is not None and key_of(other) != key_of(write.raw_id) else None

    def write(self, writes: Sequence[Write]) -> None:
        """Write documents, and read them again: unless all are there byte for byte, the caller must not commit.

        Raises:
            LostRaceError: a document was inserted meanwhile that did not exist before.
            TakenValueError: a unique index is violated that the order of writes did not consider yet.
            RefusedWriteError: the server refuses one, or stores other bytes; or one holds a withheld value.
            pymongo.errors.PyMongoError: another writer came first, or the deployment does not answer.
        """
        for write in writes:
            if write.after is not None and MAGIC in write.after and MAGIC not in (write.before or b""):
                raise RefusedWriteError(_key(write), "history withholds values of it, which cannot be put back")
        for namespace, some in groupby(writes, key=lambda write: write.namespace):
            group = in_order(some, unique := self._unique.get(namespace, ()))
            try:
                self._collection(namespace).bulk_write([_operation(write) for write in group], session=self._session)
            except BulkWriteError as error:
                _judge(error, group, unique)
            except OperationFailure as error:
                if error.code not in _NEVER:
                    raise
                raise RefusedWriteError(_key(group[0]), f"the server refuses it: {_said(error.details)}") from error
        found = self.read((write.namespace, write.raw_id) for write in writes)
        for write in writes:
            if found.get(_key(write)) != write.after:
                raise RefusedWriteError(_key(write), "the server would not store it byte for byte as it was")

    def _collection(self, namespace: str) -> Collection[RawBSONDocument]:
        database, _, name = namespace.partition(".")
        return self._client.get_database(database).get_collection(name, codec_options=RAW)


def _operation(write: Write) -> Operation:
    """The operation that makes the server store exactly these bytes.

    A document that was read is matched by its `_id`, even if a collation takes others for the same; a write that
    expects no document must not replace such a one.

    A replacement sets an empty timestamp to the present and refuses keys that begin with a dollar; `$literal` does
    neither, and only the differences get into the oplog. But with a repeated key it crashes a server of 6.0, which
    replaces such documents correctly.
    """
    condition = (b"_id", (raw.DOCUMENT, raw.from_fields([(b"$eq", write.raw_id)])))
    of = RawBSONDocument(raw.from_fields([condition, *([_NO_DOCUMENT] if write.before is None else [])]))
    if write.after is None:
        return DeleteOne(of)
    document = RawBSONDocument(write.after)
    repeats = any(side is not None and repeats_keys(side) for side in (write.before, write.after))
    if write.before is None and (repeats or not _has_time_of_zero(write.after)):
        return InsertOne(document)
    if repeats:
        return ReplaceOne(of, document)
    literal = raw.from_fields([(b"$literal", (raw.DOCUMENT, write.after))])
    stage = RawBSONDocument(raw.from_fields([(b"$replaceWith", (raw.DOCUMENT, literal))]))
    return UpdateOne(of, [stage], upsert=write.before is None)


def repeats_keys(document: bytes) -> bool:
    """Whether a document or a sub-document repeats a key, at any depth."""
    found = raw.elements(document)
    if len({key for key, _, _ in found}) < len(found):
        return True
    return any(repeats_keys(payload) for _, kind, payload in found if kind in {raw.DOCUMENT, raw.ARRAY})


def _has_time_of_zero(document: bytes) -> bool:
    return any(kind == raw.TIMESTAMP and payload == _NO_TIME for _, kind, payload in raw.elements(document))


def _judge(error: BulkWriteError, writes: Sequence[Write], unique: Sequence[Pattern]) -> None:
    """Raise the error that says whether a write is refused for good, or another attempt may succeed.

    Raises:
        LostRaceError, TakenValueError, RefusedWriteError, BulkWriteError: always one of them.
    """
    if not error.details["writeErrors"]:
        raise error
    first = error.details["writeErrors"][0]
    write = writes[first["index"]]
    pattern = tuple(first.get("keyPattern", ())) if first["code"] == server_codes.DUPLICATE_KEY else ()
    if pattern == ("_id",):
        raise LostRaceError(write) from error
    if pattern and pattern not in unique and len(writes) > 1:
        raise TakenValueError(write.namespace, pattern) from error
    hint = _HINTS.get(first["code"], "")
    raise RefusedWriteError(_key(write), f"the server refuses it: {_said(first)}{hint}") from error


def _said(failure: Mapping[str, Any] | None) -> str:
    return str((failure or {}).get("errmsg", "")).rstrip(".")


def _key(write: Write) -> Key:
    return write.namespace, key_of(write.raw_id)


def _by_namespace(documents: Iterable[tuple[str, raw.Value]]) -> Iterator[tuple[str, list[raw.Value]]]:
    for namespace, some in groupby(documents, key=lambda document: document[0]):
        yield namespace, [raw_id for _, raw_id in some]
