"""Identifies a deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo.errors import OperationFailure

from watcher.errors import NotAReplicaSetError, NotInitiatedError

if TYPE_CHECKING:
    from pymongo import MongoClient


class ReplicaSet(NamedTuple):
    """A replica set: its name, and its `replicaSetId` if the user may read it."""

    name: str
    id: str | None


def identify(client: MongoClient[Any]) -> ReplicaSet:
    """Identify a deployment.

    Reading the id needs the privilege `replSetGetConfig`; without it only the name is known.

    Raises:
        NotAReplicaSetError: it is a standalone server, which has no change streams.
        NotInitiatedError: it is a member that waits for rs.initiate(); transient.
    """
    hello = client.admin.command("hello")
    name = hello.get("setName")
    if name is None and hello.get("isreplicaset"):
        raise NotInitiatedError("the replica set is not initiated yet")
    if name is None and hello.get("msg") != "isdbgrid":
        raise NotAReplicaSetError(
            "WATCHER_MONGODB_URI leads to a standalone mongod, which has no change streams.",
            "Start it with --replSet rs0 and run rs.initiate() once in mongosh; a single node will do.",
        )
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure:
        return ReplicaSet(str(name or "sharded"), None)
    return ReplicaSet(str(name), str(config["settings"]["replicaSetId"]))
