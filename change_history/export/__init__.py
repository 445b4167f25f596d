"""Writing history, or what a collection was, into files that other programs read.

    source ──▶ tables (rows, their columns, and what these lose) ──▶ writers ──▶ part_file

A row is a BSON document: NDJSON writes all of it, the others the columns of its table.
"""
