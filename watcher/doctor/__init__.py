"""Checks everything that the daemon depends on. Each check has a module; judging is separate from querying servers."""
