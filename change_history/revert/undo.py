"""What history says of the documents of a transaction that is to be undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME
from change_history.bson.equality import key_of
from change_history.query.selection import Selection
from change_history.reconstruct.point_in_time import Resolved
from change_history.reconstruct.states import Unknown
from change_history.reconstruct.trust import parts_before
from change_history.revert.errors import NotAllRecordedError
from change_history.revert.goals import Goal, Known
from change_history.stored.names import HISTORY
from change_history.stored.order import position_of
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from pymongo.database import Database

    from change_history.stored.event import Transaction
    from change_history.stored.order import HistoryPosition

_WHERE = {"namespace": 1, "document_id": 1, "resume_token": 1}


class Touched(NamedTuple):
    """A document that a transaction wrote to, and the places of the first and the last of its events there."""

    namespace: str
    raw_id: raw.Value
    first: HistoryPosition
    last: HistoryPosition


def goals(database: Database[Any], documents: Iterable[Touched], *, force: bool = False) -> list[Goal]:
    """Documents that a transaction wrote to, from what they were right after it to what they were right before.

    In memory are all of the documents, before and after.

    Args:
        database: the history database.
        documents: those of the transaction.
        force: gaps do not matter.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    return [_goal(database, document, force=force) for document in documents]


def require_all(database: Database[Any], documents: Sequence[Touched]) -> None:
    """See to it that every part of a stream that may have events of a transaction has recorded them.

    Args:
        database: the history database.
        documents: those that it is known to have written to.

    Raises:
        change_history.revert.errors.NotAllRecordedError: one has not.
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    last = max((document.last.cluster_time for document in documents), default=BEGINNING_OF_TIME)
    for namespace in {document.namespace for document in documents}:
        for behind in parts_before(database, last.timestamp, namespace):
            raise NotAllRecordedError(behind)


def touched(database: Database[Any], transaction: Transaction) -> list[Touched]:
    """Every document that a transaction is known to have written to.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    found: dict[tuple[str, Hashable], Touched] = {}
    for fields in _events(database, transaction):
        document_id = fields.get(b"document_id")
        if document_id is None:
            continue  # it made a collection, or an index
        namespace = raw.text_of(fields[b"namespace"]).decode("utf-8", "surrogateescape")
        key, place = (namespace, key_of(document_id)), position_of(fields)
        if key in found:
            known = found[key]
            found[key] = known._replace(first=min(known.first, place), last=max(known.last, place))
        else:
            found[key] = Touched(namespace, document_id, place, place)
    return sorted(found.values(), key=lambda document: document.namespace)


def _events(database: Database[Any], transaction: Transaction) -> Iterator[dict[bytes, raw.Value]]:
    selection = Selection(None, transaction=transaction)
    history = database.get_collection(HISTORY, codec_options=RAW)
    for stored in history.find(selection.query(), _WHERE, sort=[("_id", 1)], hint=selection.index):
        yield raw.fields(bytes(stored.raw))


def _goal(database: Database[Any], document: Touched, *, force: bool) -> Goal:
    namespace, raw_id, first, last = document
    before, after = (Known(database, namespace, raw_id, Resolved(place)) for place in (first, last.following))
    target, expected, gaps = before.document(), after.document(), before.gaps()
    if isinstance(target, Unknown):
        return _untold(document, target)
    if isinstance(expected, Unknown):
        return _untold(document, expected)
    goal = Goal(namespace, raw_id, expected, target, undo=True, gaps=gaps)
    if gaps and not force:
        return goal._replace(refused="events were lost before the transaction, so it may have been something else")
    return goal


def _untold(document: Touched, unknown: Unknown) -> Goal:
    refused = f"history cannot tell it: {unknown.reason}"
    return Goal(document.namespace, document.raw_id, None, None, undo=True, refused=refused)
