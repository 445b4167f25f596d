"""History in a mongoengine application: `user.history.changes`, named and typed as the class says.

    class UserModel(HistoryMixin, mongoengine.Document):
        name = mongoengine.StringField()

    for change in user.history.changes:
        print(change.field, change.old_value, change.new_value, change.timestamp)

    mixin ──▶ document (user.history), collection (UserModel.history_objects) ──▶ records (lazy, like a queryset)
                                    │                                                   │
                                  waiting                              translation (stored path and value → the class's)

Nothing is registered with mongoengine.
"""

from __future__ import annotations

import mongoengine as _mongoengine
import pymongo as _pymongo


def _require(name: str, found: tuple[int, ...], least: tuple[int, int], spelled: str) -> None:
    if found[:2] < least:
        raise ImportError(
            f"change_history.mongoengine needs {name} {least[0]}.{least[1]} or newer, and this is {spelled}. "
            f"Type: pip install '{name}>={least[0]}.{least[1]}'"
        )


_require("mongoengine", tuple(_mongoengine.VERSION[:2]), (0, 29), _mongoengine.__version__)
_require("pymongo", tuple(_pymongo.version_tuple[:2]), (4, 10), _pymongo.version)  # type: ignore[arg-type]

from change_history.mongoengine.collection import CollectionHistory  # noqa: E402 - the version is checked first
from change_history.mongoengine.connection import connect, disconnect  # noqa: E402
from change_history.mongoengine.document import DocumentHistory, PastDocumentError  # noqa: E402
from change_history.mongoengine.mixin import HistoryMixin  # noqa: E402
from change_history.mongoengine.records import Changes, DocumentChange, Events  # noqa: E402
from change_history.mongoengine.waiting import NotRecordedYetError  # noqa: E402

__all__ = [
    "Changes",
    "CollectionHistory",
    "DocumentChange",
    "DocumentHistory",
    "Events",
    "HistoryMixin",
    "NotRecordedYetError",
    "PastDocumentError",
    "connect",
    "disconnect",
]
