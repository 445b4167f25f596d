"""The daemon: reads events, writes history, saves its position. Read `stream.pipeline` first, then `service`."""
