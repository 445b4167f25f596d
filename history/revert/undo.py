"""What history says of the documents of a transaction that is to be undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Timestamp

from core.equality import key_of
from history.cut import Cut
from history.revert.errors import NotAllRecordedError
from history.revert.goals import Goal, Known
from history.selection import Selection
from models import raw
from models.connection import HISTORY
from models.reading import RAW
from recall.places import place_of
from recall.recorded import parts_before
from recall.states import Unknown

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from pymongo.database import Database

    from history.transactions import Transaction
    from recall.places import Place

_WHERE = {"namespace": 1, "document_id": 1, "resume_token": 1}


class _Touched(NamedTuple):
    """A document that a transaction wrote to, and the places of the first and the last of its events there."""

    namespace: str
    raw_id: raw.Value
    first: Place
    last: Place


def goals(database: Database[Any], transaction: Transaction, *, force: bool = False) -> list[Goal]:
    """Every document that a transaction wrote to, from what it was right after it to what it was right before.

    In memory are all of the documents, before and after.

    Args:
        database: the history database.
        transaction: which.
        force: gaps do not matter.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    return [_goal(database, document, force=force) for document in _touched(database, transaction)]


def require_all(database: Database[Any], transaction: Transaction) -> None:
    """See to it that every part of a stream that may have events of a transaction has recorded them.

    Raises:
        history.revert.errors.NotAllRecordedError: one has not.
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    touched = _touched(database, transaction)
    for namespace in {document.namespace for document in touched}:
        last = max(document.last.cluster_time for document in touched)
        moment = Timestamp(int.from_bytes(last[:4], "big"), int.from_bytes(last[4:], "big"))
        for behind in parts_before(database, moment, namespace):
            raise NotAllRecordedError(behind)


def _touched(database: Database[Any], transaction: Transaction) -> list[_Touched]:
    found: dict[tuple[str, Hashable], _Touched] = {}
    for fields in _events(database, transaction):
        document_id = fields.get(b"document_id")
        if document_id is None:
            continue  # it made a collection, or an index
        namespace = raw.text_of(fields[b"namespace"]).decode("utf-8", "surrogateescape")
        key, place = (namespace, key_of(document_id)), place_of(fields)
        if key in found:
            known = found[key]
            found[key] = known._replace(first=min(known.first, place), last=max(known.last, place))
        else:
            found[key] = _Touched(namespace, document_id, place, place)
    return sorted(found.values(), key=lambda document: document.namespace)


def _events(database: Database[Any], transaction: Transaction) -> Iterator[dict[bytes, raw.Value]]:
    selection = Selection(None, transaction=transaction)
    history = database.get_collection(HISTORY, codec_options=RAW)
    for stored in history.find(selection.query(), _WHERE, sort=[("_id", 1)], hint=selection.index):
        yield raw.fields(bytes(stored.raw))


def _goal(database: Database[Any], document: _Touched, *, force: bool) -> Goal:
    namespace, raw_id, first, last = document
    before, after = (Known(database, namespace, raw_id, Cut(place)) for place in (first, last.following))
    target, expected, gaps = before.document(), after.document(), before.gaps()
    if isinstance(target, Unknown):
        return _untold(document, target)
    if isinstance(expected, Unknown):
        return _untold(document, expected)
    goal = Goal(namespace, raw_id, expected, target, undo=True, gaps=gaps)
    if gaps and not force:
        return goal._replace(refused="events were lost before the transaction, so it may have been something else")
    return goal


def _untold(document: _Touched, unknown: Unknown) -> Goal:
    refused = f"history cannot tell it: {unknown.reason}"
    return Goal(document.namespace, document.raw_id, None, None, undo=True, refused=refused)
