"""History as a Delta Lake table in a folder or an object store, to which each entry is appended exactly once.

    feed (the history, then its change stream) ──▶ follower (what is new, what has changed) ──▶ table (commits)

Each commit holds rows and the position up to which they reach, so the table alone says where to go on. It is made on
the very version that was read: of two exporters, and of a commit that the network lost and its repetition, one stands.
"""
