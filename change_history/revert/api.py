"""The part of `History` that puts documents back."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from change_history.bson.cluster_time import ClusterTime
from change_history.query import transactions
from change_history.revert import goals, later, undelete, undo
from change_history.revert.attempts import Attempts
from change_history.revert.intents import Intents, Purpose
from change_history.revert.told import Reverts
from change_history.stored.order import END, after
from change_history.stored.reading import history_collection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo import MongoClient
    from pymongo.database import Database

    from change_history.query.transactions import Transaction
    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.revert.intents import Unsettled
    from change_history.revert.outcome import Revert


class Reverting:
    """Putting documents back: what writes to the watched deployment, on request.

    Every field is written only if it still has the value that history says it has, in one transaction of the server;
    what has another one is a conflict, and stays. `change_history.revert` says how.

    Every method raises, besides what it says itself:
        change_history.revert.errors.ContendedError: others wrote to the documents all the time; nothing was changed.
        change_history.revert.errors.NotAllowedError: the user of the watched deployment lacks `readWrite` on the
            database, or that of the history on the history database. Nothing was changed.
        change_history.revert.errors.UnsureError: the deployment went away during the commit.
        pymongo.errors.PyMongoError: a deployment does not answer, or refuses.

    """

    _database: Database[Any]
    """The history database."""

    _watched: MongoClient[Any]
    """The deployment that has the documents."""

    def revert(
        self,
        namespace: str,
        document_id: Any,
        *,
        to: PointInTime,
        fields: Iterable[str] = (),
        seen: PointInTime | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> Revert:
        """Make a document what it was. Brings it back if it was deleted, deletes it if it was not there.

        What was recorded of it after that moment is undone; the outcome tells which events that are.
        A document that is what history says it is becomes exactly `as_of(to)`, the order of its keys too. Of another
        one those fields are put back that are what history says; the others are conflicts. Arrays are wholes.

        Args:
            namespace: `database.collection`.
            document_id: its `_id`, any BSON type.
            to: when: an aware datetime, a `bson.Timestamp` or the number of a version.
            fields: only these, as MongoDB writes them, `address.city`; none: all.
            seen: what was recorded after this moment counts as a conflict too: somebody may have looked at the
                outcome of a dry run for a while. Without it, what is recorded when the call begins is undone.
            force: overwrite conflicts, and do not mind gaps. What history cannot tell cannot be forced.
            dry_run: only find out.

        Raises:
            change_history.revert.errors.NothingRecordedError: nothing at all is recorded of the document.
            change_history.revert.errors.NoSuchFieldError: it has no such field, neither now nor then, or was not there.
            UnknownStateError: history cannot tell what it was then, or what it is.
            change_history.revert.merge.InsideArrayError: a field is within an array.
            change_history.reconstruct.point_in_time.NoSuchVersionError: the document has no version of this number.
            ValueError: a time without a zone.
        """
        asked = tuple(fields)
        to = goals.counted(self._database, namespace, document_id, to)
        wanted = goals.to_moment(self._database, namespace, document_id, to, fields=asked, seen=seen, force=force)
        until = after(ClusterTime.of(wanted.seen)) if wanted.seen is not None else wanted.since
        between = partial(later.between, self._database, namespace, document_id, names=asked)
        undone = between(wanted.since, until)
        unseen = between(until, END) if seen is not None else None
        purpose = Purpose(to, None, asked, force)
        attempts = Attempts(
            self._watched, self._database, [wanted.goal], purpose, all_or_nothing=False, dry_run=dry_run
        )
        return replace(attempts.run(), to=to, seen=wanted.seen, undone=undone, unseen=unseen)

    def undelete(
        self,
        namespace: str,
        document_id: Any,
        *,
        seen: PointInTime | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> Revert:
        """Bring back a document whose last recorded event is its deletion, as it was right before.

        If it is there already, nothing is done, so this can be done again. A document that others have put in its place
        meanwhile is a conflict, also if that is recorded by now.

        Args:
            namespace: `database.collection`.
            document_id: its `_id`, any BSON type.
            seen: only what was recorded up to this moment counts; None: all.
            force: overwrite a document in its place that is not recorded, and do not mind gaps.
            dry_run: only find out.

        Raises:
            change_history.revert.errors.CollectionEndedError: it went with its collection.
            change_history.revert.errors.NothingRecordedError: nothing at all is recorded of the document.
            UnknownStateError: history cannot tell what it was, or whether it is there.
        """
        found = undelete.find(self._database, namespace, document_id, seen)
        if isinstance(found, undelete.Deleted):
            return self.revert(namespace, document_id, to=found.version, seen=found.at, force=force, dry_run=dry_run)
        attempts = Attempts(
            self._watched, self._database, [found.goal], Purpose(found.version), all_or_nothing=False, dry_run=True
        )
        outcome = attempts.run()
        (document,) = outcome.documents
        if document.before is not None:  # whatever it is by now
            document = replace(document, after=document.before, raw_conflicts=())
            outcome = replace(outcome, documents=(document,), lag=None)
        return replace(outcome, to=found.version)

    def revert_transaction(
        self, transaction: Transaction | str, *, partial: bool = False, force: bool = False, dry_run: bool = False
    ) -> Revert:
        """Undo a transaction: every document that it wrote to becomes what it was before, in one transaction.

        Only the fields that it changed are put back. What was changed later in other fields stays; a field of the
        transaction that was changed later is a conflict.

        Args:
            transaction: which, or its name (see `History.transaction`).
            partial: do what can be done. Without it, nothing is written if anything cannot be.
            force: overwrite conflicts, and do not mind gaps.
            dry_run: only find out.

        Raises:
            change_history.query.transactions.UnknownTransactionError: none has this name.
            change_history.query.transactions.AmbiguousTransactionError: several have it.
            change_history.revert.errors.NotAllRecordedError: some of its events may not be recorded yet.
            ValueError: no such name.
        """
        if isinstance(transaction, str):
            collection = history_collection(self._database)
            transaction = transactions.find(collection, transactions.read_name(transaction))
        purpose = Purpose(None, transaction, (), force)
        documents = undo.touched(self._database, transaction)
        if not partial:
            undo.require_all(self._database, documents)
        found = undo.goals(self._database, documents, force=force)
        attempts = Attempts(self._watched, self._database, found, purpose, all_or_nothing=not partial, dry_run=dry_run)
        return attempts.run()

    @property
    def reverts(self) -> Reverts:
        """Tells which recorded events are a revert's own."""
        return Reverts(self._database)

    def unsettled_reverts(self) -> list[Unsettled]:
        """Reverts that were begun and never confirmed, because their process ended: with what became of them."""
        return Intents(self._database).unsettled()

    def settle_reverts(self) -> list[Unsettled]:
        """The same, and note what became of them, so that they are not told again."""
        intents = Intents(self._database)
        found = intents.unsettled()
        intents.settle(found)
        return found
