"""What a caller of this library may catch: everything that it raises by itself is a `HistoryError`.

What the driver raises while it asks a server, a `pymongo.errors.PyMongoError`, comes through as it is.
"""

from __future__ import annotations


class HistoryError(Exception):
    """The base of all errors of this library."""
