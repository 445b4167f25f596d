"""Events that could not be turned into history, kept whole."""

from __future__ import annotations

from mongoengine import BinaryField, DateTimeField, Document, ListField, StringField

from change_history.stored.names import ALIAS, REJECTED
from models.fields import BSONField, TimestampField


class RejectedModel(Document):
    """One event that could not be stored, as the server sent it, with its position and the reason.

    `id` is the one its history document would have. What no event has made (a baseline's or a reconciliation's history
    document) is kept as `entry` instead of `event`. What is too large for a document has `parts`, or `entry_parts`, in
    that place; `change_history.stored.chunks.read` puts it together. `document_id` stands beside these fields, byte for
    byte; entries of older versions have neither that nor `operation`. `actor` is who made the event, if that was known.
    """

    meta = {  # noqa: RUF012 - mongoengine's own form
        "collection": REJECTED,
        "db_alias": ALIAS,
        "strict": False,
        "auto_create_index": False,
    }

    id = BinaryField(primary_key=True, max_bytes=16)
    stream = StringField()
    namespace = StringField()
    operation = StringField()
    cluster_time = TimestampField()
    resume_token = BinaryField()
    event = BinaryField()
    parts = ListField(BinaryField(), default=None)
    entry = BinaryField()
    entry_parts = ListField(BinaryField(), default=None)
    error = StringField()
    actor = BSONField()
    rejected_at = DateTimeField()
