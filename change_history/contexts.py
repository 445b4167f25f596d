"""Names the actor of writes: `with acting(…)` in a thread or task, `with recorded(session, …)` in a transaction.

    with client.start_session() as session, recorded(session, actor="alice", reason="ticket 7", database="shop"):
        client.shop.users.delete_one({"_id": 42}, session=session)

`recorded` inserts a context document into `shop.watcher_context` in the transaction. The daemon gives every event of
the transaction its actor, deletes too, and keeps the context document out of history.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast
from uuid import UUID
from weakref import WeakKeyDictionary

from bson import Binary, ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.client_session import ClientSession
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError

from change_history import server_codes
from change_history.errors import HistoryError
from change_history.stored.actor import LONGEST, PLAIN_SUBTYPES
from change_history.stored.names import CONTEXT_COLLECTION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from pymongo.asynchronous.database import AsyncDatabase
    from pymongo.database import Database

PATIENCE_S = 15.0
"""Seconds for which the begin and the commit of a transaction that `recorded` starts are retried."""

_WHEN = "at"
_ABORTED = "TransientTransactionError"
_UNSURE = "UnknownTransactionCommitResult"
_OPTIONS_CONFLICT = 85
_LONGEST_WAIT_S = 0.05

Identity: TypeAlias = "str | int | ObjectId | UUID | Binary"
"""The types of an actor or a request."""

_NAMES = (str, int, ObjectId, UUID, Binary)

Session = TypeVar("Session", bound="ClientSession | AsyncClientSession")


class ContextRefusedError(HistoryError):
    """The context document cannot be written, and so the transaction neither; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acting:
    """An actor, with the reason and the request of the writes.

    Attributes:
        actor: the application's name or id for the actor: a string, an integer, an `ObjectId`, a `UUID`.
        reason: the reason, such as a ticket.
        request: the id of the request or job that writes.

    Raises:
        ValueError: one of them is empty or too long.
        TypeError: one of them is of another type.
    """

    actor: Identity
    reason: str | None = None
    request: Identity | None = None

    def __post_init__(self) -> None:
        require("actor", self.actor)
        if self.reason is not None:
            require("reason", self.reason)
        if self.request is not None:
            require("request", self.request)

    def document(self) -> dict[str, Any]:
        """The context document with these values."""
        said = {"actor": self.actor, "reason": self.reason, "request": self.request, _WHEN: datetime.now(UTC)}
        return {
            name: Binary.from_uuid(value) if isinstance(value, UUID) else value  # in any client's UUID representation
            for name, value in said.items()
            if value is not None
        }


def require(name: str, value: Any) -> None:
    """Check that the daemon can store an `actor`, a `reason` or a `request`.

    Raises:
        TypeError: it is of another type.
        ValueError: it is empty, too long, or no text that can be stored.
    """
    kinds = (str,) if name == "reason" else _NAMES
    if not isinstance(value, kinds) or isinstance(value, bool):
        known = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be {known}, and it is {value!r}")
    if value == "":
        raise ValueError(f"{name} is empty; leave it out where nobody knows it")
    if isinstance(value, str) and (size := len(value.encode("utf-8", "surrogatepass"))) > LONGEST:
        raise ValueError(f"{name} has {size} bytes, and {LONGEST} is the most")
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name} is no text that UTF-8 can hold: {value!r}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} is {value}, which is no 64-bit integer")
    if isinstance(value, Binary) and value.subtype not in PLAIN_SUBTYPES:
        raise ValueError(f"{name} is binary data of the subtype {value.subtype}, which is kept of nobody")


@dataclass(slots=True, eq=False)
class _Block:
    """An `acting` block.

    Blocks need not end in the reverse order of their beginnings: generators and web requests interleave. So no block
    restores the state before it; each only ends itself.
    """

    acting: Acting
    around: _Block | None
    ended: bool = False


_current: ContextVar[_Block | None] = ContextVar("change_history_acting", default=None)


@contextmanager
def acting(actor: Identity, *, reason: str | None = None, request: Identity | None = None) -> Iterator[Acting]:
    """Set the actor of this thread or asyncio task, until the end of the block.

    `recorded` and the stamps of `change_history.mongoengine` use this actor. A thread that is started in the block does
    not inherit it; a task does, but only until the block ends, even if the task continues. `acting` itself writes
    nothing.

    Args:
        actor: the application's name or id for the actor: a string of at most 4096 bytes, an integer, an `ObjectId`
            or a `UUID`.

    Raises:
        ValueError: one of them is empty or too long.
        TypeError: one of them is of another type.
    """
    block = _Block(Acting(actor=actor, reason=reason, request=request), _open_block())
    _current.set(block)
    try:
        yield block.acting
    finally:
        block.ended = True
        _current.set(_open_block())  # not by token: a web framework may end the block in another context


