"""Names in the history database: its collections, and the values of its fields."""

ALIAS = "change_history"
"""mongoengine connection alias of the history database."""

DATABASE = "change_history"
"""Default name of the history database."""

HISTORY = "history"
CHECKPOINTS = "checkpoints"
REJECTED = "rejected"
PARTS = "history_parts"
SNAPSHOTS = "snapshots"
REVERTS = "reverts"
TERMS = "terms"
IMPORTED = "imported"
ACTORS_KNOWN = "actors_known"
AMENDMENTS = "amendments"
HORIZONS = "horizons"
BASELINES = "baselines"
SEALS = "seals"
SEAL_LEAVES = "seal_leaves"
ERASURES = "erasures"

CONTEXT_COLLECTION = "watcher_context"
"""Default name of the collection for context documents in each watched database."""

INTENDED, DONE, ABANDONED = "intended", "done", "abandoned"
"""States of a revert."""

DOCUMENT_TIMELINE = [("namespace", 1), ("document_id", 1), ("_id", 1)]
"""Index of `history`, and of `snapshots`: the entries of one document, in order but for those of one cluster time."""

NAMESPACE_TIMELINE = [("namespace", 1), ("_id", 1)]
"""Index of `history`: the entries of one collection."""

FROM_HISTORY = "history"
"""`old_value_from`: there was no pre-image; the value was derived from earlier history."""

FROM_UNKNOWN = "unknown"
"""`old_value_from`: there was no pre-image, and history does not have the value either.

`new_value_from`: the event was too large for the server to deliver with its values."""
