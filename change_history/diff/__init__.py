"""What is different between two documents, or two states of a collection."""
