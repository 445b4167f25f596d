"""A writer with an oracle against a three-node replica set, while everything fails at random.

Run it with `python -m tests.chaos` or `make chaos`.
"""
