"""The parameters of requests: how each is parsed, and its entry in the API's description.

An unknown parameter is refused like one that cannot be parsed: ignoring a misspelt one would answer another request.
All faults are reported at once.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bson.errors import BSONError

from change_history.bson.values import to_raw
from change_history.http import wire
from change_history.query import transactions
from change_history.stored.operations import ALL
from watcher.web import problems
from watcher.words import literals, times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from starlette.requests import Request

    from change_history.reconstruct.point_in_time import Instant, PointInTime

MOST_TEXT = 16_384
"""Maximum length of a parameter in characters."""

_VERSION = re.compile(r"-?[0-9]{1,9}")
_EVENT_ID = re.compile(r"[0-9a-f]{32}")
_OFFSET = re.compile(r"[+-][0-9]{2}:[0-9]{2}")
_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter.

    Attributes:
        description: text for the API's description.
        read: parses the text; raises ValueError, with or without a message.
        allowed: the accepted texts, as the end of "must be …".
        schema: JSON Schema of the text.
        several: whether it may be given more than once; all must hold, or one of them, as the description says.
        in_path: whether it is a part of the path.
    """

    name: str
    description: str
    read: Callable[[str], Any]
    allowed: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    several: bool = False
    in_path: bool = False
    required: bool = False
    example: Any = None

    def described(self) -> dict[str, Any]:
        """The parameter as an OpenAPI object."""
        schema = {"type": "array", "items": self.schema} if self.several else dict(self.schema)
        found: dict[str, Any] = {
            "name": self.name,
            "in": "path" if self.in_path else "query",
            "description": self.description,
            "required": self.in_path or self.required,
            "schema": schema,
        }
        return found | ({"example": self.example} if self.example is not None else {})


class Given:
    """The parsed parameters of a request."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def get(self, name: str, default: Any = None) -> Any:
        """A parameter's value, or the default if it was not given."""
        return self._values.get(name, default)


def read(request: Request, parameters: Iterable[Parameter]) -> Given:
    """Parse the parameters of a request.

    Raises:
        watcher.web.problems.Problem: some of them are invalid; it lists all faults.
    """
    known = {each.name: each for each in parameters}
    written: dict[str, list[str]] = {name: [text] for name, text in request.path_params.items() if name in known}
    faults: list[dict[str, str]] = []
    for name, text in request.query_params.multi_items():
        if name not in known or known[name].in_path:
            meant = ", ".join(sorted(each.name for each in known.values() if not each.in_path)) or "none"
            faults.append({"parameter": name[:_LONGEST_SHOWN], "detail": f"it is not known here; there are: {meant}"})
        else:
            written.setdefault(name, []).append(text)
    values: dict[str, Any] = {}
    for name, parameter in known.items():
        texts = written.get(name, [])
        if not texts and parameter.required:
            faults.append({"parameter": name, "detail": f"it is missing; it must be {parameter.allowed}"})
        if len(texts) > 1 and not parameter.several:
            faults.append({"parameter": name, "detail": "it is given more than once"})
            continue
        found = [_read_one(parameter, text, faults) for text in texts]
        if found:
            values[name] = tuple(found) if parameter.several else found[0]
    if faults:
        raise WrongParametersError(faults)
    return Given(values)


class WrongParametersError(problems.Problem):
    """Invalid parameters."""

    def __init__(self, faults: list[dict[str, str]]) -> None:
        detail = "; ".join(f"{fault['parameter']}: {fault['detail']}" for fault in faults)
        super().__init__(HTTPStatus.BAD_REQUEST, "wrong-request", detail, more={"errors": faults})


def _read_one(parameter: Parameter, text: str, faults: list[dict[str, str]]) -> Any:
    try:
        if len(text) > MOST_TEXT:
            raise ValueError(f"it is longer than {MOST_TEXT} characters")  # noqa: TRY301 - reported like all others
        return parameter.read(text)
    except (ValueError, BSONError, OverflowError, RecursionError) as error:
        why = f" ({error})" if str(error) and not isinstance(error, RecursionError) else ""
        faults.append({"parameter": parameter.name, "detail": f"{_shown(text)} must be {parameter.allowed}{why}"})
        return None


