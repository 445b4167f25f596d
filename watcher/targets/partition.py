"""Assigns documents to the partitions of a stream: the server computes it from the document's `_id`.

`$toHashedIndexKey` alone is not enough: to the server, `1.5` and `Decimal128("1.5")` are the same `_id`, but their
hashes differ. A document that is deleted and inserted again could change its partition, and the order of its events
would be lost. So numbers are first reduced to their whole part, or to 0 if that is not a 64-bit integer. In an `_id`
that is a document, the same is done with its fields; deeper values count only by their type. This is verified in
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
    """The condition of a stream's `$match`: events of a partition's documents, and all events without a document."""
    return {"$or": [{"documentKey": {"$exists": False}}, {"$expr": holds(partition, "$documentKey._id")}]}


def holds(partition: Partition, document_id: str) -> dict[str, Any]:
    """The aggregation expression whether a document belongs to a partition.

    Args:
        document_id: the path of the document's `_id`, such as `$_id`.
    """
    total = Int64(partition.total)
    remainder = {"$mod": [{"$toHashedIndexKey": _canonical(document_id)}, total]}  # negative for negative hashes
    return {"$eq": [{"$mod": [{"$add": [remainder, total]}, total]}, Int64(partition.number - 1)]}


def _canonical(value: str) -> dict[str, Any]:
    """An expression that gives the same value for all values that the server regards as the same `_id`."""
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
