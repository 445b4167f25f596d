"""History with one row for each change: a view for the shell, Compass and BI tools, which cannot show nested changes.

Conditions on a row's event (`namespace`, `document_id`, `timestamp`, `transaction`, `actor.id`, `event_id`) are pushed
down to `history`, so its indexes are used. Rows come in the order in which `history` is read; sort by `event_id`, then
`_id.number`, for time order.

| field | meaning |
| --- | --- |
| `_id` | `event`: the event's `_id`; `number`: which of its changes, from 0 |
| `event_id` | the event's `_id`; it begins with the cluster time |
| `namespace`, `document_id`, `operation`, `timestamp`, `cluster_time`, `transaction`, `actor` | of the event |
| `field`, `path`, `truncated_to` | of the change, as `ChangeModel` has them |
| `old_value`, `new_value` | absent: the path did not exist before, or not any more, unless the next two say otherwise |
| `old_value_from` | absent: the pre-image; `history`; `unknown`; `parts`: the value is only in `history_parts` |
| `new_value_from` | absent: the event; `unknown`; `parts` |

Events without changes, those of collections, have no rows. An event larger than a document has a row for each of its
changes, or if these are too many one row with an empty `path`; its values are in `history_parts`, and `History` or
`watcher log` read them.
"""

from __future__ import annotations

from typing import Any

NAME = "changes"
"""Name of the view, in the history database."""

_IN_PARTS = {"$gt": ["$parts", None]}
_TRUNCATED = {"$and": [{"$gt": ["$changes.truncated_to", None]}, {"$eq": [{"$type": "$changes.new_value"}, "missing"]}]}

PIPELINE: list[dict[str, Any]] = [
    {"$unwind": {"path": "$changes", "includeArrayIndex": "number"}},
    {
        "$project": {
            "_id": {"event": "$_id", "number": "$number"},
            "event_id": "$_id",
            "namespace": 1,
            "document_id": 1,
            "operation": 1,
            "timestamp": 1,
            "cluster_time": 1,
            "transaction": 1,
            "actor": 1,
            "field": "$changes.field",
            "path": "$changes.path",
            "truncated_to": "$changes.truncated_to",
            "old_value": "$changes.old_value",
            "new_value": "$changes.new_value",
            "old_value_from": {"$cond": [_IN_PARTS, "parts", "$changes.old_value_from"]},
            "new_value_from": {
                "$cond": [_IN_PARTS, "parts", {"$cond": [_TRUNCATED, "unknown", "$changes.new_value_from"]}]
            },
        }
    },
]
"""The view's definition, on `history`. A starting daemon updates a view that has another definition."""
