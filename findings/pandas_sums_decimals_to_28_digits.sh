#!/usr/bin/env bash
# pandas sums an exact decimal column of a Parquet file to 28 digits, without a word; DuckDB and Polars sum all 38.
#
# Versions: pandas 3.1.1, pyarrow 26.0.1, DuckDB 2.0.1, Polars 2.1.0, Python 3.11.
# Expected: the sum of decimal128(38, 2) values that fits 38 digits is exact, or an error.
# Seen:     12345678901234567890123456789012.34 + 0.01 by pandas is 12345678901234567890123456790000: its values are Python's
#           `decimal.Decimal`, whose context rounds each addition to 28 digits; BSON's Decimal128 has 34.
#           With dtype_backend="pyarrow" the sum is exact.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1 pyarrow==26.0.1 duckdb==2.0.1 polars==2.1.0
"$scratch/venv/bin/python" - "$scratch" <<'PY'
import sys
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
from pyarrow import parquet

file = f"{sys.argv[1]}/d.parquet"
values = [Decimal("12345678901234567890123456789012.34"), Decimal("0.01")]
parquet.write_table(pa.table({"d": pa.array(values, pa.decimal128(38, 2))}), file)
exact = Decimal("12345678901234567890123456789012.35")
seen = {
    "pandas": pd.read_parquet(file)["d"].sum(),
    "pandas, pyarrow types": pd.read_parquet(file, dtype_backend="pyarrow")["d"].sum(),
    "DuckDB": duckdb.sql(f"SELECT sum(d) FROM '{file}'").fetchall()[0][0],
    "Polars": pl.read_parquet(file)["d"].sum(),
}
for who, value in seen.items():
    print(f"{who}: {value}")
assert seen.pop("pandas") == Decimal("1.234567890123456789012345679E+31")
assert set(seen.values()) == {exact}
PY
