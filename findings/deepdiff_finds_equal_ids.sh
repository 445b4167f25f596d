#!/usr/bin/env bash
# deepdiff says of two different ObjectIds, Decimal128s or Timestamps that there is no difference.
#
# Versions: deepdiff 9.1.0, pymongo 4.20.1, Python 3.11. No server is needed.
# Expected: documents that differ in one value, of whatever BSON type, have a difference.
# Seen:     DeepDiff({"v": a}, {"v": b}) is {} although a != b, for ObjectId, Decimal128, Timestamp and DBRef; also with ignore_order.
#           DatetimeMS, Regex, str and MinKey against MaxKey are told apart.
# So it cannot say whether two versions of a document are the same one. Known for ObjectId since 2023 (its issue 381).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check deepdiff==9.1.0 pymongo==4.20.1
"$scratch/venv/bin/python" - "$scratch" <<'PY'
import sys

from bson import DatetimeMS, DBRef, Decimal128, MaxKey, MinKey, ObjectId, Regex, Timestamp
from deepdiff import DeepDiff

pairs = [
    (ObjectId("0" * 24), ObjectId("1" * 24), False),
    (Decimal128("1.0"), Decimal128("2.0"), False),
    (Timestamp(1, 1), Timestamp(1, 2), False),
    (DBRef("a", 1), DBRef("a", 2), False),
    (DatetimeMS(1), DatetimeMS(2), True),
    (Regex("a", "i"), Regex("b", "i"), True),
    (MinKey(), MaxKey(), True),
    ("a", "b", True),
]
for one, other, told in pairs:
    assert one != other
    seen = bool(DeepDiff({"v": one}, {"v": other}))
    print(f"{one!r} and {other!r}: {'different' if seen else 'no difference'}")
    assert seen is told
assert not DeepDiff([ObjectId("0" * 24)], [ObjectId("1" * 24)], ignore_order=True)
print("as described", file=sys.stderr)
PY
