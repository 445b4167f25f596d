"""What the exit status of `watcher` means. Service managers and scripts rely on these numbers."""

OK = 0
"""Done; also a daemon stopped by a signal, and a `--follow` that was ended."""

UNEXPECTED = 1
"""An error nobody foresaw."""

USAGE = 2
"""The command line or the settings are wrong; nothing was started."""

NOT_FOUND = 3
"""Nothing is recorded of what was asked for."""

UNREACHABLE = 4
"""The deployment does not answer, or cannot at the moment; try again."""

POSITION_REFUSED = 5
"""The checkpoint belongs to another replica set or to other stream options."""

POSITION_LOST = 6
"""The checkpoint has fallen off the oplog: events were lost."""

FATAL = 7
"""The daemon cannot go on, and a restart would not help."""

BUSY = 8
"""A daemon seems to be at work on what was to be changed; nothing was changed."""

REMAINING = 9
"""Some of it could not be done and remains as it was."""

UNKNOWN = 10
"""History cannot tell what was asked for, or not all of it: it has a gap there."""

DIFFERENT = 11
"""What was verified is not what it should be."""

UNHEALTHY = 12
"""`doctor` has found a problem."""

UNCHECKED = 13
"""`doctor` has found no problem, but there is something that it could not look at."""

REFUSED = 14
"""The deployment refuses: a wrong user or password, a privilege that is missing, something it cannot do."""

ABORTED = 130
"""Ended by a second signal, or by Ctrl-C where that is not the ordinary way to end: 128 + SIGINT."""
