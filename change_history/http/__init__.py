"""History over HTTP, where MongoDB cannot be reached: `History.connect("https://…")`."""
