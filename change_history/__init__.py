"""Reading history from Python, beside any application: `from change_history import History`.

In all of it, `database` is the history database, and `collection` its collection `history`, the documents left as
bytes (`change_history.stored.reading`). A `namespace` is `database.collection`; a `document_id` is an `_id`, any BSON
type, and a `raw_id` the same as BSON. Whatever reads raises `pymongo.errors.PyMongoError` where the deployment does not
answer, or refuses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from change_history.bson.redacted import Redacted
    from change_history.bson.values import ABSENT, UNKNOWN, Missing
    from change_history.contexts import ContextRefusedError, acting, expire_contexts, recorded
    from change_history.errors import HistoryError
    from change_history.export.part_file import BusyError, NotResumableError
    from change_history.export.writers import NoParquetError
    from change_history.history import History
    from change_history.http.connection import HttpError
    from change_history.query.selection import Selection
    from change_history.query.transactions import AmbiguousTransactionError, UnknownTransactionError
    from change_history.reconstruct.filters import FilterError
    from change_history.reconstruct.point_in_time import NoSuchVersionError
    from change_history.reconstruct.state import State, UnknownStateError
    from change_history.revert.errors import (
        CollectionEndedError,
        ContendedError,
        NoSuchFieldError,
        NotAllowedError,
        NotAllRecordedError,
        NothingRecordedError,
        UnsureError,
    )
    from change_history.revert.live import RefusedWriteError
    from change_history.revert.merge import InsideArrayError
    from change_history.stored.actor import Actor
    from change_history.stored.chunks import MissingChunkError
    from change_history.stored.event import Change, Event

__all__ = [
    "ABSENT",
    "UNKNOWN",
    "Actor",
    "AmbiguousTransactionError",
    "BusyError",
    "Change",
    "CollectionEndedError",
    "ContendedError",
    "ContextRefusedError",
    "Event",
    "FilterError",
    "History",
    "HistoryError",
    "HttpError",
    "InsideArrayError",
    "Missing",
    "MissingChunkError",
    "NoParquetError",
    "NoSuchFieldError",
    "NoSuchVersionError",
    "NotAllRecordedError",
    "NotAllowedError",
    "NotResumableError",
    "NothingRecordedError",
    "Redacted",
    "RefusedWriteError",
    "Selection",
    "State",
    "UnknownStateError",
    "UnknownTransactionError",
    "UnsureError",
    "acting",
    "expire_contexts",
    "recorded",
]

_WHERE = {
    "ABSENT": "bson.values",
    "Actor": "stored.actor",
    "AmbiguousTransactionError": "query.transactions",
    "BusyError": "export.part_file",
    "Change": "stored.event",
    "CollectionEndedError": "revert.errors",
    "ContendedError": "revert.errors",
    "ContextRefusedError": "contexts",
    "Event": "stored.event",
    "FilterError": "reconstruct.filters",
    "History": "history",
    "HistoryError": "errors",
    "HttpError": "http.connection",
    "InsideArrayError": "revert.merge",
    "Missing": "bson.values",
    "MissingChunkError": "stored.chunks",
    "NoParquetError": "export.writers",
    "NoSuchFieldError": "revert.errors",
    "NoSuchVersionError": "reconstruct.point_in_time",
    "NotAllRecordedError": "revert.errors",
    "NotAllowedError": "revert.errors",
    "NotResumableError": "export.part_file",
    "NothingRecordedError": "revert.errors",
    "Redacted": "bson.redacted",
    "RefusedWriteError": "revert.live",
    "Selection": "query.selection",
    "State": "reconstruct.state",
    "UNKNOWN": "bson.values",
    "UnknownStateError": "reconstruct.state",
    "UnknownTransactionError": "query.transactions",
    "UnsureError": "revert.errors",
    "acting": "contexts",
    "expire_contexts": "contexts",
    "recorded": "contexts",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the daemon uses parts of this package that need little."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
