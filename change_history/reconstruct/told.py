"""A document after every one of its entries: the whole way from its first to its last, by folding alone."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from change_history.reconstruct import fold, lives
from change_history.reconstruct.document import recall_one
from change_history.reconstruct.places import place_of
from change_history.reconstruct.states import steps, timelines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from change_history.bson import raw
    from change_history.reconstruct.states import Recalled


def told(database: Database[Any], namespace: str, document_id: raw.Value) -> Iterator[Recalled]:
    """What a document was after each of its entries under one name, oldest first. Snapshots are not looked at.

    Args:
        database: the history database.
        namespace: `db.coll`.
        document_id: its `_id`.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    for era in lives.eras(database, namespace):
        for _, entries in timelines(database, era, [document_id]):
            first = next(entries)
            known = None
            if not fold.tells_all(fold.read_fields(first)):  # it may have been brought from another name
                before = lives.spans(database, namespace, place_of(first))
                known = recall_one(database, before, document_id, from_snapshots=False)
            yield from steps(chain([first], entries), known)
