"""Attribute a revert: a context document in the revert's own transaction, as an application would write one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo.errors import OperationFailure

from change_history.revert.errors import NotAllowedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo import MongoClient
    from pymongo.client_session import ClientSession

    from change_history.contexts import Acting

_ABORTED = "TransientTransactionError"


class Attribution(NamedTuple):
    """To whom a revert is attributed, and where that is written.

    Attributes:
        collection: where context documents go, in each database; empty: nowhere.
        needed: fail if it cannot be written. Otherwise the documents are reverted without it, and the outcome says so.
    """

    acting: Acting
    collection: str
    needed: bool = True


class UnattributedError(Exception):
    """The server refused the context document, which aborts the transaction; the message has the reason and remedy."""


def attribute(
    attribution: Attribution, watched: MongoClient[Any], session: ClientSession, databases: Iterable[str]
) -> None:
    """Write the context document into every database that is written to: each may have a daemon of its own.

    Raises:
        NotAllowedError: the server refuses it, and it is needed.
        UnattributedError: the server refuses it, and it is not needed.
        pymongo.errors.PyMongoError: another attempt may succeed.
    """
    if not attribution.collection:
        why = "who reverts cannot be recorded: the daemon takes no context documents, its CONTEXT_COLLECTION is empty"
        raise NotAllowedError(f"{why}; nothing was changed") if attribution.needed else UnattributedError(why)
    for name in databases:
        try:
            watched[name][attribution.collection].insert_one(attribution.acting.document(), session=session)
        except OperationFailure as error:
            if error.has_error_label(_ABORTED):
                raise
            where = f"{name}.{attribution.collection}"
            why = f"who reverts cannot be written into {where} ({(error.details or {}).get('errmsg', error)})"
            remedy = f"the user of the watched deployment needs `insert` on {where}, which readWrite on {name} has"
            if attribution.needed:
                raise NotAllowedError(f"{why}; nothing was changed: {remedy}") from error
            raise UnattributedError(f"{why}: {remedy}") from error
