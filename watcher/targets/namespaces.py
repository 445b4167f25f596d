"""The kind of a namespace: a collection, a capped one, a view, a time-series collection, or nothing.

Namespaces in `INCLUDE` without wildcards are checked before the stream is opened: not every kind has events.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from pymongo.errors import OperationFailure

from change_history import globs
from change_history.redaction_rules import like_a_path
from watcher.errors import FatalError, Verdict, classify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo import MongoClient

    from change_history.redaction_rules import Rule
    from watcher.targets.scope import Scope

COLLECTION, VIEW, TIME_SERIES = "collection", "view", "timeseries"


log = structlog.get_logger(__name__)


class MovedError(Exception):
    """A collection was dropped, renamed or replaced while it was read."""


class NamespaceKind(NamedTuple):
    """The kind of an existing namespace.

    Attributes:
        type: as in `listCollections`: `collection`, `view` or `timeseries`.
        uuid: UUID of the collection; another collection of the same name has another one. None: a view, or time-series.
        capped: whether the server removes the oldest documents when it is full.
        source: of a view, the collection or view of the same database that it shows; None: it is not a view.
    """

    type: str
    uuid: bytes | None
    capped: bool
    source: str | None


def kind_of(client: MongoClient[Any], namespace: str) -> NamespaceKind | None:
    """The kind of a namespace; None: it does not exist."""
    database, _, collection = namespace.partition(".")
    for info in client[database].list_collections(filter={"name": collection}):
        options, uuid = info.get("options", {}), info.get("info", {}).get("uuid")
        return NamespaceKind(
            info["type"], bytes(uuid) if uuid is not None else None, bool(options.get("capped")), options.get("viewOn")
        )
    return None


def collections_in(client: MongoClient[Any], scope: Scope) -> Iterator[str]:
    """The namespaces of the watched ordinary collections that exist."""
    databases = [scope.database] if scope.database is not None else client.list_database_names()
    for database in filter(scope.reaches, databases):
        for info in client[database].list_collections(filter={"type": COLLECTION}):
            if scope.covers(database, info["name"]):
                yield f"{database}.{info['name']}"


def meant_for_redaction(scope: Scope, collections: Iterable[str]) -> Iterator[tuple[str, Rule]]:
    """The globs in `EXCLUDE` that look like the path of a field, which `EXCLUDE` does not exclude.

    Args:
        scope: the scope of the settings.
        collections: the existing namespaces.

    Yields:
        The glob, and the redaction rule that would redact the field.
    """
    names = list(collections)
    for glob in scope.exclude:
        rule = like_a_path(glob, names)
        if rule is not None:
            yield glob, rule


def warn_of_paths(client: MongoClient[Any], scope: Scope) -> None:
    """Log a warning for each glob that `meant_for_redaction` finds. Missing privileges are not an error."""
    if not any("." in globs.split(glob)[1] for glob in scope.exclude):
        return
    everything = replace(scope, exclude=())
    try:
        names = list(collections_in(client, everything))
    except OperationFailure as error:
        if classify(error) is Verdict.TRANSIENT:
            raise
        return
    for glob, rule in meant_for_redaction(scope, names):
        log.warning(
            "WATCHER_EXCLUDE names no collection that there is, and excludes nothing; it reads like a field",
            exclude=glob,
            remedy=f"to withhold the field's values: WATCHER_REDACT={rule}",
        )


class UnwatchableError(FatalError):
    """The only namespace to be watched has no change stream."""


def check(client: MongoClient[Any], scope: Scope) -> None:
    """Log each namespace in `INCLUDE` without wildcards that cannot be recorded, and what to watch instead.

    Missing privileges are not an error.

    Raises:
        UnwatchableError: there is nothing else to watch, so the server would refuse the stream.
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
    """Why an included namespace cannot be recorded, and what to do; None: it can be."""
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


def _problem(client: MongoClient[Any], namespace: str, found: NamespaceKind) -> tuple[str, str] | None:
    """Why a namespace of this kind cannot be recorded, and what to do; None: it can be."""
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


def _shown(client: MongoClient[Any], namespace: str, found: NamespaceKind) -> str:
    """The collection that a view is based on; views of views are at most 20 deep."""
    database = namespace.partition(".")[0]
    below: NamespaceKind | None = found
    while below is not None and below.type == VIEW:
        namespace = f"{database}.{below.source}"
        below = kind_of(client, namespace)
    return namespace
