"""One recorded event."""

from __future__ import annotations

from typing import Any

from mongoengine import (
    BinaryField,
    DateTimeField,
    Document,
    EmbeddedDocument,
    EmbeddedDocumentField,
    IntField,
    ListField,
    StringField,
)

from change_history.bson.values import UNKNOWN
from change_history.stored.event import on_one_line
from change_history.stored.names import ALIAS, HISTORY
from change_history.stored.reading import RAW
from models.change import ChangeModel
from models.fields import BSONField, ExactDocument, OpaqueListField, TimestampField


class TransactionModel(EmbeddedDocument):
    """The transaction an event belongs to: logical session (`lsid` as the server gives it) and number."""

    session = BSONField()
    number = BSONField()


class ActorModel(ExactDocument, EmbeddedDocument):
    """Who made the change, and how that is known: see `change_history.stored.actor.Actor`."""

    id = BSONField()
    provenance = StringField(required=True)
    reason = StringField()
    request = BSONField()
    database_user = StringField()


class HistoryModel(ExactDocument, Document):
    """One change event, whole.

    `id` is the cluster time (8 bytes, big-endian) followed by 8 bytes of BLAKE2b of the resume token: the same
    event has the same `id` wherever and however often it is read, and ids are in time order. Within one cluster
    time, order by `resume_token`, byte by byte.

    `parts` and `change_count` are there only on the head of an event larger than a document (see `parts`); the values
    of its changes are `UNKNOWN` until `parts.whole` has put it together.
    """

    meta = {  # noqa: RUF012 - mongoengine's own form
        "collection": HISTORY,
        "db_alias": ALIAS,
        "strict": False,
        "auto_create_index": False,
        "id_field": "id",
        "indexes": [
            # One document's timeline, and one field of a document within it.
            {"fields": ["namespace", "document_id", "id"], "name": "document_timeline"},
            # A namespace over time. A time window of everything is a range of `_id`.
            {"fields": ["namespace", "id"], "name": "namespace_timeline"},
            # A transaction.
            {
                "fields": ["transaction.session", "transaction.number", "id"],
                "name": "transaction",
                "partialFilterExpression": {"transaction": {"$exists": True}},
            },
            # Renames, wherever to. Only events about collections carry a description, and few are recorded.
            {
                "fields": ["operation", "id"],
                "name": "collection_events",
                "partialFilterExpression": {"description": {"$exists": True}},
            },
            # What was lost. Few documents, and every answer asks for them.
            {"fields": ["operation", "id"], "name": "gaps", "partialFilterExpression": {"operation": "gap"}},
            # What somebody did, and what was done for a reason or in the course of a request. Only events that say so.
            *(
                {
                    "fields": [f"actor.{said}", "id"],
                    "name": f"actor_{said}",
                    "partialFilterExpression": {f"actor.{said}": {"$exists": True}},
                }
                for said in ("id", "reason", "request")
            ),
        ],
        "index_cls": False,
    }

    id = BinaryField(primary_key=True, max_bytes=16)
    namespace = StringField()
    document_id = BSONField()
    operation = StringField(required=True)
    timestamp = DateTimeField()
    cluster_time = TimestampField(required=True)
    changes = OpaqueListField(ChangeModel)
    key_order = ListField(StringField(), default=None)
    description = BSONField()
    transaction = EmbeddedDocumentField(TransactionModel)
    resume_token = BinaryField()
    version = IntField()
    change_count = IntField()
    parts = ListField(BinaryField(), default=None)
    actor = EmbeddedDocumentField(ActorModel)

    def __str__(self) -> str:
        return on_one_line(self)

    @classmethod
    def _get_collection(cls) -> Any:
        return super()._get_collection().with_options(codec_options=RAW)

    @classmethod
    def _from_son(cls, son: Any, *args: Any, **kwargs: Any) -> Any:
        event = super()._from_son(son, *args, **kwargs)
        for change in event.changes:
            change.timestamp = event.timestamp
            if event.parts is not None:
                change.old_value = change.new_value = UNKNOWN
        return event
