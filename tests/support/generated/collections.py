"""Random operations on documents and on whole collections, which come, go, and change names."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Decimal128, Int64
from bson.raw_bson import RawBSONDocument
from hypothesis import strategies as st
from pymongo.errors import OperationFailure

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import document_to_python
from change_history.stored.reading import RAW
from tests.support.generated.documents import IDS, documents
from tests.support.generated.operations import COLLECTIONS, Operation, on_the_wire, operations

if TYPE_CHECKING:
    from random import Random

    from pymongo import MongoClient
    from pymongo.database import Database

    from tests.support.generated.documents import Draw
    from tests.support.recording import Recording

Documents = dict[bytes, bytes]
"""The documents of a collection, by the bytes of their `_id`s."""

NAMES = (*COLLECTIONS, "other")


class StateAt(NamedTuple):
    """What the server had.

    Attributes:
        time: cluster time of the last event up to then.
        collections: by name, those that are known.
    """

    time: ClusterTime
    collections: dict[str, Documents]


@st.composite
def _of_collections(draw: Draw) -> Operation:
    """Something that is done to a whole collection."""
    one, other = draw(st.permutations(NAMES))[:2]
    command: dict[str, Any]
    match draw(st.integers(0, 5)):
        case 0:
            command = {"drop": one}
        case 1:
            command = {"renameCollection": one, "to": other, "dropTarget": False}
        case 2:
            command = {"renameCollection": one, "to": other, "dropTarget": True}
        case 3:
            pipeline = [{"$match": {}}, {"$set": {"written": True}}, {"$out": other}]
            command = {"aggregate": one, "pipeline": pipeline, "cursor": {}}
        case 4:
            command = {"convertToCapped": one, "size": 1_000_000}
        case _:
            command = {"dropDatabase": 1}
    return Operation("collection", 0, [command])


@st.composite
def lineages(draw: Draw) -> list[Operation]:
    """Operations on documents, with some on collections between them."""
    found: list[Operation] = []
    for part in draw(st.lists(operations(), min_size=1, max_size=4)):
        found += [operation for operation in part if operation.commit is None][: draw(st.integers(3, 12))]
        found += draw(st.lists(_of_collections(), max_size=2))
        if draw(st.booleans()):
            seed = {"_id": draw(st.sampled_from(IDS)), **draw(documents())}
            found.append(Operation("insert", 0, [{"insert": draw(st.sampled_from(NAMES)), "documents": [seed]}]))
    return found


class World:
    """A watched database, and what it had.

    Args:
        client: the deployment.
        name: of the database.
        recording: records it.
    """

    def __init__(self, client: MongoClient[Any], name: str, recording: Recording) -> None:
        self._client = client
        self._name = name
        self._raw = client.get_database(name, codec_options=RAW)
        self._recording = recording
        self.events: list[bytes] = []
        self.moments: list[StateAt] = []

    def begin(self) -> None:
        """Drop what there is, and begin with empty collections, whose creation history knows of."""
        for name in NAMES:
            self._client[self._name].drop_collection(name)
        self._recording.catch_up()
        self._recording.forget()
        for name in COLLECTIONS:
            self._client[self._name].create_collection(name, changeStreamPreAndPostImages={"enabled": True})
        self._recording.catch_up()
        self.events, self.moments = [], []

    def run(self, operation: Operation) -> None:
        """Do something, record it, and look at what there is after each of its events, where that can be seen."""
        for command in operation.commands:
            self._send(command)
            new = self._recording.catch_up()
            self.events += new
            if not new:
                continue
            stamps = (raw.fields(entry)[b"cluster_time"][1] for entry in new)
            times = list(dict.fromkeys(ClusterTime.from_payload(stamp) for stamp in stamps))
            if operation.kind != "collection":
                for time in times[:-1]:
                    self.moments.append(StateAt(time, self._live(time)))
            self.moments.append(StateAt(times[-1], self._live()))

    def _send(self, command: dict[str, Any]) -> None:
        database = self._client[self._name]
        try:
            if "renameCollection" in command:
                names = {key: f"{self._name}.{command[key]}" for key in ("renameCollection", "to")}
                self._client.admin.command({**command, **names})
            else:
                database.command(on_the_wire(command), codec_options=RAW)
        except OperationFailure:
            pass  # the server refuses; nothing happened, or a part of it

    def _live(self, at: ClusterTime | None = None) -> dict[str, Documents]:
        """What the collections have, or had at a cluster time; without those that cannot be read then."""
        found: dict[str, Documents] = {}
        for name in NAMES:
            command: dict[str, Any] = {"find": name, "batchSize": 10_000}
            if at is not None:
                command["readConcern"] = {"level": "snapshot", "atClusterTime": at.timestamp}
            try:
                answer: Any = self._raw.command(command, codec_options=RAW)
            except OperationFailure:
                continue  # altered since then, or capped
            batch = raw.fields(raw.fields(bytes(answer.raw))[b"cursor"][1])[b"firstBatch"]
            found[name] = {id_of(document): document for _, document in raw.items(batch[1])}
        return found


def id_of(document: bytes) -> bytes:
    """The `_id` as type byte and payload."""
    kind, payload = raw.fields(document)[b"_id"]
    return bytes((kind,)) + payload


def python_id(key: bytes) -> Any:
    """The `_id` of a key."""
    return document_to_python(RawBSONDocument(raw.from_fields([(b"_id", (key[0], key[1:]))])))["_id"]


_NAMES = ("a", "b", "c")
_IDS: list[Any] = [1, 2, 3, "x", {"k": 1}]
_SAME: dict[int, list[Any]] = {1: [1, 1.0, Int64(1), Decimal128("1")], 2: [2, 2.0]}
_IMAGES: dict[str, Any] = {"changeStreamPreAndPostImages": {"enabled": True}}


class RandomWrites:
    """Does random things to a database.

    Args:
        database: where.
        dice: decides.
    """

    def __init__(self, database: Database[Any], dice: Random) -> None:
        self._database = database
        self._dice = dice
        for name in _NAMES:
            database.create_collection(name, **_IMAGES)

    def do(self, steps: int) -> None:
        """Do so many things; what the server refuses is skipped."""
        for _ in range(steps):
            action = self._turn if self._dice.random() < 0.04 else self._write
            with suppress(OperationFailure):
                action()

    def _id(self) -> Any:
        identity = self._dice.choice(_IDS)
        return self._dice.choice(_SAME.get(identity, [identity])) if not isinstance(identity, dict) else identity

    def _write(self) -> None:
        dice = self._dice
        collection, identity = self._database[dice.choice(_NAMES)], self._id()
        number = dice.randrange(100)
        kind = dice.randrange(10)
        if kind < 3:
            collection.insert_one({"_id": identity, "n": number, "tags": [number], "in": {"a": 1}})
        elif kind == 3:
            collection.delete_one({"_id": identity})
        elif kind == 4:
            collection.replace_one({"_id": identity}, {"m": number, "tags": []})
        elif kind == 5:
            collection.update_one({"_id": identity}, {"$push": {"tags": number}})
        elif kind == 6:
            collection.update_one(
                {"_id": identity}, [{"$set": {"tags": {"$slice": [["p", "q", "r"], number % 3 + 1]}}}]
            )
        elif kind == 7:
            collection.update_one({"_id": identity}, {"$unset": {"n": 1}, "$set": {"in.b": number}})
        else:
            collection.update_one({"_id": identity}, {"$set": {"n": number}})

    def _turn(self) -> None:
        dice, database = self._dice, self._database
        one, other = dice.sample(_NAMES, 2)
        kind = dice.randrange(5)
        if kind == 0:
            database.drop_collection(one)
            database.create_collection(one, **_IMAGES)
        elif kind == 1:
            database[one].rename(other, dropTarget=True)
            database.create_collection(one, **_IMAGES)
        elif kind == 2:
            list(database[one].aggregate([{"$match": {"n": {"$gt": 20}}}, {"$out": other}]))
        elif kind == 3:
            list(database[one].aggregate([{"$merge": {"into": other, "whenMatched": "replace"}}]))
        else:
            database.command({"convertToCapped": one, "size": 100_000})
            database.command({"collMod": one, **_IMAGES})
