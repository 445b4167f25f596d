"""The methods of `History` that revert documents.

A field is written only if it still has the value that history expects, in one transaction on the server; one with
another value is a conflict, and is left alone. The imports happen only on a call: most readers never revert.
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
    """The part of `History` that reverts documents; its docstring has the common arguments and errors."""

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
        """Revert a document to an earlier state: insert it if it was deleted since, delete it if it did not exist then.

        The events recorded after that moment are undone; the outcome lists them.
        A document that is as history expects becomes exactly `as_of(to)`, including the order of its keys. Otherwise
        the fields that are as expected are reverted; the others are conflicts. Arrays are reverted as a whole.

        Args:
            to: the moment to revert to: an aware datetime, a `bson.Timestamp` or a version number.
            fields: only these, as MongoDB writes them, `address.city`; none: all. A string is one field.
            seen: events recorded after this moment are conflicts too: give the `seen` of a dry run whose outcome was
                reviewed. None: everything recorded when the call begins is undone.
            force: overwrite conflicts, and ignore gaps. Unknown states cannot be forced.
            keep_withheld: leave values that history withholds (see `Redacted`) as they are, and omit them from a
                document that is inserted. Without it, nothing is written where a withheld value would be restored.
            dry_run: only find out.

        Raises:
            change_history.revert.errors.NothingRecordedError: nothing is recorded of the document.
            change_history.revert.errors.NoSuchFieldError: the field is in neither state, or one has no document.
            UnknownStateError: its state then, or its state now, is unknown.
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
        """Restore a document whose last recorded event is its deletion, as it was right before.

        If it exists already, nothing is done, so the call can be repeated. Another document inserted with its `_id`
        since is a conflict, even if that is recorded by now.

        Args:
            seen: only events recorded up to this moment count; None: all.
            force: overwrite an unrecorded document with its `_id`, and ignore gaps.
            keep_withheld: restore it without the withheld values; otherwise, such a document is refused.
            dry_run: only find out.

        Raises:
            change_history.revert.errors.CollectionEndedError: it ended with its collection.
            change_history.revert.errors.NothingRecordedError: nothing is recorded of the document.
            UnknownStateError: its state before, or whether it exists, is unknown.
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
        if document.before is not None:  # it exists, so its present content does not matter
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
        """Undo a transaction: every document that it wrote to is reverted to its state before, in one transaction.

        Only the fields that it changed are reverted. Later changes of other fields stay; a later change of one of its
        fields is a conflict.

        Args:
            transaction: the transaction, or its name (see `History.transaction`).
            partial: revert what can be reverted. Otherwise nothing is written if any of it cannot.
            force: overwrite conflicts, and ignore gaps.
            keep_withheld: leave withheld values as they are; otherwise, such a document is refused.
            dry_run: only find out.

        Raises:
            change_history.query.transactions.UnknownTransactionError: none has this name.
            change_history.query.transactions.AmbiguousTransactionError: several have it.
            change_history.revert.errors.NotAllRecordedError: some of its events may not be recorded yet.
            ValueError: the name is malformed.
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
