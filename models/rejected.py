"""Events that could not be turned into history, kept whole."""

from __future__ import annotations

from mongoengine import BinaryField, DateTimeField, Document, ListField, StringField

from change_history.stored.names import ALIAS, REJECTED
from models.fields import BSONField, TimestampField


class RejectedModel(Document):
    """One event that could not be stored, as the server sent it, with its position and the reason.

    `id` is the `_id` that its history document would have. A history document that was not made from an event (of a
    baseline or a reconciliation) is stored as `entry` instead of `event`. If it is too large for a document, `parts` or
    `entry_parts` takes that place; `change_history.stored.chunks.read` joins them. `document_id` is stored separately,
    byte for byte; entries of older versions have neither that nor `operation`. `actor` is the event's actor, if known.
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
