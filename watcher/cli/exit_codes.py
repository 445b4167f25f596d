"""The exit codes of `watcher`. Service managers and scripts rely on these numbers."""

OK = 0
"""Done; also a daemon stopped by a signal, and a `--follow` that was ended."""

UNEXPECTED = 1
"""An unexpected error."""

USAGE = 2
"""The command line or the settings are wrong; nothing was started."""

NOT_FOUND = 3
"""History has nothing about the request."""

UNREACHABLE = 4
"""The deployment does not answer, or cannot serve the request now; try again."""

POSITION_REFUSED = 5
"""The checkpoint belongs to another replica set or to other stream options."""

POSITION_LOST = 6
"""The checkpoint is older than the oplog: events were lost."""

FATAL = 7
"""The daemon cannot continue, and a restart would not help."""

BUSY = 8
"""A daemon seems to be using what was to be changed; nothing was changed."""

REMAINING = 9
"""The request was done in part; the rest is unchanged."""

UNKNOWN = 10
"""The answer, or a part of it, is unknown, because history has a gap there."""

DIFFERENT = 11
"""The verification failed."""

UNHEALTHY = 12
"""`doctor` has found a problem."""

UNCHECKED = 13
"""`doctor` has found no problem, but could not check everything."""

REFUSED = 14
"""The deployment refuses: a wrong user or password, a missing privilege, an unsupported operation."""

ABORTED = 130
"""Ended by a second signal, or by Ctrl-C where that is not the regular end: 128 + SIGINT."""
