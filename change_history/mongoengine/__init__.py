"""History in a mongoengine application: `user.history.changes`, named and typed as the class says.

    class UserModel(HistoryMixin, mongoengine.Document):
        name = mongoengine.StringField()

    for change in user.history.changes:
        print(change.field, change.old_value, change.new_value, change.timestamp)

    mixin ──▶ document (user.history), collection (UserModel.history_objects) ──▶ records (lazy, like a queryset)
                                    │                                                   │
                                  waiting                              translation (stored path and value → the class's)

    stamping: who acts, written into the documents that are saved

Nothing is registered with mongoengine, but for the signals of `stamp`.
"""

from __future__ import annotations

import re
from importlib import metadata


def _require(name: str, least: str) -> None:
    # Before it is imported: old ones of both break already there, each in its own obscure way.
    found = metadata.version(name)
    if _numbers(found) < _numbers(least):
        raise ImportError(
            f"change_history.mongoengine needs {name} {least} or newer, and this is {found}. "
            f"Type: pip install '{name}>={least}'"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


_require("mongoengine", "0.29.1")
_require("pymongo", "4.10")

from change_history.contexts import acting  # noqa: E402
from change_history.mongoengine.change import DocumentChange  # noqa: E402
from change_history.mongoengine.changes import Changes, Events  # noqa: E402
from change_history.mongoengine.collection import CollectionHistory  # noqa: E402 - the version is checked first
from change_history.mongoengine.connection import connect, disconnect  # noqa: E402
from change_history.mongoengine.document import DocumentHistory, PastDocumentError  # noqa: E402
from change_history.mongoengine.mixin import HistoryMixin  # noqa: E402
from change_history.mongoengine.stamping import stamp, stamps  # noqa: E402
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
    "acting",
    "connect",
    "disconnect",
    "stamp",
    "stamps",
]
