#!/usr/bin/env bash
# DuckDB does not find a NaN in a Parquet file that pyarrow wrote, although it reads and prints it.
#
# Versions: DuckDB 2.0.1, pyarrow 26.0.1, Python 3.11.
# Expected: the same answers from a file as from a table with the same three values 0, NaN, 1; NaN is the greatest number to DuckDB.
# Seen:     table: max NaN, one value > 1, two <= 1, one is NaN
#           file:  max 1.0, none > 1, three <= 1, none is NaN, but `SELECT *` shows it
#           file without statistics: as the table
# The file's statistics leave NaN out, as the format demands, and are believed by the optimizer. Reported upstream (issue 25521).
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==2.0.1 pyarrow==26.0.1
"$scratch/venv/bin/python" - "$scratch" <<'PY'
import math
import sys

import duckdb
import pyarrow as pa
from pyarrow import parquet

table = pa.table({"f": pa.array([0.0, math.nan, 1.0])})
parquet.write_table(table, f"{sys.argv[1]}/with.parquet")
parquet.write_table(table, f"{sys.argv[1]}/without.parquet", write_statistics=False)
duckdb.sql("CREATE TABLE t AS SELECT unnest([0.0, 'nan'::DOUBLE, 1.0]) AS f")


def answers(source):
    conditions = ("f > 1", "f <= 1", "isnan(f)")
    counts = [duckdb.sql(f"SELECT count(*) FROM {source} WHERE {each}").fetchall()[0][0] for each in conditions]
    found = [str(duckdb.sql(f"SELECT max(f) FROM {source}").fetchall()[0][0]), *counts]
    print(source.rpartition("/")[2], found)
    return found


assert answers("t") == ["nan", 1, 2, 1]
assert answers(f"'{sys.argv[1]}/with.parquet'") == ["1.0", 0, 3, 0]
assert answers(f"'{sys.argv[1]}/without.parquet'") == ["nan", 1, 2, 1]
assert math.isnan(duckdb.sql(f"SELECT * FROM '{sys.argv[1]}/with.parquet'").fetchall()[1][0])
PY
