"""The settings, and logging."""
