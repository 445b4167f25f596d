"""Random writes in which collections themselves come, go, and change names. Every collection keeps pre-images."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bson import Decimal128, Int64
from pymongo.errors import OperationFailure

if TYPE_CHECKING:
    from random import Random

    from pymongo.database import Database

COLLECTIONS = ("a", "b", "c")
IDS: list[Any] = [1, 2, 3, "x", {"k": 1}]
SAME: dict[int, list[Any]] = {1: [1, 1.0, Int64(1), Decimal128("1")], 2: [2, 2.0]}
IMAGES: dict[str, Any] = {"changeStreamPreAndPostImages": {"enabled": True}}


class Wild:
    """Does random things to a database.

    Args:
        database: where.
        dice: decides.
    """

    def __init__(self, database: Database[Any], dice: Random) -> None:
        self._database = database
        self._dice = dice
        for name in COLLECTIONS:
            database.create_collection(name, **IMAGES)

    def do(self, steps: int) -> None:
        """Do so many things; what the server refuses is skipped."""
        for _ in range(steps):
            action = self._turn if self._dice.random() < 0.04 else self._write
            with suppress(OperationFailure):
                action()

    def _id(self) -> Any:
        identity = self._dice.choice(IDS)
        return self._dice.choice(SAME.get(identity, [identity])) if not isinstance(identity, dict) else identity

    def _write(self) -> None:
        dice = self._dice
        collection, identity = self._database[dice.choice(COLLECTIONS)], self._id()
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
        one, other = dice.sample(COLLECTIONS, 2)
        kind = dice.randrange(5)
        if kind == 0:
            database.drop_collection(one)
            database.create_collection(one, **IMAGES)
        elif kind == 1:
            database[one].rename(other, dropTarget=True)
            database.create_collection(one, **IMAGES)
        elif kind == 2:
            list(database[one].aggregate([{"$match": {"n": {"$gt": 20}}}, {"$out": other}]))
        elif kind == 3:
            list(database[one].aggregate([{"$merge": {"into": other, "whenMatched": "replace"}}]))
        else:
            database.command({"convertToCapped": one, "size": 100_000})
            database.command({"collMod": one, **IMAGES})
