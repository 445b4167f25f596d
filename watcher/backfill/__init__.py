"""Reading existing documents beside the stream: baseline and reconciliation."""
