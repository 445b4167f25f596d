"""Gaps and rejected events: events that were lost or could not be recorded."""
