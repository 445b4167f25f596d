"""History as a Delta Lake table in a folder or an object store, to which each entry is appended exactly once.

    feed (the history, then its change stream) ──▶ follower (new and changed entries) ──▶ table (commits)

Each commit contains rows and the position that they reach, so the table alone defines where to resume. A commit is made
on the version that was read: of two concurrent exporters, or of a commit whose reply was lost and its retry, only one
succeeds.
"""