def who_acts() -> Acting | None:
    """The actor of the innermost open `acting` block; None: there is none."""
    block = _open_block()
    return block.acting if block is not None else None


def _open_block() -> _Block | None:
    block = _current.get()
    while block is not None and block.ended:
        block = block.around
    return block


def saying(actor: Identity | None, reason: str | None, request: Identity | None) -> Acting | None:
    """The given actor or, without one, that of the enclosing `acting` block; None: there is neither.

    Raises:
        ValueError: one of them is empty or too long.
        TypeError: one of them is of another type.
    """
    around = who_acts()
    if actor is not None:
        return Acting(actor=actor, reason=reason, request=request)
    if around is None:
        return None
    reason = reason if reason is not None else around.reason
    request = request if request is not None else around.request
    return Acting(actor=around.actor, reason=reason, request=request)


def recorded(
    session: Session,
    actor: Identity | None = None,
    *,
    reason: str | None = None,
    request: Identity | None = None,
    database: str | Database[Any] | AsyncDatabase[Any] | Sequence[str] | None = None,
    collection: str = CONTEXT_COLLECTION,
) -> Recorded[Session]:
    """Record the actor of a transaction, whose writes are in the block.

    In a running transaction (in a callback of `with_transaction`, say) the context document becomes part of it, and
    nothing else happens: a retry of the callback writes it again, since the first one was rolled back. Without a
    running transaction, the block is one: it is begun here, committed at the end of the block, and aborted if the
    block raises. Either way only writes with `session=session` belong to it.

    The actor is that of the whole transaction, including its writes before the block. A second block applies to what
    follows it; after a nested block, the outer one applies again, even if the inner one raises.

    With an asynchronous session write `async with`.

    Args:
        session: a session of `client.start_session()`.
        actor: the actor; without it, that of the enclosing `acting` block, with its reason and request.
        database: where to insert the context document; one database is enough for all that the transaction
            writes to, as long as one daemon watches them all. Several where each has a daemon of its own. Left
            out, the one that the client's connection string names.
        collection: the daemon's `CONTEXT_COLLECTION`.

    Raises:
        ValueError: there is no actor or no database, or a value is empty or too long.
        TypeError: this is no session, or a value is of another type.
        ContextRefusedError: when the block begins: the user may not insert it, or the server has no transactions.
        pymongo.errors.PyMongoError: when the block begins or ends. With the label `TransientTransactionError` nothing
            was written, and the block can be run again, as `with_transaction` does.
    """
    if not isinstance(session, ClientSession | AsyncClientSession):
        raise TypeError(
            f"recorded needs a session, and this is {type(session).__name__}: with client.start_session() as session, "
            "recorded(session, …):"
        )
    said = saying(actor, reason, request)
    if said is None:
        raise ValueError('nobody says who acts: recorded(session, actor="alice"), or with acting("alice") around it')
    return Recorded(session, said, _names(session, database), collection)


def _names(session: Any, database: Any) -> tuple[str, ...]:
    if database is None:
        try:
            return (session.client.get_default_database().name,)
        except ConfigurationError as error:
            raise ValueError(
                'the connection string names no database: recorded(session, …, database="shop") says where the context '
                "document goes"
            ) from error
    if isinstance(database, str):
        return (database,)
    if isinstance(name := getattr(database, "name", None), str):
        return (name,)
    names = tuple(database)
    if not names:
        raise ValueError("database is empty: name at least one that the daemon watches")
    return names


_blocks: WeakKeyDictionary[Any, list[Recorded[Any]]] = WeakKeyDictionary()
"""The open blocks of each session, the innermost last."""


