"""Leader election among the daemons of a stream, and the writes that only the leader may make."""
