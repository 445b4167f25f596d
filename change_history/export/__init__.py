"""Writes history, or the documents of a collection, into files for other programs.

    source ──▶ tables (rows, their columns, and their losses) ──▶ writers ──▶ part_file

A row is a BSON document: NDJSON writes all of it, the others the columns of its table.
"""
