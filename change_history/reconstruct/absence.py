"""Why something was not there, and where it is to be found: what came before, what came later, under which name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import Binary

from change_history.reconstruct import lives
from change_history.reconstruct.places import END, after, before
from change_history.reconstruct.versions import Versions
from change_history.stored.names import HISTORY
from change_history.stored.reading import RAW, to_event

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    from change_history.reconstruct.places import Place
    from change_history.reconstruct.state import State
    from models import HistoryModel


def first_later(database: Database[Any], state: State) -> HistoryModel | None:
    """The first recorded event of a document after the moment it was asked about; without values if it is large."""
    stored = Versions(database, state.namespace, state.raw_id).first_from(state.place)
    return to_event(stored) if stored is not None else None


def turn_before(database: Database[Any], namespace: str, place: Place) -> HistoryModel | None:
    """The last event before a place that ended all documents of a namespace, or brought others."""
    turn = lives.last_turn(database, namespace, place)
    return _event(database, turn.id) if turn is not None else None


def arrival_after(database: Database[Any], namespace: str, place: Place) -> HistoryModel | None:
    """The first rename after a place that gave its documents to a namespace."""
    found: lives.Turn | None = None
    turn = lives.last_turn(database, namespace, END)
    while turn is not None and after(turn.cluster_time) > place:
        found = turn if turn.source is not None else found
        turn = lives.last_turn(database, namespace, before(turn.cluster_time))
    return _event(database, found.id) if found is not None else None


def _event(database: Database[Any], event_id: bytes) -> HistoryModel | None:
    history = database.get_collection(HISTORY, codec_options=RAW)
    stored: RawBSONDocument | None = history.find_one({"_id": Binary(event_id)})
    return to_event(stored) if stored is not None else None
