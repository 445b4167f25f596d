"""The whole state of a document after one of its entries, so that reconstruction need not fold a long history."""

from __future__ import annotations

from typing import Any

from mongoengine import BinaryField, Document, ObjectIdField, StringField

from change_history.stored.names import ALIAS, SNAPSHOTS
from change_history.stored.reading import RAW
from models.fields import BSONField, ExactDocument


class SnapshotModel(ExactDocument, Document):
    """One document after one entry of its history. It is derived from history only, and can be made again.

    `id` is the entry's, `resume_token` too (absent if it has none), so a snapshot has the entry's place in history.
    `base` is the `id` of the last entry with the whole document: the state depends on history from there on.

    `since` is the `id` of the previous snapshot, and `changed` has the dotted paths that the entries since then have
    changed, sorted, separated by NUL: by these, a search for the events that set a field can skip the others. Both are
    absent if unknown, as in snapshots of earlier builds.

    While the state is being made, there is `claim` instead of `document`: such a snapshot cannot be used yet.
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
