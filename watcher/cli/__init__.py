"""The door: commands, rendering, exit codes."""
