"""Random operations on a real server, and history that must replay them."""
