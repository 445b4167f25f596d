"""The whole state of a document after one of its entries, so that as-of need not fold a long history."""

from __future__ import annotations

from typing import Any

from mongoengine import BinaryField, Document, ObjectIdField, StringField

from change_history.stored.names import ALIAS, SNAPSHOTS
from change_history.stored.reading import RAW
from models.fields import BSONField, ExactDocument


class SnapshotModel(ExactDocument, Document):
    """One document after one entry of its history. It says nothing that history does not, and can be made again.

    `id` is the entry's, `resume_token` too (absent where it has none), so a snapshot stands in history where the entry
    does. `base` is the `id` of the entry that last told the document whole: how far back the state relies on history.

    `since` is the `id` of the snapshot before, and `changed` has the dotted paths that the entries since then have
    changed, sorted, with a NUL between two: by these, whoever looks for the events that set something passes over the
    others. Both are absent where they are not known, as in what earlier builds have made.

    `claim` is there instead of `document` while the state is being made: such a snapshot tells nothing yet.
    """

    meta = {  # noqa: RUF012 - mongoengine's own form
        "collection": SNAPSHOTS,
        "db_alias": ALIAS,
        "strict": False,
        "auto_create_index": False,
        "id_field": "id",
        "indexes": [{"fields": ["namespace", "document_id", "id"], "name": "document_timeline"}],
        "index_cls": False,
    }

    id = BinaryField(primary_key=True, max_bytes=16)
    namespace = StringField()
    document_id = BSONField()
    base = BinaryField()
    resume_token = BinaryField()
    since = BinaryField()
    changed = BinaryField()
    document = BSONField()
    claim = ObjectIdField()

    @classmethod
    def _get_collection(cls) -> Any:
        return super()._get_collection().with_options(codec_options=RAW)
