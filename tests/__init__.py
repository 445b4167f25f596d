"""Tests: unit (no I/O), integration (a real replica set), acceptance (whole processes, killed and restarted)."""
