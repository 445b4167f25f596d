#!/usr/bin/env bash
# deltalake answers `WHERE f = 1` with a NaN that it shows as 1.0, and replaces or deletes by a condition that NaN fulfils elsewhere only.
#
# Versions: deltalake 1.6.6, pyarrow 26.0.1, Python 3.11.
# Expected: tables written and read by the same library give 1.0 once; NaN is the greatest number to its SQL, as to its max() and ORDER BY.
# Seen:     rows 1.0, NaN:      SELECT * WHERE f = 1: two rows, 1.0 and 1.0; WHERE f <> 1: none
#           rows 0.0, NaN, 1.0: max(f) NaN, and f > 0.5 selects NaN, but f > 1 does not; delete("f > 1") deletes nothing, delete("f > 0.5")
#           deletes it, and mode="overwrite" with the predicate "f > 1" leaves it where it is; isnan(f) finds it.
# The statistics of a file leave NaN out; where they say that all of it matches, the constant is given for the value.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1
"$scratch/venv/bin/python" - "$scratch" <<'PY'
import math
import sys

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake


def made(name, values):
    place = f"{sys.argv[1]}/{name}"
    write_deltalake(place, pa.table({"f": values}))
    return place


def asked(place, what, condition="TRUE"):
    builder = QueryBuilder().register("t", DeltaTable(place))
    found = pa.table(builder.execute(f"SELECT {what} AS f FROM t WHERE {condition}")).column("f").to_pylist()
    print(f"SELECT {what} WHERE {condition}:", found)
    return [str(each) for each in found]


two = made("two", [1.0, math.nan])
assert asked(two, "f", "f = 1") == ["1.0", "1.0"]
assert asked(two, "count(*)", "f <> 1") == ["0"]
assert asked(two, "count(*)", "isnan(f)") == ["1"]

numbers = [0.0, math.nan, 1.0]
three = made("three", numbers)
assert asked(three, "max(f)") == ["nan"]
assert sorted(asked(three, "f", "f > 0.5")) == ["1.0", "nan"]
assert asked(three, "f", "f > 1") == []
for name, condition, deleted in (("a", "f > 1", 0), ("b", "f > 0.5", 2), ("c", "isnan(f)", 1)):
    count = DeltaTable(made(name, numbers)).delete(condition)["num_deleted_rows"]
    print(f"delete({condition!r}):", count)
    assert count == deleted
place = made("over", numbers)
write_deltalake(place, pa.table({"f": [5.0]}), mode="overwrite", predicate="f > 1")
assert sorted(map(str, DeltaTable(place).to_pyarrow_table().column("f").to_pylist())) == ["0.0", "1.0", "5.0", "nan"]
PY
