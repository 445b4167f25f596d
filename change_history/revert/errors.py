"""Errors of a revert. Except after `UnsureError`, nothing was changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson.values import ABSENT
from change_history.errors import HistoryError

if TYPE_CHECKING:
    from change_history.reconstruct.trust import Reached
    from change_history.stored.event import Event


class NothingRecordedError(HistoryError, LookupError):
    """Nothing is recorded of the document."""


class CollectionEndedError(HistoryError, LookupError):
    """The document has no deletion of its own: it ended with its collection, or was deleted under a former name.

    Attributes:
        event: the event that ended it; with a `document_id`, its own deletion under the former name.
    """

    def __init__(self, event: Event) -> None:
        super().__init__(
            f"the document went with its collection: {event.operation} of {event.namespace}"
            if event.document_id is ABSENT
            else f"the document was deleted before the collection got this name, from {event.namespace}"
        )
        self.event = event


class NoSuchFieldError(HistoryError, LookupError):
    """The document has the field in neither state."""


class NotAllRecordedError(HistoryError):
    """A partition of the stream lags: the transaction may have written to documents that history does not have yet."""

    def __init__(self, behind: Reached) -> None:
        super().__init__(
            f"{behind.checkpoint} has recorded up to {behind.until.time}:{behind.until.inc} only, so the transaction "
            "may have written to more documents than history knows of"
        )
        self.behind = behind


class ContendedError(HistoryError):
    """Others kept writing to the documents; nothing was changed."""


class NotAllowedError(HistoryError):
    """A user lacks a privilege; the message says which. Nothing was changed."""


class UnsureError(HistoryError):
    """The connection was lost during the commit; history will show whether it happened."""
