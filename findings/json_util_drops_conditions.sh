#!/usr/bin/env bash
# bson.json_util drops `$nin` beside `$regex`, so that a filter matches what it excluded, and a partial index comes back as another one.
#
# Versions: pymongo 4.20.1 (its package bson), Python 3.11.
# Expected: loads(dumps(x)) == x in canonical Extended JSON, or an error: {"$oid": …, "x": 1} and {"$date": …, "x": 1} are refused as
#           having an extra field, and a MongoDB query's {"$regex": "^a", "$nin": ["b"]} is no regular expression.
# Seen:     {"name": {"$regex": "^a", "$nin": ["ab"]}} -> {"name": Regex("^a")}, silently; likewise `$ne`, `$exists`, `$not`;
#           {"$binary": {"base64": "AA==", "subType": "00"}, "x": 1} -> b"\x00", as silently.
# What reads filters as Extended JSON has to look at the keys itself.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check pymongo==4.20.1
"$scratch/venv/bin/python" - <<'PY'
from bson import Regex, json_util


def there_and_back(value):
    read = json_util.loads(json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS))
    print(value, "->", read)
    return read


for key, condition in (("$nin", ["ab"]), ("$ne", "ab"), ("$exists", True), ("$not", {"$in": ["ab"]})):
    assert there_and_back({"name": {"$regex": "^a", key: condition}}) == {"name": Regex("^a")}
assert there_and_back({"$regex": "^a", "$options": "i", "$nin": ["ab"]}) == Regex("^a", "i")
assert there_and_back({"$binary": {"base64": "AA==", "subType": "00"}, "x": 1}) == b"\x00"
refused = (
    {"$oid": "0" * 24, "x": 1},
    {"$date": {"$numberLong": "0"}, "x": 1},
    {"$regularExpression": {"pattern": "a", "options": ""}, "x": 1},
)
for value in refused:
    try:
        there_and_back(value)
        raise SystemExit(f"{value} is read now")
    except TypeError as error:
        print(error)
PY
