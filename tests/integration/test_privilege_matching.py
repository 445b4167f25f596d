"""What `doctor` thinks a privilege reaches, against what the server lets its holder do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from watcher.operations.needs import OPLOG, Resource, reaches

if TYPE_CHECKING:
    from tests.support.servers import Secured

GRANTED = [
    {"db": "", "collection": ""},
    {"db": "shop", "collection": ""},
    {"db": "shop", "collection": "users"},
    {"db": "", "collection": "users"},
    {"db": "shop", "collection": "system.views"},
    {"db": "", "collection": "system.views"},
    {"db": "local", "collection": ""},
    {"db": "local", "collection": "oplog.rs"},
    {"db": "config", "collection": ""},
    {"anyResource": True},
]
COLLECTIONS = [
    Resource("shop", "users"),
    Resource("shop", "orders"),
    Resource("shop2", "users"),
    Resource("shop", "system.views"),
    Resource("config", "transactions"),
    OPLOG,
]
DATABASES = [Resource("shop"), Resource("shop2"), Resource("local"), Resource("config")]


def allowed(client: MongoClient[Any], database: str, command: dict[str, Any]) -> bool:
    """Whether the server lets us; that what is asked for is not there is no matter."""
    try:
        client[database].command(command)
    except OperationFailure as error:
        if error.code != 13:
            raise
        return False
    return True


def holder(deployment: Secured, granted: dict[str, Any], *actions: str) -> MongoClient[Any]:
    """A client of someone with one privilege."""
    return MongoClient(deployment.user("holder", [{"resource": granted, "actions": [*actions]}]))


@pytest.mark.parametrize("granted", GRANTED, ids=str)
def test_a_privilege_reaches_what_the_server_says_it_does(deployment: Secured, granted: dict[str, Any]) -> None:
    """Else a privilege that is there is asked for, or one that is missing is not."""
    with holder(deployment, granted, "find", "listCollections", "changeStream") as client:
        for wanted in COLLECTIONS:
            command = {"find": wanted.collection, "limit": 1, "singleBatch": True}
            assert reaches(granted, wanted) is allowed(client, wanted.database, command), wanted
        for wanted in DATABASES:
            assert reaches(granted, wanted) is allowed(client, wanted.database, {"listCollections": 1}), wanted
        stream = {"aggregate": 1, "pipeline": [{"$changeStream": {"allChangesForCluster": True}}], "cursor": {}}
        assert reaches(granted, Resource()) is allowed(client, "admin", stream)
        narrow = {**stream, "pipeline": [{"$changeStream": {}}]}
        assert reaches(granted, Resource("shop")) is allowed(client, "shop", narrow)
        assert reaches(granted, Resource("shop", "users")) is allowed(client, "shop", {**narrow, "aggregate": "users"})


def test_the_cluster_is_a_resource_of_its_own(deployment: Secured) -> None:
    """All databases are not the deployment."""
    for granted in ({"cluster": True}, {"anyResource": True}):
        with holder(deployment, granted, "replSetGetConfig") as client:
            assert reaches(granted, Resource(cluster=True)) is allowed(client, "admin", {"replSetGetConfig": 1})
