"""The operations of events: the server's names, and ours.

https://www.mongodb.com/docs/manual/reference/change-events/, as of MongoDB 8.0.
"""

from __future__ import annotations

GAP = "gap"
"""Not an event: an interval in which events were lost."""

OF_DOCUMENTS = ("insert", "update", "replace", "delete")

BASELINE = "baseline"

OURS = (BASELINE, "reconcile")
"""A document's state when watching began, and its state when it was found to differ after a gap."""

REDACTION = "redaction"
"""Not an event: a change of a collection's redaction rules."""

OF_COLLECTIONS = (
    "create",
    "createIndexes",
    "drop",
    "dropDatabase",
    "dropIndexes",
    "endOfTransaction",
    "invalidate",
    "modify",
    REDACTION,
    "refineCollectionShardKey",
    "rename",
    "reshardCollection",
    "shardCollection",
)

ALL = OF_DOCUMENTS + OURS + OF_COLLECTIONS
