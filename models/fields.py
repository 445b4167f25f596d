"""mongoengine fields that do not change BSON values.

mongoengine's own `DynamicField` interprets `_cls`, `DictField` refuses `$` keys, and dereferencing looks into
every list for `_ref`; what an application stored must pass through history untouched.
"""

from __future__ import annotations

from typing import Any

from bson.raw_bson import RawBSONDocument
from mongoengine import EmbeddedDocumentListField
from mongoengine.base import BaseDocument
from mongoengine.fields import BaseField

from change_history.bson.values import ABSENT, Missing, document_to_python


class BSONField(BaseField):
    """Any BSON value as it is, or `ABSENT`, or `UNKNOWN`. A stored null stays null.

    The documents that use it start it at `ABSENT`: mongoengine itself takes a default and
    a null for the same thing.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(null=True, **options)

    def validate(self, value: Any, clean: bool = True) -> None:  # noqa: FBT001, FBT002
        """Accept every value: the server has already stored it once."""

    def prepare_query_value(self, _operator: str, value: Any) -> Any:
        """Query for a document by equality, even if its keys look like operators."""
        return {"$eq": value} if isinstance(value, dict) else value


class TimestampField(BaseField):
    """A `bson.Timestamp`: cluster time, in seconds and an increment."""


class OpaqueListField(EmbeddedDocumentListField):
    """A list of embedded documents whose values are never taken for references."""

    @property
    def _auto_dereference(self) -> bool:
        return False

    def set_auto_dereferencing(self, auto_dereference: bool) -> None:  # noqa: FBT001
        """Do nothing: history has no references."""


class ExactDocument(BaseDocument):
    """A mixin for `Document` or `EmbeddedDocument` with fields of any BSON value.

    Values that are read keep their BSON type (see `change_history.bson.values.to_python`). Fields that are not set are
    `ABSENT`; absent and unknown values are not written, and a null stays.
    """

    def __init__(self, *args: Any, **values: Any) -> None:
        absent = {name: ABSENT for name, field in self._fields.items() if isinstance(field, BSONField)}
        super().__init__(*args, **absent | values)

    @classmethod
    def _from_son(cls, son: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._from_son(document_to_python(son) if isinstance(son, RawBSONDocument) else son, *args, **kwargs)

    def to_mongo(self, *args: Any, **kwargs: Any) -> Any:
        """The document as it is written, without absent and unknown values."""
        son = super().to_mongo(*args, **kwargs)
        for field in self._fields.values():
            if isinstance(field, BSONField) and isinstance(son.get(field.db_field), Missing):
                del son[field.db_field]
        return son
