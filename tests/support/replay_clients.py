"""The clients of a database on a real server, which do what operations say."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from change_history.bson.values import document_to_python
from tests.support.operations import CLIENTS, on_the_wire
from tests.support.oracle import RAW

if TYPE_CHECKING:
    from collections import Counter

    from pymongo.client_session import ClientSession

    from tests.support.operations import Command, Operation


class Clients:
    """As many clients as operations know of; a context manager.

    Args:
        uri: the server.
        name: the database.
        counts: told of what is refused.
    """

    def __init__(self, uri: str, name: str, counts: Counter[str]) -> None:
        self._stack = ExitStack()
        self._clients = [self._stack.enter_context(MongoClient[dict[str, Any]](uri)) for _ in range(CLIENTS)]
        self._name = name
        self._counts = counts

    @property
    def first(self) -> MongoClient[dict[str, Any]]:
        """One of them."""
        return self._clients[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, operation: Operation) -> bool:
        """Run one operation; whether it changed anything."""
        client = self._clients[operation.client]
        if operation.commit is None:
            return any([self._send(client, command) for command in operation.commands])  # noqa: C419 - every command is sent
        with client.start_session() as session:
            session.start_transaction()
            changed = any([self._send(client, command, session) for command in operation.commands[:1]])  # noqa: C419 - every command is sent
            if operation.between is not None:
                self._send(self._clients[(operation.client + 1) % CLIENTS], operation.between)
            changed |= any([self._send(client, command, session) for command in operation.commands[1:]])  # noqa: C419 - every command is sent
            if session.in_transaction and operation.commit:
                try:
                    session.commit_transaction()
                except OperationFailure:
                    return False
                return changed
        return False

    def _send(self, client: MongoClient[Any], command: Command, session: ClientSession | None = None) -> bool:
        """Send one command; whether it changed anything. What the server refuses is skipped."""
        if session is not None and not session.in_transaction:
            return False
        try:
            reply: Any = client[self._name].command(on_the_wire(command), session=session, codec_options=RAW)
        except OperationFailure:
            self._counts["commands refused"] += 1
            if session is not None and session.in_transaction:
                session.abort_transaction()
            return False
        answer = document_to_python(bytes(reply.raw))
        self._counts["statements refused"] += len(answer.get("writeErrors", ()))
        if "nModified" in answer:
            return bool(answer["nModified"] or answer.get("upserted"))
        if "lastErrorObject" in answer:
            return bool(answer["lastErrorObject"]["n"])
        return bool(answer.get("n", 1))
