"""What a name stands for: a collection, a capped one, a view, a time-series collection, or nothing.

What `INCLUDE` names exactly is looked at before the stream is opened: not everything that has a name has events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from pymongo.errors import OperationFailure

from watcher.errors import FatalError, Verdict, classify

if TYPE_CHECKING:
    from pymongo import MongoClient

    from watcher.targets.scope import Scope

COLLECTION, VIEW, TIME_SERIES = "collection", "view", "timeseries"


log = structlog.get_logger(__name__)


class MovedError(Exception):
    """A collection was dropped, renamed or replaced while it was read."""


class Kind(NamedTuple):
    """What there is under a name.

    Attributes:
        type: as `listCollections` says it: `collection`, `view` or `timeseries`.
        uuid: of this very collection; another one of the same name has another. None: a view, or time-series.
        capped: the server removes its oldest documents when it is full.
        source: of a view, the collection or view of the same database that it shows.
    """

    type: str
    uuid: bytes | None
    capped: bool
    source: str | None


def kind_of(client: MongoClient[Any], namespace: str) -> Kind | None:
    """What there is under a name; None: nothing."""
    database, _, collection = namespace.partition(".")
    for info in client[database].list_collections(filter={"name": collection}):
        options, uuid = info.get("options", {}), info.get("info", {}).get("uuid")
        return Kind(
            info["type"], bytes(uuid) if uuid is not None else None, bool(options.get("capped")), options.get("viewOn")
        )
    return None


class UnwatchableError(FatalError):
    """The only thing to be watched has no change stream."""


def check(client: MongoClient[Any], scope: Scope) -> None:
    """Say of each name in `INCLUDE` without wildcards if nothing of it can be recorded, and what to watch instead.

    Raises:
        UnwatchableError: there is nothing else to watch, so the server would refuse the stream.
        pymongo.errors.PyMongoError: no answer; privileges lacking are no error.
    """
    for namespace in scope.exact:
        try:
            problem = problem_of(client, scope, namespace)
        except OperationFailure as error:
            if classify(error) is Verdict.TRANSIENT:
                raise
            return
        if problem is None:
            continue
        if scope.collection is not None and scope.covers(*namespace.split(".", 1)):
            raise UnwatchableError(f"{namespace}: {problem[0]}.", f"{problem[1][0].upper()}{problem[1][1:]}.")
        log.warning(problem[0], namespace=namespace, remedy=problem[1])


def problem_of(client: MongoClient[Any], scope: Scope, namespace: str) -> tuple[str, str] | None:
    """Why nothing of a name that is included can be recorded, and what to do; None: it can be.

    Raises:
        pymongo.errors.PyMongoError: no answer, or a privilege is lacking.
    """
    if scope.contexts and namespace.partition(".")[2] == scope.contexts:
        return (
            "context documents are never recorded",
            "take it out of WATCHER_INCLUDE, or give contexts another collection: WATCHER_CONTEXT_COLLECTION",
        )
    if not scope.covers(*namespace.split(".", 1)):
        return (
            "included, and never watched",
            "it is excluded too, or in the history database: take it out of WATCHER_INCLUDE",
        )
    found = kind_of(client, namespace)
    return _problem(client, namespace, found) if found is not None else None


def _problem(client: MongoClient[Any], namespace: str, found: Kind) -> tuple[str, str] | None:
    """Why nothing of a name can be recorded, and what to do; None: it can be."""
    if found.type == COLLECTION:
        return None
    if found.type == VIEW:
        shown = _shown(client, namespace, found)
        return (
            "a view has no events of its own, so nothing of it is recorded",
            f"watch the collection that it shows, WATCHER_INCLUDE={shown}, and those that its pipeline looks up",
        )
    return (
        "MongoDB has no change stream for time-series collections, so nothing of it is recorded",
        "take it out of WATCHER_INCLUDE; what has to be followed must be in an ordinary collection",
    )


def _shown(client: MongoClient[Any], namespace: str, found: Kind) -> str:
    """The collection at the bottom of a view; views of views are at most 20 deep."""
    database = namespace.partition(".")[0]
    below: Kind | None = found
    while below is not None and below.type == VIEW:
        namespace = f"{database}.{below.source}"
        below = kind_of(client, namespace)
    return namespace
