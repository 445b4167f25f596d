"""What bringing back a deleted document goes back to: the version right before its deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson.values import ABSENT
from change_history.reconstruct.point_in_time import Versions
from change_history.reconstruct.state import Reconstruction, UnknownStateError
from change_history.revert.errors import CollectionEndedError, NothingRecordedError
from change_history.revert.goals import Goal
from change_history.stored.order import position_at

if TYPE_CHECKING:
    from bson import Timestamp
    from pymongo.database import Database

    from change_history.reconstruct.point_in_time import PointInTime


class Deleted(NamedTuple):
    """A document whose last recorded event is its deletion.

    Attributes:
        version: the number of the version before.
        at: cluster time of the deletion. Only this much of history is expected, so whatever came back since conflicts.
    """

    version: int
    at: Timestamp


class Living(NamedTuple):
    """A document that is there, as history says; so nothing is to be done.

    Attributes:
        version: the number of its version; None: it has none under this name.
        goal: that it be there.
    """

    version: int | None
    goal: Goal


def find(database: Database[Any], namespace: str, document_id: Any, seen: PointInTime | None) -> Deleted | Living:
    """Whether a document is deleted, and what it was before.

    Args:
        database: the history database.
        namespace: `db.coll`.
        document_id: its `_id`, any BSON type.
        seen: only what is recorded up to then counts; None: all.

    Raises:
        CollectionEndedError: it is gone with its collection.
        NothingRecordedError: nothing is recorded of it.
        UnknownStateError: history cannot tell whether it is there, or nothing of it before its deletion.
        change_history.reconstruct.point_in_time.NoSuchVersionError: the document has no version of this number.
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    state = Reconstruction(database, namespace, document_id, seen).state()
    if state.unknown is not None:
        raise UnknownStateError(namespace, state.unknown, document_id)
    if state.data is not None:
        return Living(state.version, Goal(namespace, state.raw_id, state.data, state.data))
    ended = state.ended_by
    if ended is None:
        raise NothingRecordedError(f"nothing is recorded of the document in {namespace}")
    if ended.document_id is ABSENT or ended.namespace != namespace:
        raise CollectionEndedError(ended)
    before = Versions(database, namespace, state.raw_id).number(position_at(ended.id, ended.resume_token)) - 1
    if not before:
        raise UnknownStateError(namespace, "nothing is recorded of it before its deletion", document_id)
    return Deleted(before, ended.cluster_time)
