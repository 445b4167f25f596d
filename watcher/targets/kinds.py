"""What a name stands for: a collection, a capped one, a view, a time-series collection, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pymongo import MongoClient

COLLECTION, VIEW, TIME_SERIES = "collection", "view", "timeseries"


class MovedError(Exception):
    """A collection was dropped, renamed or replaced while it was read."""


class Kind(NamedTuple):
    """What there is under a name.

    Attributes:
        type: as `listCollections` says it: `collection`, `view` or `timeseries`.
        uuid: of this very collection; another one of the same name has another. None: a view, or time-series.
        capped: the server removes its oldest documents when it is full.
        source: of a view, the collection or view of the same database that it shows.
    """

    type: str
    uuid: bytes | None
    capped: bool
    source: str | None


def kind_of(client: MongoClient[Any], namespace: str) -> Kind | None:
    """What there is under a name; None: nothing.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    database, _, collection = namespace.partition(".")
    for info in client[database].list_collections(filter={"name": collection}):
        options, uuid = info.get("options", {}), info.get("info", {}).get("uuid")
        return Kind(
            info["type"], bytes(uuid) if uuid is not None else None, bool(options.get("capped")), options.get("viewOn")
        )
    return None
