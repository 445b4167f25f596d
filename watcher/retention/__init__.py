"""Expiring history by age: what is due, what has to stay for the rest, and the work itself."""
