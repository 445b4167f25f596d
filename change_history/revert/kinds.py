"""Collections to which the server lets no revert write, whatever it was to write, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo.errors import OperationFailure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo import MongoClient

_BY_HAND = "; `watcher show` with --json prints what it was, to be written by hand"
_CAPPED = f"the collection is capped, and no transaction may write to such a one{_BY_HAND}"
_TYPES = {
    "view": "this is a view by now, to which nothing can be written; put it back in the collection behind it",
    "timeseries": f"this is a time-series collection by now, and no transaction may write to such a one{_BY_HAND}",
}


def closed(client: MongoClient[Any], namespaces: Iterable[str]) -> dict[str, str]:
    """Of some namespaces, `db.coll`, those to which nothing can be put back, with the reason in words."""
    found: dict[str, str] = {}
    for namespace in dict.fromkeys(namespaces):
        database, _, name = namespace.partition(".")
        try:
            kinds = list(client[database].list_collections(filter={"name": name}))
        except OperationFailure:
            continue  # who may not ask is told by the write
        for kind in kinds:
            if kind["options"].get("capped"):
                found[namespace] = _CAPPED
            elif kind["type"] in _TYPES:
                found[namespace] = _TYPES[kind["type"]]
    return found
