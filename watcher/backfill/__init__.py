"""Reads existing documents while the stream runs: baseline and reconciliation."""