def _shown(text: str) -> str:
    return json.dumps(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")


def _namespace(text: str) -> str:
    if not all(text.partition(".")) or "\0" in text:
        raise ValueError
    _utf8(text)
    return text


def _utf8(text: str) -> None:
    """Refuse a text that cannot be encoded as UTF-8, as the server's names are."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it is not UTF-8") from error


@dataclass(frozen=True, slots=True)
class OfEvent:
    """A document named by one of its events: `~6b04bf1a…`, for an id that is too long for a URL."""

    event_id: bytes


def _document_id(text: str) -> Any:
    if text.startswith("~"):
        return OfEvent(_event_id(text[1:]))
    return _as_bson(text, literals.document_id)


def _value(text: str) -> Any:
    return _as_bson(text, literals.value)


def _as_bson(text: str, otherwise: Callable[[str], Any]) -> Any:
    """Read a value that may be `{"$bson": "…"}`, the form of values that Extended JSON cannot express."""
    return wire.value_from(json.loads(text)) if text.startswith('{"$bson":') else otherwise(text)


def _event_id(text: str) -> bytes:
    if not _EVENT_ID.fullmatch(text):
        raise ValueError
    return bytes.fromhex(text)


def moment(text: str) -> Instant:
    """Read a time; one without a zone is UTC.

    Raises:
        ValueError: it is none.
        OverflowError: it is beyond the calendar.
    """
    found = times.parse(text, UTC)
    if isinstance(found, datetime):
        found.astimezone(UTC)
    return found


def point(text: str) -> PointInTime:
    """Read a point in time: a version's number, or a time."""
    return int(text) if _VERSION.fullmatch(text) else moment(text)


def _field(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError
    to_raw(text)
    return text


def _operation(text: str) -> str:
    known = {name.lower(): name for name in ALL}
    if text.lower() not in known:
        raise ValueError
    return known[text.lower()]


def _transaction(text: str) -> str:
    transactions.read_name(text)
    return text


def one_of(*words: str) -> Callable[[str], str]:
    """Reads one of these words."""

    def choose(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return choose


def whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number."""

    def number(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return number


def _zone(text: str) -> str:
    if _OFFSET.fullmatch(text):
        return text
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError from error
    return text


_TIME = "a time: 2024-05-01T14:00:00+02:00 (UTC if it names no zone), 2h ago, or a cluster time, seconds:increment"
_POINT = f"a version (1 is the first, -1 the last) or {_TIME}"

NAMESPACE = Parameter(
    "namespace", "`database.collection`", _namespace, "database.collection", in_path=True, example="shop.orders"
)
ID = Parameter(
    "id",
    'The `_id`: bare (`42`, `anna@example.com`, 24 hexadecimal digits for an ObjectId) or Extended JSON (`"42"`, '
    '`{"$oid": "…"}`), percent-encoded. `~` and the id of an event: the document that this event is about.',
    _document_id,
    "a document's id",
    in_path=True,
    example="17",
)
EVENT_ID = Parameter(
    "event",
    "The id of an event, 32 hexadecimal digits.",
    _event_id,
    "32 hexadecimal digits",
    {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    in_path=True,
    example="6b04ef8600000004af5d2f0c11a2b3c4",
)
TRANSACTION_NAME = Parameter(
    "transaction",
    "`session:number`, or the id of one of its events, or the beginning of either.",
    _transaction,
    "session:number, or the beginning of an event's id",
    in_path=True,
    example="bf14af2a:1",
)
AT = Parameter("at", f"When: {_POINT}. Without it: as last recorded.", point, _POINT, example="1")
AT_TIME = Parameter("at", f"When: {_TIME}. Without it: as last recorded.", moment, _TIME)
FROM = Parameter("from", f"The first point in time: {_POINT}.", point, _POINT, required=True, example="1")
TO = Parameter("to", f"The second one: {_POINT}. Without it: as last recorded.", point, _POINT, example="-1")
FROM_TIME = Parameter(
    "from", f"The first point in time: {_TIME}.", moment, _TIME, required=True, example="2024-05-01T14:00:00Z"
)
TO_TIME = Parameter("to", f"The second one: {_TIME}. Without it: as last recorded.", moment, _TIME)
SINCE = Parameter("since", f"Only from then on, included: {_TIME}.", moment, _TIME, example="2024-05-01T14:00:00Z")
UNTIL = Parameter("until", f"Only up to then, included: {_TIME}.", moment, _TIME)
ABOUT = Parameter("namespace", "Only this `database.collection`.", _namespace, "database.collection")
FIELD = Parameter(
    "field",
    "Only events that concern this field or what is below it.",
    _field,
    "a field, address.city",
    example="status",
)
OPERATION = Parameter(
    "operation",
    "Only events of this operation, or of one of these.",
    _operation,
    "an operation",
    {"type": "string", "enum": list(ALL)},
    several=True,
)
TRANSACTION = Parameter(
    "transaction", "Only events of this transaction.", _transaction, "session:number, or the beginning of an event's id"
)
CHANGED_FROM = Parameter(
    "changed_from",
    "Only events in which the field, or any, had this value before; written as an id is.",
    _value,
    "a value",
)
CHANGED_TO = Parameter(
    "changed_to",
    "Only events in which the field, or any, got this value; written as an id is.",
    _value,
    "a value",
)
ACTOR = Parameter(
    "actor",
    "Only events of which it is known that this one did them; written as an id is.",
    _value,
    "an actor's id",
)
REASON = Parameter("reason", "Only events that were done for this reason.", str, "text")
REQUEST = Parameter(
    "request", "Only events that were done in the course of this request; written as an id is.", _value, "an id"
)
ORDER = Parameter(
    "order",
    "Which come first.",
    one_of("newest", "oldest"),
    "newest or oldest",
    {"type": "string", "enum": ["newest", "oldest"], "default": "newest"},
)
CURSOR = Parameter("cursor", "What the page before calls `next`.", str, "what a page calls next")
DETAIL = Parameter(
    "detail",
    "`summary`: without values, only which fields.",
    one_of("full", "summary"),
    "full or summary",
    {"type": "string", "enum": ["full", "summary"], "default": "full"},
)
ZONE = Parameter(
    "zone", "The zone of the days.", _zone, "a zone, Europe/Berlin or +02:00", {"type": "string", "default": "UTC"}
)
TOP = Parameter(
    "top",
    "So many of the busiest.",
    whole(1, 1000),
    "a number from 1 to 1000",
    {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10},
)
OF = Parameter(
    "of",
    "What to count; each is one pass over the events.",
    one_of("collections", "days", "documents", "fields", "actors"),
    "collections, days, documents, fields or actors",
    {"type": "string", "enum": ["collections", "days", "documents", "fields", "actors"]},
    several=True,
)


def limit(most: int, default: int = 100) -> Parameter:
    """How many items a page has."""
    return Parameter(
        "limit",
        "So many items at most. Of a streamed answer: of all; without it, there is no end.",
        whole(1, most),
        f"a number from 1 to {most}",
        {"type": "integer", "minimum": 1, "maximum": most, "default": default},
    )
