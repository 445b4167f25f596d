"""Putting documents back in one transaction, attempt after attempt until no other write comes in between."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from bson import Timestamp
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from change_history import server_codes
from change_history.bson.equality import key_of
from change_history.bson.values import to_python
from change_history.reconstruct.trust import recorded_until
from change_history.revert import withheld
from change_history.revert.attribution import UnattributedError, attribute
from change_history.revert.errors import ContendedError, NotAllowedError, UnsureError
from change_history.revert.intents import Intents
from change_history.revert.live import Live, LostRaceError, RefusedWriteError, TakenValueError
from change_history.revert.merge import plan
from change_history.revert.outcome import Lag, Revert, Reverted
from change_history.revert.writes import Write
from change_history.stored.event import Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from change_history.revert.attribution import Attribution
    from change_history.revert.goals import Goal
    from change_history.revert.intents import Purpose
    from change_history.revert.live import Key
    from change_history.revert.writes import Pattern

PATIENCE_S = 15.0
"""Seconds to retry while others write to the documents."""

_LONGEST_WAIT_S = 0.05
_COMMIT_MS = 10_000
_ABORTED = "TransientTransactionError"
_UNSURE = "UnknownTransactionCommitResult"

_BY_HAND = "; `watcher show` with --json prints what it was, to be written by hand"
_CAPPED = f"the collection is capped, and no transaction may write to such a one{_BY_HAND}"
_TYPES = {
    "view": "this is a view by now, to which nothing can be written; put it back in the collection behind it",
    "timeseries": f"this is a time-series collection by now, and no transaction may write to such a one{_BY_HAND}",
}


class Attempts:
    """Reverts documents, or computes what that would do.

    Args:
        goals: the documents, each once, grouped by collection.
        all_or_nothing: write nothing if a document cannot be reverted completely.
        attribution: who reverts; None: not given.
    """

    def __init__(
        self,
        watched: MongoClient[Any],
        database: Database[Any],
        goals: Sequence[Goal],
        purpose: Purpose,
        *,
        all_or_nothing: bool,
        dry_run: bool,
        attribution: Attribution | None = None,
    ) -> None:
        self._watched = watched
        self._database = database
        self._intents = Intents(database)
        self._goals = goals
        self._purpose = purpose
        self._all_or_nothing = all_or_nothing
        self._dry_run = dry_run
        self._attribution = attribution
        self._by = attribution.acting if attribution is not None else None
        self._unsaid: str | None = None
        self._refused: dict[Key, str] = {}
        self._closed: dict[str, str] = {}
        self._unique: dict[str, list[Pattern]] = {}

    def run(self) -> Revert:
        """Revert the documents, or on a dry run only compute the outcome.

        Raises:
            ContendedError: others kept writing to the documents for `PATIENCE_S`.
            NotAllowedError: a user lacks a privilege.
            UnsureError: the connection was lost during the commit, and its outcome is unknown.
        """
        until = time.monotonic() + PATIENCE_S
        self._closed = _closed(self._watched, (goal.namespace for goal in self._goals))
        with self._watched.start_session() as session:
            while True:
                try:
                    return self._attempt(session)
                except (UnattributedError, RefusedWriteError, TakenValueError) as error:
                    self._mind(error)
                    continue
                except LostRaceError as error:
                    if (other := Live(self._watched, session).taken_by(error.document)) is not None:
                        key = (error.document.namespace, key_of(error.document.raw_id))
                        self._refused[key] = (
                            "the collection's collation takes its _id for that of another document, "
                            f"{to_python(other)!r}, which is there: move or delete that one first"
                        )
                        continue
                    trouble: Exception = error
                except PyMongoError as error:
                    if not error.has_error_label(_ABORTED):
                        raise
                    trouble = error
                if time.monotonic() > until:
                    if isinstance(trouble, ConnectionFailure):
                        raise trouble
                    raise ContendedError(_contended(trouble)) from trouble
                time.sleep(random.uniform(0, _LONGEST_WAIT_S))  # noqa: S311 - spreads load, guards nothing

    def _mind(self, error: UnattributedError | RefusedWriteError | TakenValueError) -> None:
        """Adjust the next attempt so that it does not fail for the same reason."""
        if isinstance(error, UnattributedError):
            self._attribution, self._unsaid = None, str(error)
        elif isinstance(error, TakenValueError):
            self._unique.setdefault(error.namespace, []).append(error.pattern)
        else:
            self._refused[error.document] = str(error)  # the next attempt leaves it out

    def _attempt(self, session: ClientSession) -> Revert:
        session.start_transaction(
            ReadConcern("snapshot"), WriteConcern("majority"), ReadPreference.PRIMARY, max_commit_time_ms=_COMMIT_MS
        )
        transaction: Transaction | None = None
        try:
            live = Live(self._watched, session, self._unique)
            try:
                found = live.read(
                    (goal.namespace, goal.raw_id) for goal in self._goals if goal.namespace not in self._closed
                )
                documents = tuple(self._planned(goal, found) for goal in self._goals)
                now = session.cluster_time["clusterTime"] if session.cluster_time else Timestamp(0, 0)
                writes = self._writes(documents)
                if not writes:
                    return self._revert(documents, now)
                if self._attribution is not None:
                    attribute(self._attribution, self._watched, session, sorted({_database(write) for write in writes}))
                live.write(writes)
            except OperationFailure as error:
                if error.code == server_codes.UNAUTHORIZED:
                    raise self._not_allowed(error) from error
                raise
            transaction = _identity(session)
            self._intents.intend(transaction, self._purpose, writes, now, self._by)
            self._commit(session, transaction)
        finally:
            if session.in_transaction:
                session.abort_transaction()
                if transaction is not None:
                    self._intents.withdraw(transaction)
        self._intents.done(transaction)
        return self._revert(documents, now, transaction)

    def _planned(self, goal: Goal, found: dict[Key, bytes]) -> Reverted:
        key = (goal.namespace, key_of(goal.raw_id))
        if goal.namespace in self._closed:
            why = self._closed[goal.namespace]
            return Reverted(namespace=goal.namespace, raw_id=goal.raw_id, before=None, after=None, refused=why)
        actual = found.get(key)
        refused = goal.refused or self._refused.get(key)
        sides = withheld.settle(actual, goal.expected, goal.target, changed=goal.changed, only=goal.only)
        merged = plan(actual, sides.expected, sides.target, only=goal.only, undo=goal.undo, force=self._purpose.forced)
        if refused is None and sides.lost and not self._purpose.keep_withheld:
            refused = withheld.refusal(sides.lost)
        return Reverted(
            namespace=goal.namespace,
            raw_id=goal.raw_id,
            before=actual,
            after=merged.document,
            raw_conflicts=merged.conflicts,
            raw_overwritten=merged.overwritten,
            refused=refused,
            gaps=goal.gaps,
            withheld=sides.lost,
        )

    def _writes(self, documents: Sequence[Reverted]) -> list[Write]:
        if self._dry_run or (self._all_or_nothing and not all(document.complete for document in documents)):
            return []
        return [
            Write(document.namespace, document.raw_id, document.before, document.after)
            for document in documents
            if document.writes and document.refused is None
        ]

    def _commit(self, session: ClientSession, transaction: Transaction) -> None:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                session.commit_transaction()
            except PyMongoError as error:
                if error.has_error_label(_UNSURE):
                    if time.monotonic() < until:
                        continue  # a commit may be repeated
                    raise UnsureError("the deployment went away during the commit") from error
                self._intents.withdraw(transaction)
                raise
            else:
                return

    def _revert(
        self, documents: tuple[Reverted, ...], now: Timestamp, transaction: Transaction | None = None
    ) -> Revert:
        lag = None
        if self._purpose.to is not None and any(document.raw_conflicts for document in documents):
            lag = Lag(recorded_until(self._database, documents[0].namespace), now)
        unsaid = self._unsaid if transaction is not None else None
        return Revert(documents=documents, transaction=transaction, lag=lag, unsaid=unsaid)

    def _not_allowed(self, error: OperationFailure) -> NotAllowedError:
        databases = sorted({goal.namespace.partition(".")[0] for goal in self._goals})
        said = (error.details or {}).get("errmsg", "")
        roles = " and ".join(f"readWrite on {name}" for name in databases)
        return NotAllowedError(
            f"the user of the watched deployment may not put documents back ({said}): it needs {roles}, "
            "which recording does not"
        )


def _database(write: Write) -> str:
    return write.namespace.partition(".")[0]


def _contended(trouble: Exception) -> str:
    """The message for a revert that was given up."""
    code = trouble.code if isinstance(trouble, OperationFailure) else None
    if code is None or code == server_codes.WRITE_CONFLICT:
        return "others write to it all the time; nothing was changed"
    details = trouble.details or {} if isinstance(trouble, OperationFailure) else {}
    name = details.get("codeName", "error")
    return (
        f"the server refused for {PATIENCE_S:.0f} s, {name} ({code}): {details.get('errmsg', '')}; nothing was changed"
    )


def _identity(session: ClientSession) -> Transaction:
    """The open transaction as its events will carry it, without the digest of the user, which the server adds."""
    number = session._server_session.transaction_id  # noqa: SLF001 - the driver has no public name for it
    return Transaction({"id": session.session_id["id"]}, int(number))


def _closed(client: MongoClient[Any], namespaces: Iterable[str]) -> dict[str, str]:
    """The namespaces, `db.coll`, to which no transaction can write, with the reason in words."""
    found: dict[str, str] = {}
    for namespace in dict.fromkeys(namespaces):
        database, _, name = namespace.partition(".")
        try:
            kinds = list(client[database].list_collections(filter={"name": name}))
        except OperationFailure:
            continue  # a missing privilege is reported by the write
        for kind in kinds:
            if kind["options"].get("capped"):
                found[namespace] = _CAPPED
            elif kind["type"] in _TYPES:
                found[namespace] = _TYPES[kind["type"]]
    return found
