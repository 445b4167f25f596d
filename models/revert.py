"""That a transaction of the watched deployment puts documents back, written down before it is committed."""

from __future__ import annotations

from typing import Any

from bson.raw_bson import RawBSONDocument
from mongoengine import BinaryField, BooleanField, DateTimeField, Document, IntField, ListField, StringField

from change_history.bson.values import ABSENT, document_to_python
from change_history.stored.names import ABANDONED, ALIAS, DONE, INTENDED, REVERTS
from models.fields import BSONField, TimestampField, drop_missing


class RevertModel(Document):
    """One revert.

    `id` is the transaction that does it: the 16 bytes of its session's UUID and its number, 8 bytes, big-endian, as
    events carry them. That it was committed is proved by events with that identity alone; `state` says only what is
    known of it: `intended` before the commit, then `done`, or `abandoned` once it is sure that it was never committed.

    `to` is what was asked for: a date, a timestamp (a cluster time), or the number of a version; `undone` is there
    instead for a transaction that was undone, its `session` and `number`. `fields` are those that were asked for;
    none: all. `documents` names the first of the documents that were written, `count` is the number of all.
    """

    meta = {  # noqa: RUF012 - mongoengine's own form
        "collection": REVERTS,
        "db_alias": ALIAS,
        "strict": False,
        "auto_create_index": False,
        "id_field": "id",
    }

    id = BinaryField(primary_key=True, max_bytes=24)
    state = StringField(required=True, choices=(INTENDED, DONE, ABANDONED))
    to = BSONField()
    undone = BSONField()
    fields = ListField(StringField())
    forced = BooleanField()
    documents = BSONField()
    count = IntField()
    begun_at = DateTimeField()
    cluster_time = TimestampField()

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **{"to": ABSENT, "undone": ABSENT, "documents": ABSENT, **values})

    @classmethod
    def _from_son(cls, son: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the model from a stored document, its values exact to the BSON type (see `values.to_python`)."""
        if isinstance(son, RawBSONDocument):
            son = document_to_python(son)
        return super()._from_son(son, *args, **kwargs)

    def to_mongo(self, *args: Any, **kwargs: Any) -> Any:
        """Leave out what is absent; keep null."""
        return drop_missing(self, super().to_mongo(*args, **kwargs))
