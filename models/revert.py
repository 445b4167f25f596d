"""That a transaction of the watched deployment puts documents back, written down before it is committed."""

from __future__ import annotations

from mongoengine import BinaryField, BooleanField, DateTimeField, Document, IntField, ListField, StringField

from change_history.stored.names import ABANDONED, ALIAS, DONE, INTENDED, REVERTS
from models.fields import BSONField, ExactDocument, TimestampField


class RevertModel(ExactDocument, Document):
    """One revert.

    `id` is the transaction that does it: the 16 bytes of its session's UUID and its number, 8 bytes, big-endian, as
    events carry them. That it was committed is proved by events with that identity alone; `state` says only what is
    known of it: `intended` before the commit, then `done`, or `abandoned` once it is sure that it was never committed.

    `to` is what was asked for: a date, a timestamp (a cluster time), or the number of a version; `undone` is there
    instead for a transaction that was undone, its `session` and `number`. `fields` are those that were asked for;
    none: all. `by` is who did it, as a context document says it. `documents` names the first of the documents that were
    written, `count` is the number of all.
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
    by = BSONField()
    documents = BSONField()
    count = IntField()
    begun_at = DateTimeField()
    cluster_time = TimestampField()
