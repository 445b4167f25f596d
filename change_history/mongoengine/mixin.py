"""The mixin for an application's document classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mongoengine import EmbeddedDocument
from mongoengine.base import BaseDocument

from change_history.mongoengine.collection import CollectionHistory
from change_history.mongoengine.document import DocumentHistory


class _OfDocument:
    def __get__(self, document: Any, owner: Any) -> Any:
        return self if document is None else DocumentHistory(document)

    def __set__(self, document: Any, value: Any) -> None:
        raise AttributeError(
            f"HistoryMixin has the name of this attribute of {type(document).__name__}. Choose another one for it: "
            "meta = {'history_attribute': 'versions'}"
        )


class _OfClass:
    def __get__(self, document: Any, owner: Any) -> CollectionHistory:
        return CollectionHistory(owner)


class HistoryMixin:
    """Gives a mongoengine document class the property `history`, and the class itself `history_objects`.

    Nothing about the class or how it is saved changes, and nothing is registered with mongoengine. History is read
    from where `change_history.mongoengine.connect` points; if the application never called it, from the database
    `change_history` of the deployment that the document lives in.

    A class that has a `history` of its own says `meta = {"history_attribute": "versions"}`; then the names are
    `versions` and `versions_objects`.

    Raises:
        TypeError: when a class is defined that has a `history` of its own, or is an embedded document.
    """

    if TYPE_CHECKING:
        history_objects: CollectionHistory

        @property
        def history(self) -> DocumentHistory:
            """The history of this document."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if issubclass(cls, EmbeddedDocument):
            raise TypeError(
                f"{cls.__name__} is an embedded document, which has no history of its own: mix HistoryMixin into the "
                "document that has it; `document.history.changes.filter(field=…)` tells the changes below a field"
            )
        if not issubclass(cls, BaseDocument):
            return
        meta = {**getattr(cls, "_meta", {}), **cls.__dict__.get("meta", {})}
        name = meta.get("history_attribute", "history")
        for attribute, descriptor in ((name, _OfDocument()), (f"{name}_objects", _OfClass())):
            _refuse_if_taken(cls, attribute)
            setattr(cls, attribute, descriptor)


def _refuse_if_taken(cls: type, attribute: str) -> None:
    for base in cls.__mro__:
        found = vars(base).get(attribute)
        if found is not None and not isinstance(found, _OfDocument | _OfClass):
            raise TypeError(
                f"{cls.__name__} has a {attribute!r} of its own (of {base.__name__}), so HistoryMixin cannot use the "
                "name. Choose another one: meta = {'history_attribute': 'versions'}"
            )
    if attribute in getattr(cls, "_fields", {}):
        raise TypeError(
            f"{cls.__name__} has a field {attribute!r}, so HistoryMixin cannot use the name. Choose another one: "
            "meta = {'history_attribute': 'versions'}"
        )
