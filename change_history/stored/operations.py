"""What an event can be: the server's names for it, and ours.

https://www.mongodb.com/docs/manual/reference/change-events/, as of MongoDB 8.0.
"""

from __future__ import annotations

GAP = "gap"
"""No event, but an interval of which events were lost."""

OF_DOCUMENTS = ("insert", "update", "replace", "delete")

BASELINE = "baseline"

OURS = (BASELINE, "reconcile")
"""How a document was when watching began, and how it was found to differ after a gap."""

REDACTION = "redaction"
"""No event, but that other rules of redaction hold for a collection."""

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
