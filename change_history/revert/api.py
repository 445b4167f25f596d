"""Putting documents back: what `History` does when it is asked to revert.

Every field is written only if it still has the value that history says it has, in one transaction of the server; what
has another one is a conflict, and stays. What it takes is imported only then: most who read never revert.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from change_history.bson.cluster_time import ClusterTime
from change_history.query import transactions
from change_history.stored.order import END, after
from change_history.stored.reading import history_collection, require_namespace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo import MongoClient
    from pymongo.database import Database

    from change_history.contexts import Identity
    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.revert.attribution import Attribution
    from change_history.revert.outcome import Revert
    from change_history.stored.event import Transaction


class Reverting:
    """The part of `History` that puts documents back; see there what all of it takes and raises."""

    _database: Database[Any]
    _watched: MongoClient[Any]
    _context_collection: str

    def revert(
        self,
        namespace: str,
        document_id: Any,
        *,
        to: PointInTime,
        fields: Iterable[str] = (),
        seen: PointInTime | None = None,
        force: bool = False,
        keep_withheld: bool = False,
        dry_run: bool = False,
        actor: Identity | None = None,
        reason: str | None = None,
        request: Identity | None = None,
    ) -> Revert:
        """Make a document what it was. Brings it back if it was deleted, deletes it if it was not there.

        What was recorded of it after that moment is undone; the outcome tells which events that are.
        A document that is what history says it is becomes exactly `as_of(to)`, the order of its keys too. Of another
        one those fields are put back that are what history says; the others are conflicts. Arrays are wholes.

        Args:
            to: when: an aware datetime, a `bson.Timestamp` or the number of a version.
            fields: only these, as MongoDB writes them, `address.city`; none: all. A string is one field.
            seen: what was recorded after this moment counts as a conflict too: somebody may have looked at the
                outcome of a dry run for a while. Without it, what is recorded when the call begins is undone.
            force: overwrite conflicts, and do not mind gaps. What history cannot tell cannot be forced.
            keep_withheld: leave as it is what history withholds (see `Redacted`), and leave it out of a document that
                is brought back. Without it, nothing is done where a withheld value would have to be put back.
            dry_run: only find out.

        Raises:
            change_history.revert.errors.NothingRecordedError: nothing at all is recorded of the document.
            change_history.revert.errors.NoSuchFieldError: it has no such field, neither now nor then, or was not there.
            UnknownStateError: history cannot tell what it was then, or what it is.
            change_history.revert.merge.InsideArrayError: a field is within an array.
            change_history.reconstruct.point_in_time.NoSuchVersionError: the document has no version of this number.
        """
        from change_history.revert import goals, outcome
        from change_history.revert.attempts import Attempts
        from change_history.revert.intents import Purpose

        require_namespace(namespace)
        attribution = self._attribution(actor, reason, request)
        asked = (fields,) if isinstance(fields, str) else tuple(fields)
        to = goals.counted(self._database, namespace, document_id, to)
        wanted = goals.to_moment(self._database, namespace, document_id, to, fields=asked, seen=seen, force=force)
        until = after(ClusterTime.of(wanted.seen)) if wanted.seen is not None else wanted.since
        between = functools.partial(outcome.between, self._database, namespace, document_id, names=asked)
        undone = between(wanted.since, until)
        unseen = between(until, END) if seen is not None else None
        made = Attempts(
            self._watched,
            self._database,
            [wanted.goal],
            Purpose(to, None, asked, force, keep_withheld),
            all_or_nothing=False,
            dry_run=dry_run,
            attribution=attribution,
        ).run()
        return replace(made, to=to, seen=wanted.seen, undone=undone, unseen=unseen)

    def undelete(
        self,
        namespace: str,
        document_id: Any,
        *,
        seen: PointInTime | None = None,
        force: bool = False,
        keep_withheld: bool = False,
        dry_run: bool = False,
        actor: Identity | None = None,
        reason: str | None = None,
        request: Identity | None = None,
    ) -> Revert:
        """Bring back a document whose last recorded event is its deletion, as it was right before.

        If it is there already, nothing is done, so this can be done again. A document that others have put in its place
        meanwhile is a conflict, also if that is recorded by now.

        Args:
            seen: only what was recorded up to this moment counts; None: all.
            force: overwrite a document in its place that is not recorded, and do not mind gaps.
            keep_withheld: bring it back without what history withholds; without it, such a document is refused.
            dry_run: only find out.

        Raises:
            change_history.revert.errors.CollectionEndedError: it went with its collection.
            change_history.revert.errors.NothingRecordedError: nothing at all is recorded of the document.
            UnknownStateError: history cannot tell what it was, or whether it is there.
        """
        from change_history.revert import goals
        from change_history.revert.attempts import Attempts
        from change_history.revert.intents import Purpose

        require_namespace(namespace)
        attribution = self._attribution(actor, reason, request)
        found = goals.before_deletion(self._database, namespace, document_id, seen)
        if isinstance(found, goals.Deleted):
            return self.revert(
                namespace,
                document_id,
                to=found.version,
                seen=found.at,
                force=force,
                keep_withheld=keep_withheld,
                dry_run=dry_run,
                actor=actor,
                reason=reason,
                request=request,
            )
        purpose = Purpose(found.version)
        made = Attempts(
            self._watched,
            self._database,
            [found.goal],
            purpose,
            all_or_nothing=False,
            dry_run=True,
            attribution=attribution,
        ).run()
        (document,) = made.documents
        if document.before is not None:  # whatever it is by now
            document = replace(document, after=document.before, raw_conflicts=(), refused=None, withheld=())
            made = replace(made, documents=(document,), lag=None)
        return replace(made, to=found.version)

    def revert_transaction(
        self,
        transaction: Transaction | str,
        *,
        partial: bool = False,
        force: bool = False,
        keep_withheld: bool = False,
        dry_run: bool = False,
        actor: Identity | None = None,
        reason: str | None = None,
        request: Identity | None = None,
    ) -> Revert:
        """Undo a transaction: every document that it wrote to becomes what it was before, in one transaction.

        Only the fields that it changed are put back. What was changed later in other fields stays; a field of the
        transaction that was changed later is a conflict.

        Args:
            transaction: which, or its name (see `History.transaction`).
            partial: do what can be done. Without it, nothing is written if anything cannot be.
            force: overwrite conflicts, and do not mind gaps.
            keep_withheld: leave as it is what history withholds; without it, such a document is refused.
            dry_run: only find out.

        Raises:
            change_history.query.transactions.UnknownTransactionError: none has this name.
            change_history.query.transactions.AmbiguousTransactionError: several have it.
            change_history.revert.errors.NotAllRecordedError: some of its events may not be recorded yet.
            ValueError: no such name.
        """
        from change_history.revert import goals
        from change_history.revert.attempts import Attempts
        from change_history.revert.intents import Purpose

        attribution = self._attribution(actor, reason, request)
        if isinstance(transaction, str):
            collection = history_collection(self._database)
            transaction = transactions.find(collection, transactions.read_name(transaction))
        documents = goals.touched(self._database, transaction)
        if not partial:
            goals.require_all(self._database, documents)
        return Attempts(
            self._watched,
            self._database,
            goals.of_transaction(self._database, transaction, documents, force=force),
            Purpose(None, transaction, (), force, keep_withheld),
            all_or_nothing=not partial,
            dry_run=dry_run,
            attribution=attribution,
        ).run()

    def _attribution(self, actor: Identity | None, reason: str | None, request: Identity | None) -> Attribution | None:
        """How a revert is attributed to whoever does it."""
        from change_history.contexts import saying
        from change_history.revert.attribution import Attribution

        said = saying(actor, reason, request)
        return Attribution(said, self._context_collection) if said is not None else None
