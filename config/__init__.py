"""What the operator says: settings and logging."""
