"""BSON where it lies: taken apart without decoding, exact values, Extended JSON, paths."""
