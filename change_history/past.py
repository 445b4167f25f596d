"""The part of `History` that tells what documents were: as-of, diff, blame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.blame import recorded
from change_history.bson.values import document_to_python
from change_history.diff import states
from change_history.diff.collections import changed
from change_history.diff.compare import compare
from change_history.reconstruct.collection import CollectionDocument, CollectionState
from change_history.reconstruct.lineage import arrival_after, boundary_before
from change_history.reconstruct.state import Reconstruction, UnknownStateError, first_later

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from change_history.blame.recorded import Leaf
    from change_history.diff.collections import Changed
    from change_history.diff.difference import Difference
    from change_history.reconstruct.point_in_time import Moment, PointInTime
    from change_history.reconstruct.state import State
    from change_history.stored.event import Change, Event
    from change_history.stored.order import HistoryPosition


class Past:
    """What documents were.

    A moment is an aware `datetime` (wall time, in milliseconds), a `bson.Timestamp` (cluster time) or, for one
    document, the number of a version: 1 is its first recorded event, -1 its last. Each includes what happened at it.
    None is the last that is recorded.

    Values are exact, see `change_history.bson.values.to_python`. Nothing is invented: where history cannot tell,
    `UnknownStateError`
    says why. An answer may reach across a gap, an interval of which events were lost; `state` and `collection` tell.

    Every method raises, besides what it says itself:
        change_history.reconstruct.point_in_time.NoSuchVersionError: the document has no version of this number.
        TypeError: no moment, or a version number for a collection.
        ValueError: a time without a zone.
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.

    Args:
        database: the history database.
    """

    def __init__(self, database: Database[Any]) -> None:
        self._database = database

    def as_of(self, namespace: str, document_id: Any, at: PointInTime | None) -> dict[str, Any] | None:
        """What a document was.

        Args:
            namespace: `database.collection`.
            document_id: its `_id`, any BSON type.
            at: when.

        Returns:
            None: it was not there, or nothing was recorded of it by then.

        Raises:
            UnknownStateError: history cannot tell.
        """
        document = Reconstruction(self._database, namespace, document_id, at).known()
        return document_to_python(document) if document is not None else None

    def state(self, namespace: str, document_id: Any, at: PointInTime | None = None) -> State:
        """What a document was, and what the answer rests on: the event, the version, the gaps, or why nobody can tell.

        Arguments are those of `as_of`.
        """
        return Reconstruction(self._database, namespace, document_id, at).state()

    def collection_as_of(
        self, namespace: str, at: Moment | None, query: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The documents of a collection as they were, one after the other, in the server's order of `_id`s.

        In memory are only a few of them at a time.

        Args:
            namespace: `database.collection`.
            at: when.
            query: a MongoDB filter on the documents as they were. The server decides, by its own rules (see
                `change_history.reconstruct.filters`).

        Raises:
            UnknownStateError: history cannot tell a document, or which there were. `collection` goes on in that case.
            change_history.reconstruct.filters.FilterError: the server refuses the filter.
        """
        collection = self.collection(namespace, at)
        if collection.unknown is not None:
            raise UnknownStateError(namespace, collection.unknown)
        return map(_document, collection.documents(query))

    def collection(self, namespace: str, at: Moment | None = None) -> CollectionState:
        """A collection as it was, with what is not known of it: documents that history cannot tell, and gaps."""
        return CollectionState(self._database, namespace, at)

    def diff(self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None) -> list[Change]:
        """What became of a document between two moments, as one event would have recorded it.

        Applied as an update is (fields in their place, new ones at the end, arrays as wholes), the changes lead from
        `as_of(a)` to `as_of(b)`; of a document that was only there at one moment, there is one for each field.
        `differences` takes arrays apart.

        Args:
            namespace: `database.collection`.
            document_id: its `_id`, any BSON type.
            a: the first moment.
            b: the second one, which may also be the earlier.

        Raises:
            UnknownStateError: history cannot tell the document at one of them.
        """
        return states.read(states.changes(*self._both(namespace, document_id, a, b)))

    def differences(
        self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None
    ) -> list[Difference]:
        """What is different between two moments, down to the leaves (see `change_history.diff.compare`).

        Elements of arrays are matched by `_id` where they have one. `tests.support.json_patch` applies it. Arguments
        and errors are those of `diff`.
        """
        return compare(*self._both(namespace, document_id, a, b))

    def collection_diff(self, namespace: str, a: Moment | None, b: Moment | None) -> Iterator[Changed]:
        """The documents of a collection that are different at two moments, in the server's order of `_id`s.

        Those of which history cannot tell it come too, and say why. Compare them with `change_history.diff.compare`.

        Raises:
            UnknownStateError: history cannot tell which documents there were.
        """
        before, after = self.collection(namespace, a), self.collection(namespace, b)
        for collection in (before, after):
            if collection.unknown is not None:
                raise UnknownStateError(namespace, collection.unknown)
        return changed(self._database, before, after)

    def blame(self, namespace: str, document_id: Any, at: PointInTime | None = None) -> dict[str, Event]:
        """Which event each leaf of a document has its value from (see `change_history.blame.leaves` for the rules).

        Args:
            namespace: `database.collection`.
            document_id: its `_id`, any BSON type.
            at: when.

        Returns:
            By field, `items.0.price`, the event that last set it. Where the dotted form would mislead (a key with a
            dot, a number as a key), the path as a list of JSON. Empty if the document was not there.

        Raises:
            UnknownStateError: history cannot tell the document.
        """
        return {leaf.field: leaf.event for leaf in self.blame_leaves(namespace, document_id, at)}

    def blame_leaves(self, namespace: str, document_id: Any, at: PointInTime | None = None) -> list[Leaf]:
        """The leaves of a document with exact path, value and event. Arguments and errors are those of `blame`."""
        return recorded.leaves(self._database, Reconstruction(self._database, namespace, document_id, at))

    def first_later(self, state: State) -> Event | None:
        """The first recorded event of a document after the moment that was asked about."""
        return first_later(self._database, state)

    def turn_before(self, namespace: str, place: HistoryPosition) -> Event | None:
        """The last event before a place that ended all documents of a namespace, or brought others: drop, rename."""
        return boundary_before(self._database, namespace, place)

    def arrival_after(self, namespace: str, place: HistoryPosition) -> Event | None:
        """The first rename after a place that gave its documents to a namespace: they have another name before it."""
        return arrival_after(self._database, namespace, place)

    def _both(
        self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None
    ) -> tuple[bytes | None, bytes | None]:
        one, other = (Reconstruction(self._database, namespace, document_id, at).known() for at in (a, b))
        return one, other


def _document(told: CollectionDocument) -> dict[str, Any]:
    if told.data is None:
        raise UnknownStateError(told.namespace, told.unknown or "", told.document_id)
    return document_to_python(told.data)
