"""The daemon: events in, history out, position saved. Read `pipeline` first, then `service`."""
