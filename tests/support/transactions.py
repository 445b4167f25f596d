"""Which transaction an event belongs to, as history says it and as the driver knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support import oracle

if TYPE_CHECKING:
    from bson import Timestamp
    from pymongo import MongoClient
    from pymongo.client_session import ClientSession


def entries_of(recorded: list[bytes]) -> list[dict[str, Any]]:
    """History of documents."""
    return [entry for entry in map(oracle.entry, recorded) if "document_id" in entry]


def belongs_to(entry: dict[str, Any]) -> tuple[bytes, int] | None:
    """Session and number."""
    transaction = entry.get("transaction")
    return (bytes(transaction["session"]["id"]), transaction["number"]) if transaction else None


def last_of(session: ClientSession) -> tuple[bytes, int]:
    """Session and number of the transaction that a session has run last."""
    return bytes(session.session_id["id"]), session._server_session.transaction_id


def oplog_entries(client: MongoClient[Any], session: ClientSession) -> list[Timestamp]:
    """Of the transaction that a session has run last."""
    query = {"lsid.id": session.session_id["id"], "txnNumber": session._server_session.transaction_id}
    return [entry["ts"] for entry in client.local["oplog.rs"].find(query, {"ts": 1})]
