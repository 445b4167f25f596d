"""The base class of this library's errors, for its callers to catch.

Errors of the driver (`pymongo.errors.PyMongoError`) are passed on unchanged.
"""

from __future__ import annotations


class HistoryError(Exception):
    """The base of all errors of this library."""
