"""A change event, split into fields but not decoded.

https://www.mongodb.com/docs/manual/reference/change-events/
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.equality import key_of
from change_history.bson.resume_token import UnreadableTokenError, token_bytes
from change_history.stored.order import HistoryPosition

if TYPE_CHECKING:
    from collections.abc import Hashable

    from change_history.bson.raw import Value

DOCUMENT_OPERATIONS = frozenset({b"insert", b"update", b"replace", b"delete"})
"""Operations on one document; all others concern a collection, a database or the stream."""

WITHOUT_VALUES = "valuesLeftOut"
"""Field that the listener's pipeline sets on an event that is too large to be delivered with its values."""

_WITHOUT_VALUES = WITHOUT_VALUES.encode()
_OF_A_DOCUMENT_THAT_WAS = frozenset({b"update", b"replace", b"delete"})
_ENVELOPE = frozenset(
    {
        b"_id",
        b"operationType",
        b"clusterTime",
        b"wallTime",
        b"ns",
        b"documentKey",
        b"lsid",
        b"txnNumber",
        b"collectionUUID",
        b"operationDescription",
    }
)
_DIGEST_BYTES = 8
_KEY_BYTES = {raw.OBJECT_ID: 10 + 12, raw.INT32: 10 + 4, raw.INT64: 10 + 8}
"""Size in bytes of a `documentKey` that has only an `_id` of this type."""


class UnreadableEventError(ValueError):
    """The event lacks a field that its place in history depends on."""


class DocumentKey(NamedTuple):
    """Identifies a document: its namespace, and its `_id` in the server's sense of equality."""

    namespace: bytes
    document: Hashable


class StreamEvent(NamedTuple):
    """One change event.

    Attributes:
        fields: the event's own fields, as the server sent them.
        operation: `operationType`.
        namespace: `db.coll`, or `db` for an event about a database, or empty.
        cluster_time: `clusterTime`.
        token: the resume token's key string, 45 bytes and more; it sorts in stream order.
        without_values: the event was too large to be delivered with its values, so its changes are unknown.
    """

    fields: dict[bytes, Value]
    operation: bytes
    namespace: bytes
    cluster_time: ClusterTime
    token: bytes
    without_values: bool = False

    @property
    def id(self) -> bytes:
        """The `_id` of the history document: cluster time, big-endian, and a digest of the resume token."""
        return self.cluster_time.prefix + blake2b(self.token, digest_size=_DIGEST_BYTES).digest()

    def document(self, name: bytes) -> bytes | None:
        """A sub-document of the event, or None where it is absent or null."""
        value = self.fields.get(name)
        return value[1] if value is not None and value[0] == raw.DOCUMENT else None

    def document_id(self) -> Value | None:
        """`documentKey._id`."""
        key = self.document(b"documentKey")
        if key is None:
            return None
        if key.startswith(b"_id\x00", 5) and _KEY_BYTES.get(key[4]) == len(key):
            return key[4], key[9:-1]  # the common case: nothing but the `_id`
        return raw.fields(key).get(b"_id")

    def transaction(self) -> bytes | None:
        """A key of the event's transaction; None: it is in none."""
        session, number = self.fields.get(b"lsid"), self.fields.get(b"txnNumber")
        return session[1] + number[1] if session is not None and number is not None else None

    @property
    def in_transaction(self) -> bool:
        """Whether the event is in a transaction."""
        return b"txnNumber" in self.fields and b"lsid" in self.fields

    @property
    def position(self) -> HistoryPosition:
        """The event's place in history."""
        return HistoryPosition(self.cluster_time, self.token)

    @property
    def lacks_pre_image(self) -> bool:
        """Whether the event has no pre-image, though its operation should have one."""
        return self.operation in _OF_A_DOCUMENT_THAT_WAS and self.document(b"fullDocumentBeforeChange") is None

    def key(self) -> DocumentKey | None:
        """The document that the event changes; None: it concerns a collection, a database or the stream.

        Raises:
            change_history.bson.raw.MalformedBSON: the `_id` cannot be read.
        """
        document_id = self.document_id()
        return DocumentKey(self.namespace, key_of(document_id)) if document_id is not None else None

    def description(self) -> dict[bytes, Value]:
        """The fields beyond the envelope: those of `operationDescription`, then the event's other fields."""
        inner = self.document(b"operationDescription")
        found = raw.fields(inner) if inner is not None else {}
        for name, value in self.fields.items():
            if name not in _ENVELOPE:
                found.setdefault(name, value)
        return found


def parse(data: bytes) -> StreamEvent:
    """Parse a change event.

    Raises:
        change_history.bson.raw.MalformedBSON: the bytes are not a BSON document.
        UnreadableEventError: the resume token, operation or cluster time is missing.
    """
    found = raw.fields(data)
    try:
        token = token_bytes(found[b"_id"][1])
        operation = found[b"operationType"][1][4:-1]
        cluster_time = ClusterTime.from_payload(found[b"clusterTime"][1])
    except KeyError as error:
        raise UnreadableEventError(f"the event has no {error.args[0].decode()}") from error
    except UnreadableTokenError as error:
        raise UnreadableEventError(str(error)) from error
    names = found.get(b"ns")
    namespace = namespace_of(names[1]) if names is not None else b""
    without_values = found.pop(_WITHOUT_VALUES, None) is not None
    return StreamEvent(found, operation, namespace, cluster_time, token, without_values)


@lru_cache(maxsize=4096)
def namespace_of(names: bytes) -> bytes:
    """`db.coll` of the `ns` or `to` document of an event; `db` where it names no collection."""
    return b".".join([part[4:-1] for _, kind, part in raw.elements(names) if kind == raw.STRING])