class Recorded(Generic[Session]):
    """The block of `recorded`. Its value in `with … as` is the session."""

    def __init__(self, session: Session, said: Acting, databases: tuple[str, ...], collection: str) -> None:
        self._session: Any = session
        self._said = said
        self._databases = databases
        self._collection = collection
        self._owns = False

    def __enter__(self) -> Session:
        if isinstance(self._session, AsyncClientSession):
            raise TypeError("the session is asynchronous: write `async with recorded(…):`")
        until = time.monotonic() + PATIENCE_S
        self._owns = not self._session.in_transaction
        while True:
            if self._owns:
                self._session.start_transaction()
            try:
                self._insert()
            except BaseException as error:
                if self._owns:
                    self._session.abort_transaction()
                    if _again(error, _ABORTED, until):
                        time.sleep(_pause())
                        continue
                _explain(error, self._databases, self._collection)
                raise
            self._open()
            return cast("Session", self._session)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        outer = self._close()
        if not self._session.in_transaction:
            return
        if not self._owns:
            if outer is not None and not _is_over(error):
                outer._insert_again(error)  # noqa: SLF001 - of the same class
            return
        if kind is not None:
            self._session.abort_transaction()
            return
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._session.commit_transaction()
            except PyMongoError as trouble:
                if not _again(trouble, _UNSURE, until):
                    raise
            else:
                return

    async def __aenter__(self) -> Session:
        if not isinstance(self._session, AsyncClientSession):
            raise TypeError("the session is not asynchronous: write `with recorded(…):`")
        until = time.monotonic() + PATIENCE_S
        self._owns = not self._session.in_transaction
        while True:
            if self._owns:
                await self._session.start_transaction()
            try:
                await self._insert_async()
            except BaseException as error:
                if self._owns:
                    await self._session.abort_transaction()
                    if _again(error, _ABORTED, until):
                        await asyncio.sleep(_pause())
                        continue
                _explain(error, self._databases, self._collection)
                raise
            self._open()
            return cast("Session", self._session)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        outer = self._close()
        if not self._session.in_transaction:
            return
        if not self._owns:
            if outer is not None and not _is_over(error):
                await outer._insert_again_async(error)  # noqa: SLF001 - of the same class
            return
        if kind is not None:
            await self._session.abort_transaction()
            return
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                await self._session.commit_transaction()
            except PyMongoError as trouble:
                if not _again(trouble, _UNSURE, until):
                    raise
            else:
                return

    def _open(self) -> None:
        _blocks.setdefault(self._session, []).append(self)

    def _close(self) -> Recorded[Any] | None:
        """Close the block; returns the enclosing one, if there is one."""
        blocks = _blocks.get(self._session, [])
        if self in blocks:
            blocks.remove(self)
        return blocks[-1] if blocks else None

    def _insert(self) -> None:
        for name in self._databases:
            self._session.client[name][self._collection].insert_one(self._said.document(), session=self._session)

    def _insert_again(self, error: BaseException | None) -> None:
        """Insert the context document again after an inner block, which may have raised `error`."""
        try:
            self._insert()
        except OperationFailure:
            if error is None:
                raise  # otherwise the transaction is over, and the block's own error says more

    async def _insert_async(self) -> None:
        for name in self._databases:
            await self._session.client[name][self._collection].insert_one(self._said.document(), session=self._session)

    async def _insert_again_async(self, error: BaseException | None) -> None:
        try:
            await self._insert_async()
        except OperationFailure:
            if error is None:
                raise


def _is_over(error: BaseException | None) -> bool:
    """Whether a block has ended with an error after which nothing more can be written in the transaction."""
    return isinstance(error, PyMongoError) and error.has_error_label(_ABORTED)


def _again(error: BaseException, label: str, until: float) -> bool:
    return isinstance(error, PyMongoError) and error.has_error_label(label) and time.monotonic() < until


def _pause() -> float:
    return random.uniform(0, _LONGEST_WAIT_S)  # noqa: S311 - it spreads load, and is not for security


def _explain(error: BaseException, databases: tuple[str, ...], collection: str) -> None:
    """Raise an error with advice for what the server will refuse again.

    Raises:
        ContextRefusedError: the server will refuse it again.
    """
    if not isinstance(error, OperationFailure):
        return
    where = " and ".join(f"{name}.{collection}" for name in databases)
    if error.code == server_codes.UNAUTHORIZED:
        raise ContextRefusedError(
            f"this user may not insert into {where}, so who writes cannot be recorded. Grant it `insert` there; "
            "readWrite on the database has it"
        ) from error
    if error.code == server_codes.ILLEGAL_OPERATION:
        raise ContextRefusedError(
            "the server has no transactions, so who writes cannot be recorded: it is no replica set. Start mongod with "
            "--replSet rs0 and run rs.initiate() once in mongosh; a single node will do"
        ) from error


def expire_contexts(
    database: Database[Any], after: timedelta = timedelta(days=1), *, collection: str = CONTEXT_COLLECTION
) -> None:
    """Let the server delete the context documents of a database after an age, with a TTL index.

    Only those of `recorded` and `watcher revert` have the time that this needs. Recorded history is not affected, and a
    daemon that is behind misses nothing: it reads context documents from its stream. Another call changes the age.

    Args:
        collection: the daemon's `CONTEXT_COLLECTION`.

    Raises:
        ValueError: the age is negative.
    """
    seconds = int(after.total_seconds())
    if seconds < 0:
        raise ValueError(f"an age cannot be below zero, and this is {after}")
    try:
        database[collection].create_index(_WHEN, expireAfterSeconds=seconds)
    except OperationFailure as error:
        if error.code != _OPTIONS_CONFLICT:
            raise
        index = {"keyPattern": {_WHEN: 1}, "expireAfterSeconds": seconds}
        database.command("collMod", collection, index=index)
