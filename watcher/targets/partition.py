"""Which partition of a stream a document belongs to: the server itself decides, by the document's `_id`.

`$toHashedIndexKey` alone would not do: to the server `1.5` and `Decimal128("1.5")` are one `_id`, and their hashes
differ, so a document that is deleted and inserted again could change its partition, and the order of its events would
be lost. So numbers are first made what they are equal by: their whole part, or 0 where that is no 64-bit integer. Of
an `_id` that is a document, the same goes for its fields; deeper ones count by their type alone. It is measured in
 `tests/integration/test_partition.py`.

Only the `_id` counts, not the namespace: a document stays in its partition when its collection is renamed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import Int64

if TYPE_CHECKING:
    from change_history.partition import Partition

_NO_INTEGER = Int64(0)
_NESTED = ("object", "array", "javascriptWithScope")


def match(partition: Partition) -> dict[str, Any]:
    """The condition of a stream's `$match`: a partition's documents, and every event that is about no document."""
    return {"$or": [{"documentKey": {"$exists": False}}, {"$expr": holds(partition, "$documentKey._id")}]}


def holds(partition: Partition, document_id: str) -> dict[str, Any]:
    """The expression that tells whether a document belongs to a partition.

    Args:
        document_id: the path of the document's `_id`, such as `$_id`.
    """
    total = Int64(partition.total)
    remainder = {"$mod": [{"$toHashedIndexKey": _canonical(document_id)}, total]}  # negative for negative hashes
    return {"$eq": [{"$mod": [{"$add": [remainder, total]}, total]}, Int64(partition.number - 1)]}


def _canonical(value: str) -> dict[str, Any]:
    """What is the same for all values that are one `_id` to the server."""
    fields = {
        "$map": {
            "input": {"$objectToArray": value},
            "as": "field",
            "in": {"k": "$$field.k", "v": _flat("$$field.v")},
        }
    }
    return {"$cond": [{"$eq": [{"$type": value}, "object"]}, fields, _flat(value)]}


def _flat(value: str) -> dict[str, Any]:
    whole = {"$convert": {"input": {"$trunc": value}, "to": "long", "onError": _NO_INTEGER}}
    kind = {"$type": value}
    return {"$cond": [{"$isNumber": value}, whole, {"$cond": [{"$in": [kind, _NESTED]}, kind, value]}]}
