"""The server manual's pages on change events: one test for each page, with the event that the page shows.

https://www.mongodb.com/docs/manual/reference/change-events/
"""

from __future__ import annotations

import datetime as dt
from hashlib import blake2b
from typing import Any

import bson
from bson import Binary, Int64, ObjectId, Timestamp

from change_history.bson.values import document_to_python
from watcher.events import record

TOKEN = bytes.fromhex("8259AF04CB0000000229295A1004B1A0")
NOON = dt.datetime(2023, 3, 1, 17, 9, 28, 128000, tzinfo=dt.UTC)
COLLECTION = Binary(bytes(range(16)), 4)
ALICE = ObjectId("599af247bb69cd89961c986d")
SESSION = {"id": Binary(bytes(16), 4), "uid": bytes(32)}
USERS = {"db": "engineering", "coll": "users"}


def recorded(operation: str, **more: Any) -> dict[str, Any]:
    """The history of an event with the envelope that all pages share."""
    event = {
        "_id": {"_data": TOKEN.hex().upper()},
        "operationType": operation,
        "clusterTime": Timestamp(1_677_690_568, 2),
        "wallTime": NOON,
        **more,
    }
    return document_to_python(record.record(bson.encode(event)))


def history(operation: str, **more: Any) -> dict[str, Any]:
    """The history document expected, with what all of them share."""
    return {
        "_id": (1_677_690_568).to_bytes(4, "big") + (2).to_bytes(4, "big") + blake2b(TOKEN, digest_size=8).digest(),
        "operation": operation,
        "timestamp": NOON,
        "cluster_time": Timestamp(1_677_690_568, 2),
        "changes": [],
        "resume_token": TOKEN,
        **more,
    }


def about_collection(operation: str, coll: str, description: dict[str, Any], **more: Any) -> None:
    """Check an expanded event about a collection: its description is kept as the server gives it."""
    found = recorded(
        operation,
        collectionUUID=COLLECTION,
        ns={"db": "test", "coll": coll},
        operationDescription=description,
        **more,
    )

    assert found == history(operation, namespace=f"test.{coll}", description={**description, **more})


def test_create() -> None:
    """With the options that the collection was created with."""
    about_collection("create", "authors", {"idIndex": {"v": 2, "key": {"_id": 1}, "name": "_id_"}})


def test_create_indexes() -> None:
    """`createIndexes`: with every index."""
    about_collection("createIndexes", "authors", {"indexes": [{"v": 2, "key": {"name": 1}, "name": "name_1"}]})


def test_delete() -> None:
    """With a pre-image every last value is kept; without one they are said to be unknown."""
    about = {"ns": USERS, "documentKey": {"_id": ALICE}}
    expected = {"namespace": "engineering.users", "document_id": ALICE}

    assert recorded("delete", **about, fullDocumentBeforeChange={"_id": ALICE, "userName": "alice123"}) == history(
        "delete",
        **expected,
        changes=[{"field": "_id", "old_value": ALICE}, {"field": "userName", "old_value": "alice123"}],
    )
    assert recorded("delete", **about) == history(
        "delete", **expected, changes=[{"field": "", "path": [], "old_value_from": "unknown"}]
    )


def test_drop() -> None:
    """Of a collection: an event of its own, and none of its documents."""
    assert recorded("drop", collectionUUID=COLLECTION, ns=USERS) == history("drop", namespace="engineering.users")


def test_drop_database() -> None:
    """`dropDatabase`: its namespace is the database alone."""
    assert recorded("dropDatabase", ns={"db": "engineering"}) == history("dropDatabase", namespace="engineering")


def test_drop_indexes() -> None:
    """`dropIndexes`: with every index that is gone."""
    about_collection("dropIndexes", "authors", {"indexes": [{"v": 2, "key": {"name": 1}, "name": "name_1"}]})


def test_insert() -> None:
    """In a transaction, as on the page: field by field, with session and number."""
    found = recorded(
        "insert",
        txnNumber=Int64(1),
        lsid=SESSION,
        collectionUUID=COLLECTION,
        ns=USERS,
        documentKey={"userName": "alice123", "_id": ALICE},
        fullDocument={"_id": ALICE, "userName": "alice123", "name": "Alice"},
    )

    assert found == history(
        "insert",
        namespace="engineering.users",
        document_id=ALICE,
        changes=[
            {"field": "_id", "new_value": ALICE},
            {"field": "userName", "new_value": "alice123"},
            {"field": "name", "new_value": "Alice"},
        ],
        transaction={"session": SESSION, "number": Int64(1)},
    )


