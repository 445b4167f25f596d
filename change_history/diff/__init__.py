"""Compare two documents, or two states of a collection."""
