"""The embedded default: a real replica set of one, for a first look and for tests. Not part of a production install."""
