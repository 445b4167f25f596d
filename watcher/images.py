"""Pre-images: the server keeps a document's state before each change, if its collection is told to.

https://www.mongodb.com/docs/manual/changeStreams/#change-streams-with-document-pre--and-post-images
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from pymongo.errors import OperationFailure, PyMongoError

from watcher.errors import Verdict, classify, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient

    from watcher.scope import Scope

log = structlog.get_logger(__name__)

_OPTION = "changeStreamPreAndPostImages"
_UNLISTED = "collections cannot be listed; pre-images stay as they are"
_BUILDING = {12587: "BackgroundOperationInProgressForNamespace"}
_GONE = {26: "NamespaceNotFound"}


class PreImages:
    """Switches pre-images on for watched collections, and says so once for each.

    Without the privilege (`collMod`) it warns and goes on: old values are then recorded as unknown.

    Args:
        client: the watched deployment.
        scope: what is watched.
    """

    def __init__(self, client: MongoClient[Any], scope: Scope) -> None:
        self._client = client
        self._scope = scope

    def enable_existing(self) -> None:
        """Switch pre-images on for every watched collection there is."""
        for database in self._databases():
            try:
                for collection in self._without_images(database):
                    self._enable(database, collection)
            except OperationFailure as error:
                if classify(error) is Verdict.TRANSIENT:
                    raise
                log.warning(_UNLISTED, **_facts(database, "", error))

    def enable(self, namespace: str) -> None:
        """Switch pre-images on for a collection that has just appeared.

        Raises:
            pymongo.errors.PyMongoError: no answer; privileges lacking are no error.
        """
        database, _, collection = namespace.partition(".")
        if not self._scope.covers(database, collection):
            return
        try:
            if collection in set(self._without_images(database, collection)):
                self._enable(database, collection)
        except OperationFailure as error:
            if classify(error) is Verdict.TRANSIENT:
                raise
            log.warning(_UNLISTED, **_facts(database, collection, error))

    def _databases(self) -> Iterator[str]:
        if self._scope.database is not None:
            yield self._scope.database
            return
        try:
            yield from filter(self._scope.reaches, self._client.list_database_names())
        except OperationFailure as error:
            if classify(error) is Verdict.TRANSIENT:
                raise
            log.warning("databases cannot be listed; pre-images stay as they are", error=name_of(error))

    def _without_images(self, database: str, only: str | None = None) -> Iterator[str]:
        wanted = {"type": "collection", f"options.{_OPTION}.enabled": {"$ne": True}}
        if only is not None:
            wanted["name"] = only
        for info in self._client[database].list_collections(filter=wanted):
            if self._scope.covers(database, info["name"]):
                yield info["name"]

    def _enable(self, database: str, collection: str) -> None:
        try:
            self._client[database].command({"collMod": collection, _OPTION: {"enabled": True}})
        except OperationFailure as error:
            if classify(error) is Verdict.TRANSIENT:
                raise
            if error.code in _BUILDING:
                log.info(
                    "an index is being built; pre-images are switched on after it",
                    **_facts(database, collection, error),
                )
            elif error.code not in _GONE:
                log.warning(
                    "pre-images could not be switched on; old values will be unknown",
                    remedy="grant collMod on it, switch them on yourself, or set WATCHER_PRE_IMAGES=use",
                    **_facts(database, collection, error),
                )
        else:
            log.info("pre-images switched on", namespace=f"{database}.{collection}")


def _facts(database: str, collection: str, error: PyMongoError) -> dict[str, str]:
    return {"namespace": f"{database}.{collection}".rstrip("."), "error": name_of(error)}
