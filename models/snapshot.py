"""The whole state of a document after one of its entries, so that as-of need not fold a long history."""

from __future__ import annotations

from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from mongoengine import BinaryField, Document, ObjectIdField, StringField

from change_history.bson.values import ABSENT, document_to_python
from change_history.stored.names import ALIAS, SNAPSHOTS
from models.fields import BSONField, drop_missing

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class SnapshotModel(Document):
    """One document after one entry of its history. It says nothing that history does not, and can be made again.

    `id` is the entry's, `resume_token` too (absent where it has none), so a snapshot stands in history where the entry
    does. `base` is the `id` of the entry that last told the document whole: how far back the state relies on history.

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
    document = BSONField()
    claim = ObjectIdField()

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **{"document_id": ABSENT, "document": ABSENT, **values})

    @classmethod
    def _get_collection(cls) -> Any:
        return super()._get_collection().with_options(codec_options=_RAW)

    @classmethod
    def _from_son(cls, son: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the model from a stored document, its values exact to the BSON type (see `values.to_python`)."""
        if isinstance(son, RawBSONDocument):
            son = document_to_python(son)
        return super()._from_son(son, *args, **kwargs)

    def to_mongo(self, *args: Any, **kwargs: Any) -> Any:
        """Leave out what is absent; keep null."""
        return drop_missing(self, super().to_mongo(*args, **kwargs))