def test_invalidate() -> None:
    """The end of a stream: about no namespace."""
    assert recorded("invalidate") == history("invalidate")


def test_modify() -> None:
    """`collMod`: what was asked for, and how it was before."""
    about_collection(
        "modify",
        "authors",
        {"index": {"name": "name_1", "hidden": True}},
        stateBeforeChange={"collectionOptions": {"uuid": COLLECTION}, "indexOptions": {"hidden": False}},
    )


def test_rename() -> None:
    """With the new name, once, though the event has it twice."""
    to = {"db": "engineering", "coll": "people"}
    found = recorded(
        "rename",
        collectionUUID=COLLECTION,
        ns=USERS,
        to=to,
        operationDescription={"to": to, "dropTarget": COLLECTION},
    )

    assert found == history("rename", namespace="engineering.users", description={"to": to, "dropTarget": COLLECTION})


def test_replace() -> None:
    """With a pre-image only what differs; without one, the whole document, its old values unknown."""
    about = {
        "collectionUUID": COLLECTION,
        "ns": USERS,
        "documentKey": {"_id": ALICE},
        "fullDocument": {"_id": ALICE, "userName": "alice123", "name": "Alice"},
    }
    expected = {"namespace": "engineering.users", "document_id": ALICE}
    before = {"_id": ALICE, "userName": "alice123", "name": "Alicia"}

    assert recorded("replace", **about, fullDocumentBeforeChange=before) == history(
        "replace", **expected, changes=[{"field": "name", "old_value": "Alicia", "new_value": "Alice"}]
    )
    assert recorded("replace", **about) == history(
        "replace",
        **expected,
        changes=[
            {"field": "_id", "new_value": ALICE, "old_value_from": "unknown"},
            {"field": "userName", "new_value": "alice123", "old_value_from": "unknown"},
            {"field": "name", "new_value": "Alice", "old_value_from": "unknown"},
        ],
    )


def test_refine_collection_shard_key() -> None:
    """`refineCollectionShardKey`: both keys."""
    about_collection(
        "refineCollectionShardKey", "users", {"shardKey": {"_id": 1, "name": 1}, "oldShardKey": {"_id": 1}}
    )


def test_reshard_collection() -> None:
    """`reshardCollection`: both keys and how the new chunks were laid out."""
    about_collection(
        "reshardCollection",
        "users",
        {
            "reshardUUID": Binary(bytes(16), 4),
            "shardKey": {"_id": 1, "name": 1},
            "oldShardKey": {"_id": 1},
            "unique": False,
            "numInitialChunks": Int64(1),
            "collation": {"locale": "simple"},
            "zones": [{"zone": "zone1", "min": {"_id": 0}, "max": {"_id": 1}}],
        },
    )


def test_shard_collection() -> None:
    """`shardCollection`: the key and how the chunks were laid out."""
    about_collection(
        "shardCollection",
        "users",
        {"shardKey": {"_id": 1}, "unique": False, "numInitialChunks": Int64(0), "presplitHashedZones": False},
    )


def test_update() -> None:
    """The ordinary description, as the page has it, without images: new values right, old ones unknown."""
    found = recorded(
        "update",
        collectionUUID=COLLECTION,
        ns=USERS,
        documentKey={"_id": ALICE},
        updateDescription={
            "updatedFields": {"email": "alice@10gen.com"},
            "removedFields": ["phoneNumber"],
            "truncatedArrays": [{"field": "vacation_time", "newSize": 36}],
        },
    )

    unknown = {"old_value_from": "unknown"}
    assert found == history(
        "update",
        namespace="engineering.users",
        document_id=ALICE,
        changes=[
            {"field": "vacation_time", **unknown, "truncated_to": 36},
            {"field": "phoneNumber", **unknown},
            {"field": "email", "new_value": "alice@10gen.com", **unknown},
        ],
    )


def test_update_with_disambiguated_paths() -> None:
    """The page's `home.town`, one key, and `residences.0.0`, an index and then a key."""
    found = recorded(
        "update",
        ns=USERS,
        documentKey={"_id": ALICE},
        updateDescription={
            "updatedFields": {"home.town": "Rome", "residences.0.0": "Oslo"},
            "removedFields": [],
            "truncatedArrays": [],
            "disambiguatedPaths": {"home.town": ["home.town"], "residences.0.0": ["residences", 0, "0"]},
        },
    )

    assert [(change["field"], change["path"]) for change in found["changes"]] == [
        ("home.town", ["home.town"]),
        ("residences.0.0", ["residences", 0, "0"]),
    ]
