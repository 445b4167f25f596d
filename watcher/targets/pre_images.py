"""Pre-images: the server stores a document's state before each change, if that is enabled for its collection.

https://www.mongodb.com/docs/manual/changeStreams/#change-streams-with-document-pre--and-post-images
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import structlog
from pymongo.errors import OperationFailure, PyMongoError

from watcher.errors import Verdict, classify, name_of
from watcher.retry import StoppedError
from watcher.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from threading import Event

    from pymongo import MongoClient

    from watcher.retry import Retry
    from watcher.targets.scope import Scope

log = structlog.get_logger(__name__)

_OPTION = "changeStreamPreAndPostImages"
_UNLISTED = "collections cannot be listed; pre-images stay as they are"
_BUILDING = {12587: "BackgroundOperationInProgressForNamespace"}
_SECOND_LOOK_AFTER_S = 1.0
_GONE = {26: "NamespaceNotFound"}


class PreImages:
    """Enables pre-images for watched collections, and logs it once for each.

    Without the privilege (`collMod`), it only logs a warning: old values are then recorded as unknown.
    """

    def __init__(self, client: MongoClient[Any], scope: Scope) -> None:
        self._client = client
        self._scope = scope
        self._unseen: SimpleQueue[str] = SimpleQueue()

    def enable_existing(self) -> None:
        """Enable pre-images for every existing watched collection."""
        for database in self._databases():
            with _listing(database):
                for collection in self._without_images(database):
                    self._enable(database, collection)

    def enable(self, namespace: str) -> None:
        """Enable pre-images for a collection that has just appeared. Missing privileges are not an error.

        Its creation event can arrive a moment before the server lists the collection. So a collection that is not
        listed was either dropped again, or is found later by `look_again`.
        """
        if not self._is_seen(namespace):
            self._unseen.put(namespace)

    def look_again(self, stop: Event, retry: Retry) -> None:
        """Check a second time for collections that were not listed when they had just appeared, until the stop."""
        with suppress(StoppedError):
            while not stop.wait(_SECOND_LOOK_AFTER_S):
                for _ in range(self._unseen.qsize()):
                    retry.call(Step.ENABLE_PRE_IMAGES, partial(self._is_seen, self._unseen.get()))

    def _is_seen(self, namespace: str) -> bool:
        """Whether a collection exists; if so, its pre-images are enabled, if possible."""
        database, _, collection = namespace.partition(".")
        if not self._scope.covers(database, collection):
            return True
        seen = True  # assumed if collections cannot be listed
        with _listing(database, collection):
            found = next(self._client[database].list_collections(filter={"name": collection}), None)
            seen = found is not None
            if found is not None and found["type"] == "collection" and not _has_images(found):
                seen = self._enable(database, collection)
        return seen

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

    def _without_images(self, database: str) -> Iterator[str]:
        wanted = {"type": "collection", f"options.{_OPTION}.enabled": {"$ne": True}}
        for info in self._client[database].list_collections(filter=wanted):
            if self._scope.covers(database, info["name"]):
                yield info["name"]

    def _enable(self, database: str, collection: str) -> bool:
        """Enable pre-images; False: there is no such collection."""
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
            elif error.code in _GONE:
                return False
            else:
                log.warning(
                    "pre-images could not be switched on; old values will be unknown",
                    remedy="grant collMod on it, switch them on yourself, or set WATCHER_PRE_IMAGES=use",
                    **_facts(database, collection, error),
                )
        else:
            log.info("pre-images switched on", namespace=f"{database}.{collection}")
        return True


@contextmanager
def _listing(database: str, collection: str = "") -> Iterator[None]:
    """Log a warning and continue if the user may not list collections."""
    try:
        yield
    except OperationFailure as error:
        if classify(error) is Verdict.TRANSIENT:
            raise
        log.warning(_UNLISTED, **_facts(database, collection, error))


def _has_images(info: Mapping[str, Any]) -> bool:
    return bool(info.get("options", {}).get(_OPTION, {}).get("enabled"))


def _facts(database: str, collection: str, error: PyMongoError) -> dict[str, str]:
    return {"namespace": f"{database}.{collection}".rstrip("."), "error": name_of(error)}
