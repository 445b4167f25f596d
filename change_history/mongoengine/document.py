"""The history of one mongoengine document: `user.history`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

import bson

from change_history.blame import recorded
from change_history.bson.paths import dotted_text
from change_history.bson.values import ABSENT, document_to_python
from change_history.diff import images
from change_history.errors import HistoryError
from change_history.history import History
from change_history.mongoengine.change import Translator
from change_history.mongoengine.changes import Changes, Events, Source, moment_of
from change_history.mongoengine.classes import class_of
from change_history.mongoengine.connection import history_database
from change_history.mongoengine.translation import Values, locate, stored_field
from change_history.mongoengine.waiting import wait
from change_history.query import imported
from change_history.query.conditions import value_at
from change_history.reconstruct.state import Reconstruction

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from pymongo.database import Database

    from change_history.contexts import Identity
    from change_history.mongoengine.change import DocumentChange
    from change_history.mongoengine.translation import ClassAt
    from change_history.query.imported import ImportedEntry
    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.revert.outcome import Revert
    from change_history.stored.event import Event

_WRITING = ("save", "delete", "update", "modify", "cascade_save", "switch_db", "switch_collection")


class PastDocumentError(HistoryError, TypeError):
    """A past state of a document cannot be saved: `document.history.revert(to=…)` restores it."""


class DocumentHistory:
    """The history of one mongoengine document. It is read on use and not cached.

    A moment is a datetime (a naive one is UTC, as mongoengine takes it), a `bson.Timestamp`, or the number of a
    version: 1 is the first recorded event, -1 the last.

    Every method raises, besides what it says itself:
        change_history.UnknownStateError: the state is unknown.
        change_history.NoSuchVersionError: the document has no version of this number.
        pymongo.errors.PyMongoError: a deployment does not answer, or refuses.

    Args:
        document: saved or not; a document that was never saved has an empty history. Its own database and collection
            apply, also after `switch_db` or `switch_collection`.
    """

    def __init__(self, document: Any) -> None:
        self._document = document

    @property
    def events(self) -> Events:
        """Every recorded event of the document, oldest first."""
        return Events(self._source)

    @property
    def changes(self) -> Changes:
        """Every recorded change of the document, oldest first."""
        return Changes(self._source)

    @property
    def imported(self) -> list[ImportedEntry]:
        """The changes that `watcher import` imported from the application's own list of changes, oldest first.

        Names and values are as the application had recorded them.
        """
        source = self._source
        return list(imported.read(source.database, source.namespace, source.document_id)) if source.saved else []

    def as_of(self, moment: PointInTime | datetime | None) -> Any:
        """The document at a moment: an object of its class that cannot be saved; None: it did not exist.

        Fields that the class no longer has are left out; `raw_as_of` has them.
        """
        stored = self.raw_as_of(moment)
        if stored is None:
            return None
        return past(type(self._document), stored, self._source.codec)

    def raw_as_of(self, moment: PointInTime | datetime | None) -> dict[str, Any] | None:
        """The document as stored at a moment, exact (see `change_history.bson.values`); None: it did not exist."""
        source = self._source
        if not source.saved:
            return None
        return self._history.as_of(source.namespace, source.document_id, moment_of(moment))

    def diff(self, a: PointInTime | datetime | None, b: PointInTime | datetime | None = None) -> list[DocumentChange]:
        """The changes of the document between two moments (see `History.diff`); None: the last recorded one."""
        source = self._source
        if not source.saved:
            return []
        one, other = (self._reconstruction(moment).known() for moment in (a, b))
        before, after = (Translator(source.model, source.codec, _classes_in(state)) for state in (one, other))
        return [
            (before if change.new_value is ABSENT else after).translated(change)
            for change in images.read(images.changes(one, other))
        ]

    def blame(self, at: PointInTime | datetime | None = None) -> dict[str, Event]:
        """The event that set each value of the document, by attribute: `addr.city` (see `History.blame`)."""
        source = self._source
        if not source.saved:
            return {}
        reconstruction = self._reconstruction(at)
        class_at = _classes_in(reconstruction.known())
        found: dict[str, Event] = {}
        for leaf in recorded.leaves(source.database, reconstruction):
            names, field = locate(source.model, leaf.path, class_at)
            name = json.dumps(names, ensure_ascii=False) if leaf.field.startswith("[") else dotted_text(names)
            if field is not None or name not in found:  # an older class may have stored something under that name
                found[name] = leaf.event
        return found

    def revert(
        self,
        *,
        to: PointInTime | datetime,
        fields: Iterable[str] = (),
        force: bool = False,
        keep_withheld: bool = False,
        dry_run: bool = False,
        actor: Identity | None = None,
        reason: str | None = None,
    ) -> Revert:
        """Revert the stored document to a moment, with the checks of `History.revert`; then `reload` this object.

        Args:
            to: the moment.
            fields: only these attributes; none: all. A string is one attribute.
            force: overwrite conflicts.
            keep_withheld: leave redacted values as they are.
            dry_run: check only, write nothing.
            actor: who reverts; None: the actor of `acting`.
            reason: the reason.

        Raises:
            change_history.HistoryError: its subclasses say why nothing was reverted (see `History.revert`).
        """
        source = self._source
        names = [stored_field(source.model, name) for name in ((fields,) if isinstance(fields, str) else fields)]
        return self._history.revert(
            source.namespace,
            source.document_id,
            to=moment_of(to),
            fields=names,
            force=force,
            keep_withheld=keep_withheld,
            dry_run=dry_run,
            actor=actor,
            reason=reason,
        )

    def wait(self, timeout: float = 2.0) -> None:
        """Wait until the daemon has recorded the document's last write.

        That is so if it has recorded everything up to now, or if the document's state in history has equalled the
        deployment's majority-committed one for half a second.

        Args:
            timeout: in seconds.

        Raises:
            change_history.mongoengine.NotRecordedYetError: it has not in time: the daemon is not running, or behind.
            ValueError: the document was never saved.
        """
        source = self._source
        if not source.saved:
            raise ValueError("the document was never saved, so there is nothing to wait for")
        wait(self._history, _database_of(self._document), source.namespace, source.document_id, timeout)

    def _reconstruction(self, moment: PointInTime | datetime | None) -> Reconstruction:
        source = self._source
        return Reconstruction(source.database, source.namespace, source.document_id, moment_of(moment))

    @property
    def _source(self) -> Source:
        return source_of(self._document)

    @property
    def _history(self) -> History:
        return history_of(_database_of(self._document))

    def __repr__(self) -> str:
        return f"<history of {self._document!r}>"


def _classes_in(state: bytes | None) -> ClassAt:
    """A function that gives the `_cls` of the embedded document at a path of a document; None: it has none."""
    document = document_to_python(state) if state is not None else {}
    return lambda path: class_of(value_at(document, path))


def source_of(document: Any) -> Source:
    """The source of a document's history, from its own database and collection."""
    database = _database_of(document)
    own = vars(document).get("_get_collection")  # of an instance with another collection
    name = own().name if own is not None else document._get_collection_name()  # noqa: SLF001
    codec = database.codec_options
    saved = document.pk is not None
    document_id: Any = ABSENT
    if saved:
        # As the application's own connection writes it: a UUID becomes the binary subtype it is configured for.
        written = {"_id": document.to_mongo(fields=[document._meta["id_field"]])["_id"]}  # noqa: SLF001
        document_id = document_to_python(bson.encode(written, codec_options=codec))["_id"]
    kept = history_database(database.client)
    return Source(kept, f"{database.name}.{name}", type(document), codec, document_id, saved)


def history_of(database: Database[Any]) -> History:
    """The history of a database's documents. It uses the application's connections and must not be closed."""
    kept = history_database(database.client)
    return History(kept.client, kept.name, watched=database.client)


def past(model: Any, stored: dict[str, Any], codec: Any) -> Any:
    """A past state of a document, as an object that cannot be saved."""
    document = Values(codec).document(model, stored)

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise PastDocumentError(
            "this is what the document was, and not to be written: `history.revert(to=…)` of the document puts it back"
        )

    vars(document).update(dict.fromkeys(_WRITING, refuse))
    return document


def _database_of(document: Any) -> Database[Any]:
    found: Database[Any] = document._get_db()  # noqa: SLF001 - it respects `switch_db`
    return found
