"""How far a stream has been durably recorded."""

from __future__ import annotations

from mongoengine import BinaryField, DateTimeField, Document, LongField, StringField

from change_history.stored.names import ALIAS, CHECKPOINTS
from models.fields import BSONField, TimestampField


class CheckpointModel(Document):
    """The position of one stream: everything up to it is in history, acknowledged by a majority.

    `token` is the resume token as the server gave it. `fingerprint` names the options of the stream the token
    came from, `replica_set` the deployment: a token is a position only together with both. `begun` is the cluster time
    since which the stream has had its present scope. `lease` names the stream's leader: `owner`, `host`, `pid` and
    `place` of the daemon, `term`, incremented whenever a daemon takes the lead, and `expires_at`, by the server's
    clock; only `term` is left when no daemon leads. `sessions_until` is the `_id` in history up to which database users
    were looked up.
    """

    meta = {  # noqa: RUF012 - mongoengine's own form
        "collection": CHECKPOINTS,
        "db_alias": ALIAS,
        "strict": False,
        "auto_create_index": False,
    }

    stream = StringField(primary_key=True)
    token = BSONField()
    cluster_time = TimestampField()
    begun = TimestampField()
    fingerprint = StringField(required=True)
    options = BSONField()
    replica_set = BSONField()
    events = LongField(default=0)
    lease = BSONField()
    sessions_until = BinaryField()
    started_at = DateTimeField()
    updated_at = DateTimeField()
