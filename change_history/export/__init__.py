"""Writing history, or what a collection was, into files that other programs read.

    source ──▶ rows ──▶ writers (NDJSON, CSV) or parquet ──▶ part_file
                 └ tables: which columns there are, and what they lose

A row is a BSON document: NDJSON writes all of it, the others the columns of its table.
"""
