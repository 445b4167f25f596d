"""What hypothesis generates: documents, raw values, operations, lineages of collections."""
