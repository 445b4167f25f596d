#!/usr/bin/env bash
# Polars divides decimals to the scale of the column: 1 / 3 is 0, and 2 / 3 is 1, where the column has no decimal places.
#
# Versions: Polars 2.1.0, DuckDB 2.0.1, pyarrow 26.0.1, Python 3.11.
# Expected: `/` is true division, as Polars has it for integers (`//` is the other one): 0.333…, of whatever type.
# Seen:     decimal128(3, 0), as a writer chooses it that takes the narrowest type for 1 and 2: d / 3 is [0, 1];
#           decimal128(3, 2): 1.10 / 3 is 0.37, and 1.10 * 1.10 is 1.21. An integer column: 0.333…
#           DuckDB divides the same file to doubles, 0.333…, and multiplies to scale 4.
# Casting to a float or to a larger scale first gives the expected result.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1
"$scratch/venv/bin/python" - "$scratch" <<'PY'
import sys
from decimal import Decimal

import duckdb
import polars as pl
import pyarrow as pa
from pyarrow import parquet

file = f"{sys.argv[1]}/d.parquet"
table = {
    "d": pa.array([Decimal(1), Decimal(2)], pa.decimal128(3, 0)),
    "e": pa.array([Decimal("1.10"), Decimal("2.20")], pa.decimal128(3, 2)),
    "i": pa.array([1, 2]),
}
parquet.write_table(pa.table(table), file)
read = pl.read_parquet(file).select(d=pl.col("d") / 3, e=pl.col("e") / 3, i=pl.col("i") / 3)
print("Polars:", read.to_dict(as_series=False))
assert read["d"].to_list() == [Decimal(0), Decimal(1)]
assert read["e"].to_list() == [Decimal("0.37"), Decimal("0.73")]
assert read["i"].to_list() == [1 / 3, 2 / 3]
duck = duckdb.sql(f"SELECT d / 3 FROM '{file}'").fetchall()
print("DuckDB:", duck)
assert duck == [(1 / 3,), (2 / 3,)]
PY
