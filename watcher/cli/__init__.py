"""The command line: commands, parsing, rendering, exit codes."""
