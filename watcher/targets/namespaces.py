"""What a name stands for: a collection, a capped one, a view, a time-series collection, or nothing.

What `INCLUDE` names exactly is looked at before the stream is opened: not everything that has a name has events.
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


def kind_of(client: MongoClient[Any], namespace: str) -> NamespaceKind | None:
    """What there is under a name; None: nothing."""
    database, _, collection = namespace.partition(".")
    for info in client[database].list_collections(filter={"name": collection}):
        options, uuid = info.get("options", {}), info.get("info", {}).get("uuid")
        return NamespaceKind(
            info["type"], bytes(uuid) if uuid is not None else None, bool(options.get("capped")), options.get("viewOn")
        )
    return None


def collections_in(client: MongoClient[Any], scope: Scope) -> Iterator[str]:
    """The ordinary collections that are watched, by namespace."""
    databases = [scope.database] if scope.database is not None else client.list_database_names()
    for database in filter(scope.reaches, databases):
        for info in client[database].list_collections(filter={"type": COLLECTION}):
            if scope.covers(database, info["name"]):
                yield f"{database}.{info['name']}"


def meant_for_redaction(scope: Scope, collections: Iterable[str]) -> Iterator[tuple[str, Rule]]:
    """What stands in `EXCLUDE` and reads like the path of a field, of which it excludes nothing.

    Args:
        scope: what the settings say.
        collections: the namespaces that there are.

    Yields:
        The glob, and the rule that would withhold the field.
    """
    names = list(collections)
    for glob in scope.exclude:
        rule = like_a_path(glob, names)
        if rule is not None:
            yield glob, rule


def warn_of_paths(client: MongoClient[Any], scope: Scope) -> None:
    """Warn of what `meant_for_redaction` finds.

    Raises:
        pymongo.errors.PyMongoError: no answer; privileges lacking are no error.
    """
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
    """Why nothing of a name that is included can be recorded, and what to do; None: it can be."""
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


def _shown(client: MongoClient[Any], namespace: str, found: NamespaceKind) -> str:
    """The collection at the bottom of a view; views of views are at most 20 deep."""
    database = namespace.partition(".")[0]
    below: NamespaceKind | None = found
    while below is not None and below.type == VIEW:
        namespace = f"{database}.{below.source}"
        below = kind_of(client, namespace)
    return namespace
