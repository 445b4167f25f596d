"""Where the documents of a namespace lie in history, and what is known of how they came there."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from change_history.reconstruct import holes, lives
from change_history.reconstruct.places import place_at
from change_history.reconstruct.states import Unknown
from change_history.stored.names import HISTORY, NAMESPACE_TIMELINE
from change_history.stored.reading import RAW, to_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from change_history.reconstruct.cut import Cut
    from change_history.reconstruct.lives import Span
    from models import HistoryModel


_OF_EXISTING = frozenset({"baseline", "delete", "reconcile", "replace", "update"})
"""What can only happen to documents that are there."""


class Lineage:
    """The stretches of history in which the documents lie that a namespace has at a place, read as needed.

    Args:
        database: the history database.
        namespace: `db.coll`.
        cut: the place.
    """

    def __init__(self, database: Database[Any], namespace: str, cut: Cut) -> None:
        self._database = database
        self._history = database.get_collection(HISTORY, codec_options=RAW)
        self._rest = lives.spans(database, namespace, cut.place, asked=cut.turn)
        self._found: list[Span] = []
        self.namespace = namespace
        self._until = cut.moment

    def __iter__(self) -> Iterator[Span]:
        """The stretches, newest first."""
        yield from self._found
        for span in self._rest:
            self._found.append(span)
            yield span

    @property
    def newest(self) -> Span:
        """The last of the stretches."""
        return next(iter(self))

    @cached_property
    def unrecorded(self) -> Unknown | None:
        """Why nobody can tell which documents there are, where a rename brought them from what was not watched."""
        *_, oldest = self
        if oldest.namespace == self.namespace:
            return None
        query = {"namespace": oldest.namespace, "_id": oldest.ids()}
        if self._history.find_one(query, {"_id": 1}, hint=NAMESPACE_TIMELINE) is not None:
            return None
        return Unknown(f"a rename brought it from {oldest.namespace}, of which nothing is recorded")

    @cached_property
    def not_yet(self) -> Unknown | None:
        """Why nobody can tell which documents there were, where watching began later."""
        if self.newest.since:
            return None  # whatever there was had ended
        query = {"namespace": self.namespace}
        options: dict[str, Any] = {"sort": [("_id", 1)], "hint": NAMESPACE_TIMELINE}
        first = self._history.find_one(query, {"operation": 1, "resume_token": 1}, **options)
        if first is None or first["operation"] not in _OF_EXISTING:
            return None
        place = place_at(first["_id"], first.get("resume_token"))
        if place < self.newest.until or lives.last_turn(self._database, self.namespace, place) is not None:
            return None  # something was recorded, or they came with others, later
        return Unknown(f"nothing was recorded of it by then, and its first recorded event is {first['operation']}")

    def gaps(self, base: ClusterTime | None) -> list[HistoryModel]:
        """The gaps that an answer reaches across: in them an event may be lost that would make it another one.

        Args:
            base: cluster time of the entry that the answer is based on; None: the beginning.
        """
        *_, oldest = self
        since, cut = oldest.since if base is None else base, self._until
        names = {span.namespace for span in self}
        return [to_event(gap) for gap in holes.find(self._database) if _is_across(gap, names, since, cut)]


def _is_across(gap: RawBSONDocument, names: set[str], since: ClusterTime, cut: ClusterTime) -> bool:
    lost = holes.read(gap)
    if lost.since >= cut or lost.until.just_before <= since:
        return False
    if lost.level_at is not None and lost.level_at < cut:
        return False
    return any(holes.concerns(gap, name) for name in names)
