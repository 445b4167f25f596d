"""The history of a document class as a whole: `UserModel.history_objects`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson

from change_history.bson.values import UNKNOWN, document_to_python, to_raw
from change_history.mongoengine.changes import Changes, Events, Source, moment_of
from change_history.mongoengine.connection import history_database
from change_history.mongoengine.document import history_of, past
from change_history.reconstruct.point_in_time import Versions
from change_history.reconstruct.state import UnknownStateError
from change_history.stored.event import path_of
from change_history.stored.order import position_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from change_history.contexts import Identity
    from change_history.reconstruct.point_in_time import Instant
    from change_history.revert.outcome import Revert
    from change_history.stored.event import Event


class CollectionHistory:
    """The history of a document class's collection. Subclasses share it; `as_of` and `deleted` filter by class.

    Every method raises, besides what it says itself:
        change_history.UnknownStateError: the state is unknown.
        pymongo.errors.PyMongoError: a deployment does not answer, or refuses.

    Args:
        model: the document class.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    @property
    def events(self) -> Events:
        """Every recorded event of the collection, oldest first."""
        return Events(self._source)

    @property
    def changes(self) -> Changes:
        """Every recorded change of the collection, oldest first."""
        return Changes(self._source)

    def as_of(self, moment: Instant | datetime | None, *conditions: Any, **query: Any) -> Iterator[Any]:
        """The documents at a point in time, in the order of their ids: objects that cannot be saved.

        Args:
            moment: a datetime (a naive one is UTC) or a `bson.Timestamp`; None: the last that is recorded.
            conditions: `Q` objects on the documents as they were.
            query: likewise, as `objects` takes them.

        Raises:
            change_history.FilterError: the server refuses the query.
            mongoengine.errors.InvalidQueryError: the class has no such field.
        """
        wanted = dict(self._model.objects(*conditions, **query)._query)  # noqa: SLF001 - the query in stored names
        source = self._source
        found = history_of(self._model._get_db()).collection_as_of(source.namespace, moment_of(moment), wanted)  # noqa: SLF001
        return (past(self._model, stored, source.codec) for stored in found)

    def deleted(self) -> Iterator[Any]:
        """The documents that are deleted, in their last states, latest deletion first."""
        source = self._source
        history = history_of(self._model._get_db())  # noqa: SLF001
        seen: set[bytes] = set()
        for event in history.log(source.namespace, operation="delete", reverse=True):
            key = bson.encode({"_id": event.document_id})
            if key in seen:
                continue
            seen.add(key)
            if history.as_of(source.namespace, event.document_id, None) is not None:
                continue
            stored = self._before(event)
            if stored is not None and self._is_mine(stored):
                yield past(self._model, stored, source.codec)

    def undelete(
        self,
        pk: Any,
        *,
        force: bool = False,
        keep_withheld: bool = False,
        dry_run: bool = False,
        actor: Identity | None = None,
        reason: str | None = None,
    ) -> Revert:
        """Restore a deleted document in its last state, with the checks of `History.undelete`.

        Args:
            pk: its primary key, as the class has it.
            force: overwrite a document in its place that is not recorded.
            keep_withheld: restore it without its redacted values.
            dry_run: check only, write nothing.
            actor: who restores it; None: the actor of `acting`.
            reason: the reason.

        Raises:
            change_history.HistoryError: its subclasses say why nothing was restored (see `History.undelete`).
        """
        source = self._source
        field = self._model._fields[self._model._meta["id_field"]]  # noqa: SLF001
        written = {"_id": field.to_mongo(field.to_python(pk))}
        document_id = document_to_python(bson.encode(written, codec_options=source.codec))["_id"]
        history = history_of(self._model._get_db())  # noqa: SLF001
        return history.undelete(
            source.namespace,
            document_id,
            force=force,
            keep_withheld=keep_withheld,
            dry_run=dry_run,
            actor=actor,
            reason=reason,
        )

    def _before(self, deletion: Event) -> dict[str, Any] | None:
        """The last state of a deleted document."""
        database, namespace = self._source.database, deletion.namespace
        versions = Versions(database, namespace, to_raw(deletion.document_id))
        version = versions.number(position_at(deletion.id, deletion.resume_token))
        if version > 1:
            return history_of(self._model._get_db()).as_of(namespace, deletion.document_id, version - 1)  # noqa: SLF001
        # Nothing is recorded of it before; the deletion itself has it if the server had its pre-image.
        told = {path_of(change): change.old_value for change in deletion.changes}
        if not told or any(value is UNKNOWN or len(path) != 1 for path, value in told.items()):
            raise UnknownStateError(namespace, "nothing is recorded of it before its deletion", deletion.document_id)
        return {str(key): value for (key,), value in told.items()}

    @property
    def _source(self) -> Source:
        database = self._model._get_db()  # noqa: SLF001
        namespace = f"{database.name}.{self._model._get_collection_name()}"  # noqa: SLF001
        return Source(history_database(database.client), namespace, self._model, database.codec_options)

    def _is_mine(self, stored: dict[str, Any]) -> bool:
        return "_cls" not in stored or stored["_cls"] in self._model._subclasses  # noqa: SLF001

    def __repr__(self) -> str:
        return f"<history of {self._model.__name__}>"
