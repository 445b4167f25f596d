"""Why nothing could be put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson.values import ABSENT
from change_history.errors import HistoryError

if TYPE_CHECKING:
    from change_history.reconstruct.trust import Reached
    from change_history.stored.event import Event


class NothingRecordedError(HistoryError, LookupError):
    """Nothing at all is recorded of the document."""


class CollectionEndedError(HistoryError, LookupError):
    """The document is not deleted: it went with its collection, or was deleted while that had another name.

    Attributes:
        event: what ended it; with a `document_id`, its own deletion under the former name.
    """

    def __init__(self, event: Event) -> None:
        super().__init__(
            f"the document went with its collection: {event.operation} of {event.namespace}"
            if event.document_id is ABSENT
            else f"the document was deleted before the collection got this name, from {event.namespace}"
        )
        self.event = event


class NoSuchFieldError(HistoryError, LookupError):
    """The document has no such field, neither now nor then."""


class NotAllRecordedError(HistoryError):
    """A part of the stream has not come so far yet: the transaction may have written what history does not know of."""

    def __init__(self, behind: Reached) -> None:
        super().__init__(
            f"{behind.checkpoint} has recorded up to {behind.until.time}:{behind.until.inc} only, so the transaction "
            "may have written to more documents than history knows of"
        )
        self.behind = behind


class ContendedError(HistoryError):
    """Others wrote to the documents all the time; nothing was changed."""


class NotAllowedError(HistoryError):
    """A user lacks a privilege; the message says which. Nothing was changed."""


class UnsureError(HistoryError):
    """The deployment went away during the commit: whether it was done will be seen in the history."""
