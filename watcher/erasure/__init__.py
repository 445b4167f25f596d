"""Erasure on request: removes values from everything recorded, and keeps removing them from later events."""
