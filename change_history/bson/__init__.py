"""BSON: parsing without decoding, exact values, Extended JSON, paths."""
