"""Commands that run and look after the daemon, and `revert`."""
