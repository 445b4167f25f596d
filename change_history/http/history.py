"""`History` over HTTP: the same queries, answered by `watcher serve`, with the same events, changes and states."""

from __future__ import annotations

import re
import shlex
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

from bson import Timestamp

from change_history.bson.values import ABSENT
from change_history.diff.collections import Changed
from change_history.errors import HistoryError
from change_history.http import wire
from change_history.http.connection import Connection, HttpError
from change_history.http.feed import Feed, each_once
from change_history.query import transactions
from change_history.query.actors import MOST_KINDS, Author, Authors, Unknown
from change_history.query.selection import Selection
from change_history.query.stats import Numbers
from change_history.reconstruct.point_in_time import NoSuchVersionError, require_aware
from change_history.reconstruct.state import State, UnknownStateError
from change_history.stored.event import Transaction
from change_history.stored.order import END
from change_history.stored.reading import require_namespace

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence

    from change_history.diff.compare import Difference
    from change_history.query.transactions import Name
    from change_history.reconstruct.point_in_time import Instant, PointInTime
    from change_history.stored.event import Change, Event

_NOT_FOUND = "not-found"
_NUMBER = re.compile(r"-?[0-9]+")
_MOST_ID = 8192
_UUID_DIGITS = 32
_LAST = wire.cluster_time(Timestamp(2**32 - 1, 2**32 - 1))
"""A time that includes everything, for requests that need one."""


class NotOverHttpError(HistoryError, NotImplementedError):
    """The operation is not possible over HTTP: it writes documents, or is not served."""


