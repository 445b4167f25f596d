"""What was lost or could not be recorded."""
