"""The server's error codes that are asked for by name in more than one place.

https://github.com/mongodb/mongo/blob/r6.0.5/src/mongo/base/error_codes.yml; the five-digit ones have no name there.
"""

from __future__ import annotations

UNAUTHORIZED = 13
ILLEGAL_OPERATION = 20
"""Also of a transaction on a deployment that has none."""
NAMESPACE_EXISTS = 48
WRITE_CONFLICT = 112
DUPLICATE_KEY = 11000
OBJECT_TOO_LARGE = 10334
"""A document, or an event, would be larger than the server may send or store."""
UNKNOWN_STAGE = 40324
"""The server does not know a stage of a pipeline."""
