"""What a MongoDB user must be allowed to do, by the settings: the one list that `roles` prints and `doctor` checks.

Actions are those of https://www.mongodb.com/docs/manual/reference/privilege-actions/, resources those of
https://www.mongodb.com/docs/manual/reference/resource-document/. What matches what follows the server's
`buildResourceSearchList` (src/mongo/db/auth/authorization_session_impl.cpp).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from change_history import globs
from change_history.stored.names import HISTORY, REVERTS
from config.settings import Baseline, OnGap, PreImages
from watcher.targets.scope import is_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from config.settings import Settings
    from watcher.targets.scope import Scope

_APART = ("local", "config")
"""Databases that a privilege on all databases does not reach."""


class Resource(NamedTuple):
    """What an action is done to.

    Attributes:
        database: empty: any.
        collection: empty: any that is not the server's own.
        cluster: the deployment as a whole instead.
    """

    database: str = ""
    collection: str = ""
    cluster: bool = False

    def document(self) -> dict[str, Any]:
        """The resource as roles name it."""
        return {"cluster": True} if self.cluster else {"db": self.database, "collection": self.collection}

    def __str__(self) -> str:
        return "the cluster" if self.cluster else f"{self.database or '*'}.{self.collection or '*'}"


CLUSTER = Resource(cluster=True)
OPLOG = Resource("local", "oplog.rs")


class Need(NamedTuple):
    """One action on one resource.

    Attributes:
        resource: on what.
        action: MongoDB's name of it.
        use: what it is needed for.
        essential: without it, what the settings ask for is not done.
    """

    resource: Resource
    action: str
    use: str
    essential: bool = True


def watching(settings: Settings, scope: Scope) -> tuple[Need, ...]:
    """What the daemon needs on the watched deployment. None of it can change a document.

    Args:
        settings: say what it is to do.
        scope: what they say is watched.
    """
    stream = Resource(scope.database or "", scope.collection or "")
    enables = settings.pre_images is PreImages.ENABLE
    reads = settings.baseline is Baseline.INITIAL or settings.on_gap is OnGap.RECONCILE
    needs = [
        Need(stream, "changeStream", "follow the change stream"),
        Need(stream, "find", "follow the change stream, read existing documents"),
        *(
            Need(each, "listCollections", "know which collections there are", enables or reads)
            for each in _databases(scope)
        ),
    ]
    if enables:
        needs += [Need(resource, "collMod", "switch pre-images on") for resource in _collections(scope)]
    if settings.pre_images is not PreImages.OFF:
        needs.append(Need(CLUSTER, "getClusterParameter", "know how long pre-images are kept", essential=False))
    return (
        *needs,
        Need(
            CLUSTER, "replSetGetConfig", "bind positions to this very replica set, not only its name", essential=False
        ),
        Need(OPLOG, "find", "know how long it takes until the oplog overtakes the position", essential=False),
    )


def keeping(database: str) -> tuple[Need, ...]:
    """What the daemon needs on the deployment that keeps the history.

    Args:
        database: the history database.
    """
    there = Resource(database)
    essential = {
        "find": "know what is recorded",
        "insert": "record",
        "update": "save the position",
        "remove": "forget snapshots that late history has made wrong, and rejected events that were brought in",
        "createIndex": "make the indexes of the history",
    }
    useful = {
        "listCollections": "look whether the view of the changes is there",
        "createCollection": "make the view of the changes",
        "collMod": "bring the view of the changes up to date",
        "listIndexes": "let `watcher doctor` look at the indexes",
    }
    return (
        *(Need(there, action, use) for action, use in essential.items()),
        *(Need(there, action, use, essential=False) for action, use in useful.items()),
    )


def reading(database: str) -> tuple[Need, ...]:
    """What the commands need that only read history."""
    return (
        Need(Resource(database), "find", "read the history"),
        Need(Resource(database, HISTORY), "changeStream", "`watcher log --follow`", essential=False),
    )


def reverting(scope: Scope) -> tuple[Need, ...]:
    """What `watcher revert --yes` needs on the watched deployment, beside reading history."""
    return tuple(
        Need(resource, action, "put documents back")
        for resource in _collections(scope)
        for action in ("find", "insert", "update", "remove")
    )


def noting_reverts(database: str) -> tuple[Need, ...]:
    """What `watcher revert --yes` needs on the deployment that keeps the history, beside reading it."""
    return tuple(
        Need(Resource(database, REVERTS), action, "write down what was put back")
        for action in ("insert", "update", "remove")
    )


def documents(needs: Iterable[Need]) -> list[dict[str, Any]]:
    """Needs as the `privileges` of a role: one document for each resource."""
    actions: dict[Resource, list[str]] = {}
    for need in needs:
        actions.setdefault(need.resource, []).append(need.action)
    return [{"resource": resource.document(), "actions": list(dict.fromkeys(a))} for resource, a in actions.items()]


def missing(granted: Sequence[Mapping[str, Any]], needs: Iterable[Need]) -> tuple[Need, ...]:
    """The needs that no privilege covers.

    Args:
        granted: privileges as `connectionStatus` gives them: `{resource, actions}`.
        needs: what is needed.
    """
    return tuple(
        need
        for need in needs
        if not any(need.action in each["actions"] and reaches(each["resource"], need.resource) for each in granted)
    )


def reaches(granted: Mapping[str, Any], wanted: Resource) -> bool:
    """Whether a privilege on one resource is one on another.

    Args:
        granted: the resource of a privilege.
        wanted: where something is to be done.
    """
    if granted.get("anyResource"):
        return True
    if wanted.cluster or "db" not in granted or "collection" not in granted:
        return bool(wanted.cluster and granted.get("cluster"))
    database, collection = granted["db"], granted["collection"]
    if (database, collection) == (wanted.database, wanted.collection):
        return True
    ordinary = not wanted.collection.startswith("system.")
    if not collection:  # a whole database, or all of them
        same = database == wanted.database if database else bool(wanted.database) and wanted.database not in _APART
        return same and ordinary
    return not database and collection == wanted.collection


def _databases(scope: Scope) -> tuple[Resource, ...]:
    return _widest(Resource("" if is_pattern(name) else name) for name, _ in map(globs.split, scope.include))


def _collections(scope: Scope) -> tuple[Resource, ...]:
    """What is watched, as narrow as resources can say it."""
    return _widest(
        Resource() if is_pattern(database) else Resource(database, "" if is_pattern(collection) else collection)
        for database, collection in map(globs.split, scope.include)
    )


def _widest(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    """Each once, and none that another one reaches."""
    all_of_them = tuple(dict.fromkeys(resources))
    return tuple(
        one for one in all_of_them if not any(other != one and reaches(other.document(), one) for other in all_of_them)
    )
