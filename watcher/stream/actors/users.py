"""Database users by the digest that the server stores with a session: `lsid.uid` is SHA-256 of `user@database`.

A digest cannot be reversed. The deployment lists its users, and every user that was listed once is kept in the history
database, so that a dropped user still has a name.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import structlog
from bson import Binary
from pymongo import UpdateOne, WriteConcern
from pymongo.errors import OperationFailure

from change_history.stored.names import ACTORS_KNOWN
from watcher.errors import UNAUTHORIZED, Verdict, classify, name_of

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

log = structlog.get_logger(__name__)

_ASK_AGAIN_S = 60.0
"""Seconds before the users are listed again because of an unknown digest."""
_STRANGERS = 1000
_NOBODY = sha256(b"").digest()
"""The digest in a session without a user: the deployment runs without authentication."""


class Users:
    """The users of a deployment, by their digests."""

    def __init__(self, watched: MongoClient[Any], history: Database[Any]) -> None:
        self._watched = watched
        self._kept = history.get_collection(ACTORS_KNOWN, write_concern=WriteConcern("majority"))
        self._names: dict[bytes, str] | None = None
        self._strangers: OrderedDict[bytes, float] = OrderedDict()
        self._refused = False

    def name_of(self, digest: bytes) -> str | None:
        """The user with a digest, as `user@database`; None: unknown, or no user."""
        if digest == _NOBODY:
            return None
        if self._names is None:
            self._names = {bytes(each["_id"]): each["name"] for each in self._kept.find({}, {"name": 1})}
            self.refresh()
        if digest not in self._names and time.monotonic() >= self._strangers.get(digest, 0.0):
            self.refresh()
            self._strangers[digest] = time.monotonic() + _ASK_AGAIN_S
            if len(self._strangers) > _STRANGERS:
                self._strangers.popitem(last=False)
        return self._names.get(digest)

    def refresh(self) -> None:
        """List the deployment's users, and store the new ones."""
        names = self._names if self._names is not None else {}
        new = {digest: user for digest, user in self._listed() if digest not in names}
        if new:
            self._kept.bulk_write([_kept(digest, user) for digest, user in new.items()])
            self._names = names | new

    def _listed(self) -> list[tuple[bytes, str]]:
        try:
            users = self._watched.admin.command({"usersInfo": {"forAllDBs": True}})["users"]
        except OperationFailure as error:
            if classify(error) is Verdict.TRANSIENT:
                raise
            if not self._refused:
                self._refused = True
                remedy = "grant viewUser on the cluster (`watcher roles`)" if error.code in UNAUTHORIZED else ""
                log.warning(
                    "the users of the deployment cannot be listed; only those that are known already are named",
                    error=name_of(error),
                    remedy=remedy,
                )
            return []
        self._refused = False
        return [(digest_of(name := f"{each['user']}@{each['db']}"), name) for each in users]


def _kept(digest: bytes, name: str) -> UpdateOne:
    update = {"$setOnInsert": {"name": name}, "$currentDate": {"seen_at": True}}
    return UpdateOne({"_id": Binary(digest)}, update, upsert=True)


def digest_of(name: str) -> bytes:
    """The digest of a user, `user@database` (src/mongo/db/logical_session_id_helpers.cpp)."""
    return sha256(name.encode("utf-8", "surrogatepass")).digest()
