"""Putting documents back: what `History` does when it is asked to revert.

Every field is written only if it still has the value that history says it has, in one transaction of the server; what
has another one is a conflict, and stays. `watched` is the client of the deployment that has the documents.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from change_history.bson.cluster_time import ClusterTime
from change_history.query import transactions
from change_history.revert import goals, outcome
from change_history.revert.attempts import Attempts
from change_history.revert.intents import Purpose
from change_history.stored.order import END, after
from change_history.stored.reading import history_collection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo import MongoClient
    from pymongo.database import Database

    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.revert.outcome import Revert
    from change_history.revert.saying import Saying
    from change_history.stored.event import Transaction


def revert(
    database: Database[Any],
    watched: MongoClient[Any],
    namespace: str,
    document_id: Any,
    *,
    to: PointInTime,
    fields: Iterable[str] = (),
    seen: PointInTime | None = None,
    force: bool = False,
    keep_withheld: bool = False,
    dry_run: bool = False,
    saying: Saying | None = None,
) -> Revert:
    """Make a document what it was; see `History.revert`."""
    asked = tuple(fields)
    to = goals.counted(database, namespace, document_id, to)
    wanted = goals.to_moment(database, namespace, document_id, to, fields=asked, seen=seen, force=force)
    until = after(ClusterTime.of(wanted.seen)) if wanted.seen is not None else wanted.since
    between = partial(outcome.between, database, namespace, document_id, names=asked)
    undone = between(wanted.since, until)
    unseen = between(until, END) if seen is not None else None
    purpose = Purpose(to, None, asked, force, keep_withheld)
    attempts = Attempts(watched, database, [wanted.goal], purpose, all_or_nothing=False, dry_run=dry_run, saying=saying)
    return replace(attempts.run(), to=to, seen=wanted.seen, undone=undone, unseen=unseen)


def undelete(
    database: Database[Any],
    watched: MongoClient[Any],
    namespace: str,
    document_id: Any,
    *,
    seen: PointInTime | None = None,
    force: bool = False,
    keep_withheld: bool = False,
    dry_run: bool = False,
    saying: Saying | None = None,
) -> Revert:
    """Bring a deleted document back; see `History.undelete`."""
    found = goals.before_deletion(database, namespace, document_id, seen)
    if isinstance(found, goals.Deleted):
        return revert(
            database,
            watched,
            namespace,
            document_id,
            to=found.version,
            seen=found.at,
            force=force,
            keep_withheld=keep_withheld,
            dry_run=dry_run,
            saying=saying,
        )
    attempts = Attempts(watched, database, [found.goal], Purpose(found.version), all_or_nothing=False, dry_run=True)
    made = attempts.run()
    (document,) = made.documents
    if document.before is not None:  # whatever it is by now
        document = replace(document, after=document.before, raw_conflicts=(), refused=None, withheld=())
        made = replace(made, documents=(document,), lag=None)
    return replace(made, to=found.version)


def revert_transaction(
    database: Database[Any],
    watched: MongoClient[Any],
    transaction: Transaction | str,
    *,
    partial: bool = False,
    force: bool = False,
    keep_withheld: bool = False,
    dry_run: bool = False,
    saying: Saying | None = None,
) -> Revert:
    """Undo a transaction; see `History.revert_transaction`."""
    if isinstance(transaction, str):
        collection = history_collection(database)
        transaction = transactions.find(collection, transactions.read_name(transaction))
    purpose = Purpose(None, transaction, (), force, keep_withheld)
    documents = goals.touched(database, transaction)
    if not partial:
        goals.require_all(database, documents)
    found = goals.of_transaction(database, transaction, documents, force=force)
    attempts = Attempts(watched, database, found, purpose, all_or_nothing=not partial, dry_run=dry_run, saying=saying)
    return attempts.run()
