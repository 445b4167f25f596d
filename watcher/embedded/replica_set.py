"""Making one `mongod` a replica set of one, step by step, whatever state it is in."""

from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

# https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
_NOT_YET_INITIALIZED = 94

_PATIENCE_MS = 500


def connect(port: int) -> MongoClient[dict[str, Any]]:
    """Make a client of one server on 127.0.0.1, whatever its state.

    Args:
        port: Its TCP port.

    Returns:
        A client that the caller closes; it connects when first used.
    """
    return MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=_PATIENCE_MS)


def advance(client: MongoClient[dict[str, Any]], set_name: str, member: str | None) -> bool:
    """Bring the server one step nearer to being the writable primary of a set of one. Call it until it is.

    Args:
        client: As made by `connect`.
        set_name: The replica set's name.
        member: The server's ``host:port`` in the set; None leaves the set alone and only asks whether it answers.

    Returns:
        Whether it is ready.
    """
    try:
        hello = client.admin.command("hello")
        if member is None:
            return True
        if hello["isWritablePrimary"] and hello.get("me") == member:
            return True
        _configure(client, set_name, member)
    except PyMongoError:
        pass  # it starts, or is between two states; the caller has the deadline and the log
    return False


def _configure(client: MongoClient[dict[str, Any]], set_name: str, member: str) -> None:
    """Write the set's configuration where there is none, or where it names another port."""
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code == _NOT_YET_INITIALIZED:
            fresh = {"_id": set_name, "members": [{"_id": 0, "host": member}]}
            client.admin.command("replSetInitiate", fresh)
        return
    if [each["host"] for each in config["members"]] == [member]:
        return
    # The data was made under another port. The server finds itself in no member and has left the set; only force
    # brings it back (https://www.mongodb.com/docs/manual/reference/command/replSetReconfig/).
    config["members"] = [{**config["members"][0], "host": member}]
    config["version"] += 1
    client.admin.command("replSetReconfig", config, force=True)
