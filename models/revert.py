"""The record of a revert, a transaction that puts documents back; stored before the transaction is committed."""

from __future__ import annotations

from mongoengine import BinaryField, BooleanField, DateTimeField, Document, IntField, ListField, StringField

from change_history.stored.names import ABANDONED, ALIAS, DONE, INTENDED, REVERTS
from models.fields import BSONField, ExactDocument, TimestampField


class RevertModel(ExactDocument, Document):
    """One revert.

    `id` is the transaction that does it: the 16 bytes of its session's UUID and its number, 8 bytes, big-endian, as
    events carry them. Only events with that identity prove the commit; `state` is what is known of it: `intended`
    before the commit, then `done`, or `abandoned` once it is certain that it was never committed.

    `to` is the requested point in time: a date, a timestamp (a cluster time), or the number of a version; for a
    transaction that was undone, there is `undone` instead, its `session` and `number`. `fields` are the requested
    fields; none: all. `by` is the actor, as in a context document. `documents` lists the first documents that were
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
