"""Which daemon of a stream leads, and what only the leader may write."""
