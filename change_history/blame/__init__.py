"""Which event each leaf of a document has its value from."""