class HttpHistory:
    """A history database that is reached through `watcher serve`.

    `History.connect("https://…", token="…")` returns a `History` with it. What the token may not read is missing,
    as if never recorded. Raises what `History` raises, and `HttpError` (`change_history.http.connection`) for the
    driver's errors.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def log(  # noqa: D102 - as in `History`
        self,
        namespace: str | None,
        document_id: Any = ABSENT,
        *,
        field: str | None = None,
        since: Instant | None = None,
        until: Instant | None = None,
        operation: str | None = None,
        transaction: Transaction | None = None,
        changed_from: Any = ABSENT,
        changed_to: Any = ABSENT,
        actor: Any = None,
        reason: str | None = None,
        request: Any = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Event]:
        only = (operation,) if operation is not None else ()
        Selection(namespace, document_id, field, since, until, only)  # it validates the arguments
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative, it is {limit}")
        newest_first = reverse or limit is not None
        query = {
            "field": field,
            "since": _moment(since),
            "until": _moment(until),
            "operation": operation,
            "transaction": _transaction(transaction),
            "changed_from": _value(changed_from),
            "changed_to": _value(changed_to),
            "actor": _value(actor) if actor is not None else None,
            "reason": reason,
            "request": _value(request) if request is not None else None,
            "order": "newest" if newest_first else "oldest",
        }
        found = map(wire.event_from, self._listed([*_place(namespace, document_id), "events"], query))
        if limit is None:
            return found
        cut = islice(found, limit)
        return cut if reverse else reversed(list(cut))

    def follow(  # noqa: D102 - as in `History`
        self,
        namespace: str | None,
        document_id: Any = ABSENT,
        *,
        field: str | None = None,
        since: Instant | None = None,
        actor: Any = None,
        reason: str | None = None,
        request: Any = None,
        limit: int | None = None,
        stop: threading.Event,
    ) -> Iterator[Event]:
        Selection(namespace, document_id, field, since)
        query = {"namespace": namespace, "field": field, "mode": "canonical", "reason": reason}
        query |= {name: _value(asked) for name, asked in (("actor", actor), ("request", request)) if asked is not None}
        query["id"] = _id(document_id) if document_id is not ABSENT else None
        feed = Feed(partial(self._connection.opened, ["follow"], query), stop)
        feed.open()  # before recorded events are read, so that none in between is missed
        who = {"actor": actor, "reason": reason, "request": request}
        recorded = self.log(namespace, document_id, field=field, since=since, limit=limit, **who)
        return each_once(recorded, feed)

    def transaction(self, name: str | Name) -> Transaction:  # noqa: D102 - as in `History`
        if isinstance(name, str):
            transactions.read_name(name)
        elif isinstance(name, transactions.SessionName):
            name = f"{name.digits}:{name.number}"
        else:
            name = name.digits
        try:
            page = self._connection.get(["transactions", name], {"limit": 1})
        except HttpError as error:
            if error.kind == _NOT_FOUND:
                raise transactions.UnknownTransactionError(f"no transaction {name} is recorded") from error
            if error.kind == "wrong-request":
                raise transactions.AmbiguousTransactionError(str(error)) from error
            raise
        return _known_transaction(wire.event_from(page["items"][0]))

    def gaps(  # noqa: D102 - as in `History`
        self, namespace: str | None = None, *, since: Instant | None = None, until: Instant | None = None
    ) -> Iterator[Event]:
        Selection(namespace, since=since, until=until)
        query = {"namespace": namespace, "since": _moment(since), "until": _moment(until)}
        return (wire.event_from(each["event"]) for each in self._listed(["gaps"], query))

    def stats(  # noqa: D102 - as in `History`; the same questions
        self, namespace: str | None = None, *, since: Instant | None = None, until: Instant | None = None
    ) -> HttpStats:
        Selection(namespace, since=since, until=until)
        return HttpStats(self._connection, {"namespace": namespace, "since": _moment(since), "until": _moment(until)})

    def namespaces(self) -> list[str]:  # noqa: D102 - as in `History`
        return [each["namespace"] for each in self._listed(["collections"], {})]

    def actors(self) -> list[Any]:  # noqa: D102 - as in `History`
        return [wire.value_from(each["id"]) for each in self._listed(["actors"], {})]

    def as_of(  # noqa: D102 - as in `History`
        self, namespace: str, document_id: Any, at: PointInTime | None = None
    ) -> dict[str, Any] | None:
        return self.state(namespace, document_id, at).document

    def state(self, namespace: str, document_id: Any, at: PointInTime | None = None) -> State:  # noqa: D102
        nothing = State(namespace=namespace, document_id=document_id, position=END)
        found = self._of_document(namespace, document_id, (), {"at": _point(at)})
        return wire.state_from(found) if found is not None else nothing

    def collection_as_of(  # noqa: D102 - as in `History`
        self, namespace: str, at: Instant | None = None, query: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        require_namespace(namespace)
        asked = {"at": _moment(at), "filter": wire.dumps(wire.of(query), canonical=True) if query else None}
        for each in self._listed(["collections", namespace, "documents"], asked, namespace):
            if each["document"] is None:
                raise UnknownStateError(namespace, each.get("unknown", ""), wire.value_from(each["document_id"]))
            yield wire.value_from(each["document"])

    def collection(self, namespace: str, at: Instant | None = None) -> NoReturn:  # noqa: ARG002 - as in `History`
        """Not served over HTTP; use `collection_as_of`."""
        raise NotOverHttpError("use collection_as_of")

    def diff(  # noqa: D102 - as in `History`
        self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None = None
    ) -> list[Change]:
        found = self._diff(namespace, document_id, a, b)
        return [wire.change_from(each, None) for each in found["changes"]] if found is not None else []

    def differences(  # noqa: D102 - as in `History`
        self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None = None
    ) -> list[Difference]:
        found = self._diff(namespace, document_id, a, b)
        return [wire.difference_from(each) for each in found["differences"]] if found is not None else []

    def collection_diff(  # noqa: D102 - as in `History`
        self, namespace: str, a: Instant | None, b: Instant | None = None
    ) -> Iterator[Changed]:
        require_namespace(namespace)
        query = {"from": _moment(a) if a is not None else _LAST, "to": _moment(b)}
        for each in self._listed(["collections", namespace, "diff"], query, namespace):
            before, after = (
                wire.raw_from(each[side])[1] if each[side] is not None else None for side in ("before", "after")
            )
            yield Changed(wire.raw_from(each["document_id"]), before, after, each.get("unknown"))

    def blame(  # noqa: D102 - as in `History`
        self, namespace: str, document_id: Any, at: PointInTime | None = None
    ) -> dict[str, Event]:
        found = self._of_document(namespace, document_id, ("blame",), {"at": _point(at)})
        if found is None:
            return {}
        events = {name: wire.event_from(event) for name, event in found["events"].items()}
        return {leaf["field"]: events[leaf["event"]] for leaf in found["leaves"] if leaf["event"] is not None}

    def revert(self, namespace: str, document_id: Any, *, to: PointInTime, **_: Any) -> NoReturn:
        """Nothing is written over HTTP."""
        raise _to_type(namespace, _id(document_id), "--to", _point(to) or "")

    def undelete(self, namespace: str, document_id: Any, **_: Any) -> NoReturn:
        """Nothing is written over HTTP."""
        raise _to_type(namespace, _id(document_id), "--undelete")

    def revert_transaction(self, transaction: Transaction | str, **_: Any) -> NoReturn:
        """Nothing is written over HTTP."""
        name = transaction if isinstance(transaction, str) else transactions.name_of(transaction, _UUID_DIGITS)
        raise _to_type("--transaction", name)

    def _diff(self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None) -> Any:
        query = {"from": _point(a) if a is not None else _LAST, "to": _point(b)}
        return self._of_document(namespace, document_id, ("diff",), query)

    def _of_document(self, namespace: str, document_id: Any, parts: Sequence[str], query: Mapping[str, Any]) -> Any:
        require_namespace(namespace)
        asked = [int(said) for said in query.values() if said is not None and _NUMBER.fullmatch(said)]
        try:
            return self._connection.get([*_place(namespace, document_id), *parts], query)
        except HttpError as error:
            if error.kind == "no-such-version" or (error.kind == _NOT_FOUND and asked):
                count = int(error.said.get("versions", 0))
                number = next((each for each in asked if not each or abs(each) > count), 0)
                raise NoSuchVersionError(number, count) from error
            if error.kind == _NOT_FOUND:
                return None
            raise _in_words_of_history(error, namespace, document_id) from error

    def _listed(self, parts: Sequence[str], query: Mapping[str, Any], namespace: str = "") -> Iterator[Any]:
        try:
            yield from self._connection.lines(parts, query)
        except HttpError as error:
            if error.kind != _NOT_FOUND:
                raise _in_words_of_history(error, namespace, None) from error


class HttpStats:
    """Counts what is recorded (see `change_history.query.stats.Stats`)."""

    def __init__(self, connection: Connection, asked: Mapping[str, Any]) -> None:
        self._connection = connection
        self._asked = asked

    def by_collection(self) -> Iterator[tuple[str, Numbers]]:
        """Each namespace with its numbers, in order."""
        return ((each["namespace"], _numbers(each)) for each in self._of("collections"))

    def by_day(self, zone: str) -> Iterator[tuple[datetime, str, Numbers]]:
        """Each day on which something was recorded, with each namespace of it; in order."""
        days = [
            (wire.time_from(each["day"]), each["namespace"], _numbers(each)) for each in self._of("days", zone=zone)
        ]
        return iter(sorted(days, key=lambda day: day[:2]))

    def busiest_documents(self, top: int) -> Iterator[tuple[str, Any, Numbers]]:
        """The documents with the most events: namespace and id."""
        for each in self._of("documents", top=top):
            yield each["namespace"], wire.value_from(each["document_id"]), _numbers(each)

    def busiest_fields(self, top: int) -> Iterator[tuple[str, str, int]]:
        """The fields with the most changes: namespace, field, changes."""
        return ((each["namespace"], each["field"], each["changes"]) for each in self._of("fields", top=top))

    def by_actor(self) -> Authors:
        """Events by actor, and how many have no known actor."""
        found = self._of("actors", top=MOST_KINDS)
        busiest = [Author(wire.value_from(each["id"]), each["provenance"], each["events"]) for each in found["busiest"]]
        nobodys = [Unknown(each["namespace"], each["operation"], each["events"]) for each in found["unknown_by"]]
        return Authors(found["events"], found["unknown"], busiest, nobodys)

    def _of(self, what: str, **more: Any) -> Any:
        try:
            return self._connection.get(["stats"], {**self._asked, "of": what, **more})[what]
        except HttpError as error:
            if error.kind == _NOT_FOUND:
                return [] if what != "actors" else {"events": 0, "unknown": 0, "busiest": [], "unknown_by": []}
            raise _in_words_of_history(error, "", None) from error


def _in_words_of_history(error: HttpError, namespace: str, document_id: Any) -> Exception:
    if error.kind == "unknown-state":
        reason = str(error).removeprefix("history cannot tell: ")
        return UnknownStateError(namespace, reason, document_id)
    return ValueError(str(error)) if error.kind in {"wrong-request", "too-long"} else error


def _to_type(*arguments: str) -> NotOverHttpError:
    command = shlex.join(["watcher", "revert", *arguments])
    return NotOverHttpError(f"nothing is written over HTTP; type this where MongoDB can be reached: {command}")


def _place(namespace: str | None, document_id: Any) -> list[str]:
    if namespace is None:
        return []
    place = ["collections", namespace]
    return place if document_id is ABSENT else [*place, "documents", _id(document_id)]


def _id(document_id: Any) -> str:
    text = _value(document_id)
    if text is None or len(text) > _MOST_ID:
        raise ValueError("this id is too long to be asked for over HTTP")
    return text


def _value(value: Any) -> str | None:
    return wire.dumps(wire.of(value), canonical=True) if value is not ABSENT else None


def _moment(moment: Instant | None) -> str | None:
    require_aware(moment)
    if moment is None:
        return None
    return wire.cluster_time(moment) if isinstance(moment, Timestamp) else moment.isoformat()


def _point(point: PointInTime | None) -> str | None:
    if isinstance(point, bool) or not isinstance(point, int | datetime | Timestamp | None):
        raise TypeError(f"a point in time must be a datetime, a bson.Timestamp or a number, not {type(point).__name__}")
    return str(point) if isinstance(point, int) else _moment(point)


def _transaction(transaction: Transaction | None) -> str | None:
    return transactions.name_of(transaction, _UUID_DIGITS) if transaction is not None else None


def _known_transaction(event: Event) -> Transaction:
    if event.transaction is None:
        raise transactions.UnknownTransactionError(f"event {event.id.hex()} belongs to no transaction")
    return Transaction(event.transaction.session, int(event.transaction.number))


def _numbers(each: Mapping[str, Any]) -> Numbers:
    return Numbers(*(each[name] for name in Numbers._fields))
