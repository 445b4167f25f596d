"""A load of mixed operations from outside: mongosh where there is one, else the same by the driver."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne

if TYPE_CHECKING:
    from pymongo.database import Database

MONGOSH = os.environ.get("WATCHER_TEST_MONGOSH") or shutil.which("mongosh")

_SCRIPT = Path(__file__).with_name("load.js")


def make_collections(database: Database[Any]) -> None:
    """Make the collections of the load with pre-images, so that every old value is told by the server."""
    for name in ("users", "orders", "a.b"):
        database.create_collection(name, changeStreamPreAndPostImages={"enabled": True})


def mongosh_load(uri: str, database: str, operations: int, seed: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start `mongosh` with a few thousand mixed operations."""
    environment = {
        **os.environ,
        "LOAD_DATABASE": database,
        "LOAD_OPERATIONS": str(operations),
        "LOAD_SEED": str(seed),
        "HOME": str(folder),
    }
    assert MONGOSH is not None
    command = [MONGOSH, "--quiet", "--norc", uri, str(_SCRIPT)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def driver_load(database: Database[Any], operations: int, turn: int = 0) -> None:
    """A load by the driver, in bulk, so that a kill lands in the middle of a batch. Each turn has ids of its own."""
    for start in range(0, operations, 100):
        database.users.bulk_write(
            [
                InsertOne({"_id": f"{turn}i{start}", "n": start, "tags": [1, 2, 3]}),
                ReplaceOne({"_id": start % 7}, {"n": start, "name": "replaced"}, upsert=True),
                *(
                    UpdateOne({"_id": f"{turn}i{start}"}, {"$set": {f"f{number % 5}": number}, "$inc": {"n": 1}})
                    for number in range(97)
                ),
                DeleteOne({"_id": f"{turn}i{start - 500}"}),
            ]
        )
