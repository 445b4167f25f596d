"""One changed field of one event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mongoengine import BooleanField, EmbeddedDocument, IntField, StringField

from change_history.bson.values import ABSENT, UNKNOWN
from change_history.stored.names import FROM_HISTORY, FROM_UNKNOWN
from models.fields import BSONField, ExactDocument

if TYPE_CHECKING:
    from datetime import datetime


class ChangeModel(ExactDocument, EmbeddedDocument):
    """The change of one field.

    `field` is the dotted path as MongoDB writes it, read by this rule: the parts between dots are keys, and a
    part after the first that is a plain decimal number is an array index. Where that reading would be wrong,
    `path` says it exactly, as a list of keys (`str`) and indexes (`int`); the empty list is the whole document.
    """

    meta = {"strict": False}  # noqa: RUF012 - mongoengine's own form
    field = StringField(required=True)
    path = BSONField()
    old_value = BSONField()
    new_value = BSONField()
    old_value_from = StringField(choices=(FROM_HISTORY, FROM_UNKNOWN))
    new_value_from = StringField(choices=(FROM_UNKNOWN,))
    truncated_to = IntField()
    at_end = BooleanField()

    timestamp: datetime | None = None
    """Wall time of the event (UTC). Stored once on the event, readable on every change."""

    @classmethod
    def _from_son(cls, son: Any, *args: Any, **kwargs: Any) -> Any:
        change = super()._from_son(son, *args, **kwargs)
        if change.old_value_from == FROM_UNKNOWN and change.old_value is ABSENT:
            change.old_value = UNKNOWN
        untold = change.truncated_to is not None or change.new_value_from == FROM_UNKNOWN
        if untold and change.new_value is ABSENT:
            change.new_value = UNKNOWN
        return change

    def __repr__(self) -> str:
        return f"<ChangeModel {self.field}: {self.old_value!r} → {self.new_value!r}>"

    __str__ = __repr__
