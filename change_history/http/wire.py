"""Events, changes, states and differences as JSON, and back: what `watcher serve` answers and the client reads.

A tree consists of JSON types; a value of a document is a `Value` of this module, which is written as relaxed or
canonical Extended JSON. Absent values are left out; unknown ones are listed: `"unknown": ["old_value"]`.

Extended JSON cannot distinguish a sub-document such as `{"$oid": "…"}` from the type that is written so, nor one NaN
from another; and a JSON parser keeps one of two equal keys. The canonical form writes a value that would not be read
back unchanged as `{"$bson": "…"}`: base64 of a BSON document that has it as its only field.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Timestamp
from bson.errors import BSONError

from change_history.bson import extended_json, raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.paths import decoded, encoded
from change_history.bson.values import ABSENT, UNKNOWN, Missing, to_python, to_raw
from change_history.diff.compare import Difference, DifferenceKind
from change_history.query import transactions
from change_history.reconstruct.state import State
from change_history.stored.actor import Actor
from change_history.stored.event import Change, Event, Transaction
from change_history.stored.order import HistoryPosition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from change_history.bson.paths import TextPath
    from change_history.diff.compare import Side

_BSON = "$bson"
_HEAD = ("old_value_from", "new_value_from", "truncated_to", "at_end")
_SAID = ("reason", "database_user")


class Value(NamedTuple):
    """A value of a document within a tree."""

    raw: raw.Value


def of(value: Any) -> Value:
    """A Python value (see `change_history.bson.values`) within a tree."""
    return Value(to_raw(value))


def dumps(tree: Any, *, canonical: bool) -> str:
    """Write a tree as one line of JSON: it has no line ends and no marks that change the writing direction."""
    return _write(tree, _canonical if canonical else extended_json.relaxed)


def _write(tree: Any, value: Callable[[raw.Value], str]) -> str:
    if type(tree) is Value:
        return value(tree.raw)
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_write(each, value)}" for key, each in tree.items()) + "}"
    if isinstance(tree, list | tuple):
        return "[" + ", ".join(_write(each, value) for each in tree) + "]"
    return json.dumps(tree)


def _canonical(value: raw.Value) -> str:
    text = extended_json.dumps_raw(value)
    if _is_plain(value) or _comes_back(text, value):
        return text
    return json.dumps({_BSON: base64.b64encode(raw.from_fields([(b"v", value)])).decode()})


def _is_plain(value: raw.Value) -> bool:
    """Whether Extended JSON is known to preserve a value; otherwise, this has to be tested."""
    kind, payload = value
    if kind == raw.DOCUMENT:
        found = raw.elements(payload)
        return len({key for key, _, _ in found}) == len(found) and all(
            key[:1] != b"$" and (inner not in _TO_LOOK_AT or _is_plain((inner, held))) for key, inner, held in found
        )
    if kind == raw.ARRAY:
        return all(
            key == b"%d" % index and (inner not in _TO_LOOK_AT or _is_plain((inner, held)))
            for index, (key, inner, held) in enumerate(raw.elements(payload))
        )
    if kind == raw.DOUBLE:
        return math.isfinite(_read_double(payload)[0])
    if kind == raw.DECIMAL128:
        return _is_usual(payload)
    return kind not in _TO_LOOK_AT


def _is_usual(decimal: bytes) -> bool:
    """Whether a Decimal128 certainly has less than 34 digits: others may have several forms with the same text."""
    top = int.from_bytes(decimal[13:], "little")
    return top & _FORM != _FORM and top & _DIGITS < _MANY_DIGITS


_read_double = struct.Struct("<d").unpack
_FORM, _DIGITS, _MANY_DIGITS = 0x600000, 0x1FF, 0x1ED


_TO_LOOK_AT = frozenset(
    {raw.DOCUMENT, raw.ARRAY, raw.DOUBLE, raw.DECIMAL128, raw.REGEX, raw.CODE, raw.CODE_WITH_SCOPE, raw.SYMBOL}
)


def _comes_back(text: str, value: raw.Value) -> bool:
    try:
        return raw_from(json.loads(text)) == value
    except (ValueError, BSONError, OverflowError):
        return False


def raw_from(read: Any) -> raw.Value:
    """The BSON value of one that was written in the canonical form and read by `json`. Raises as `value_from`."""
    return _whole(read) or to_raw(extended_json.loads(json.dumps(read)))


def value_from(read: Any) -> Any:
    """The Python value of one that was written in the canonical form and read by `json`.

    Raises:
        ValueError: it is invalid.
    """
    found = _whole(read)
    return to_python(found) if found is not None else extended_json.loads(json.dumps(read))


def _whole(read: Any) -> raw.Value | None:
    """The value that is written as BSON; None: it is written as Extended JSON."""
    if not isinstance(read, dict) or read.keys() != {_BSON}:
        return None
    try:
        ((_, found),) = raw.fields(base64.b64decode(read[_BSON], validate=True)).items()
    except (binascii.Error, TypeError, ValueError) as error:
        raise ValueError("it is no BSON") from error
    return found


def event_tree(event: Event) -> dict[str, Any]:
    """An event as a tree."""
    tree: dict[str, Any] = {"id": bytes(event.id).hex()}
    if event.namespace:
        tree["namespace"] = event.namespace
    if event.document_id is not ABSENT:
        tree["document_id"] = of(event.document_id)
    tree["operation"] = event.operation
    tree["timestamp"] = time_tree(event.timestamp)
    tree["cluster_time"] = cluster_time(event.cluster_time)
    if event.actor is not None:
        tree["actor"] = actor_tree(event.actor)
    if event.transaction is not None:
        tree["transaction"] = {
            "name": transactions.name_of(event.transaction),
            "session": of(event.transaction.session),
            "number": int(event.transaction.number),
        }
    tree["changes"] = [change_tree(change) for change in event.changes]
    for name in ("change_count", "key_order", "version"):
        if (said := getattr(event, name)) is not None:
            tree[name] = said
    if event.description is not ABSENT:
        tree["description"] = of(event.description)
    if event.resume_token is not None:
        tree["resume_token"] = bytes(event.resume_token).hex()
    return tree


def event_from(tree: Mapping[str, Any]) -> Event:
    """The event of a tree in the canonical form."""
    timestamp, said, actor = time_from(tree["timestamp"]), tree.get("transaction"), tree.get("actor")
    token = tree.get("resume_token")
    return Event(
        id=bytes.fromhex(tree["id"]),
        operation=tree["operation"],
        timestamp=timestamp,
        cluster_time=cluster_time_from(tree["cluster_time"]),
        namespace=tree.get("namespace", ""),
        document_id=value_from(tree["document_id"]) if "document_id" in tree else ABSENT,
        changes=tuple(change_from(change, timestamp) for change in tree["changes"]),
        key_order=tree.get("key_order"),
        description=value_from(tree["description"]) if "description" in tree else ABSENT,
        transaction=Transaction(value_from(said["session"]), said["number"]) if said is not None else None,
        resume_token=bytes.fromhex(token) if token is not None else None,
        version=tree.get("version"),
        change_count=tree.get("change_count"),
        actor=_actor_from(actor) if actor is not None else None,
    )


def actor_tree(actor: Actor) -> dict[str, Any]:
    """An actor as a tree."""
    tree: dict[str, Any] = {"id": of(actor.id), "provenance": actor.provenance}
    tree |= {name: said for name in _SAID if (said := getattr(actor, name)) is not None}
    return tree | ({"request": of(actor.request)} if actor.request is not None else {})


def _actor_from(tree: Mapping[str, Any]) -> Actor:
    request = value_from(tree["request"]) if "request" in tree else None
    said = {name: tree.get(name) for name in _SAID}
    return Actor(id=value_from(tree["id"]), provenance=tree["provenance"], request=request, **said)


def change_tree(change: Change) -> dict[str, Any]:
    """A change as a tree."""
    tree: dict[str, Any] = {"field": change.field}
    if change.path is not ABSENT:
        tree["path"] = list(change.path)
    unknown = []
    for name in ("old_value", "new_value"):
        value = getattr(change, name)
        if value is UNKNOWN:
            unknown.append(name)
        elif value is not ABSENT:
            tree[name] = of(value)
    if unknown:
        tree["unknown"] = unknown
    return tree | {name: said for name in _HEAD if (said := getattr(change, name)) is not None}


def change_from(tree: Mapping[str, Any], timestamp: datetime | None) -> Change:
    """The change of a tree in the canonical form; `timestamp` is that of its event."""

    def side(name: str) -> Any:
        if name in tree.get("unknown", ()):
            return UNKNOWN
        return value_from(tree[name]) if name in tree else ABSENT

    return Change(
        field=tree["field"],
        old_value=side("old_value"),
        new_value=side("new_value"),
        timestamp=timestamp,
        path=tree.get("path", ABSENT),
        **{name: tree.get(name) for name in _HEAD},
    )


def state_tree(state: State) -> dict[str, Any]:
    """A state as a tree. `exists` is whether the document existed; null: unknown, with the reason in `unknown`."""
    tree: dict[str, Any] = {
        "namespace": state.namespace,
        "document_id": of(state.document_id),
        "exists": None if state.unknown is not None else state.data is not None,
        "document": Value((raw.DOCUMENT, state.data)) if state.data is not None else None,
    }
    if state.unknown is not None:
        tree["unknown"] = state.unknown
    tree["version"] = state.version
    tree["position"] = {
        "cluster_time": cluster_time(state.position.cluster_time.timestamp),
        "token": state.position.token.hex(),
    }
    tree["event"] = event_tree(state.entry) if state.entry is not None else None
    if state.ended_by is not None:
        tree["ended_by"] = event_tree(state.ended_by)
    tree["gaps"] = [event_tree(gap) for gap in state.gaps]
    return tree


def state_from(tree: Mapping[str, Any]) -> State:
    """The state of a tree in the canonical form."""
    document, entry, ended_by, position = (tree.get(name) for name in ("document", "event", "ended_by", "position"))
    place = position or {}
    return State(
        namespace=tree["namespace"],
        document_id=value_from(tree["document_id"]),
        position=HistoryPosition(
            ClusterTime.of(cluster_time_from(place["cluster_time"])), bytes.fromhex(place["token"])
        ),
        data=raw_from(document)[1] if document is not None else None,
        unknown=tree.get("unknown"),
        entry=event_from(entry) if entry is not None else None,
        version=tree.get("version"),
        ended_by=event_from(ended_by) if ended_by is not None else None,
        gaps=tuple(map(event_from, tree["gaps"])),
    )


def difference_tree(difference: Difference) -> dict[str, Any]:
    """A difference as a tree."""
    tree: dict[str, Any] = {"kind": difference.kind.value, "path": list(decoded(difference.path))}
    if difference.old_path != difference.path:
        tree["old_path"] = list(decoded(difference.old_path))
    unknown = []
    for name, side in (("old", difference.old), ("new", difference.new)):
        if side is UNKNOWN:
            unknown.append(name)
        elif not isinstance(side, Missing):
            tree[name] = Value(side)
    if unknown:
        tree["unknown"] = unknown
    if any(identity is not None for identity in difference.identities):
        tree["identities"] = [
            {"_id": Value(identity)} if identity is not None else None for identity in difference.identities
        ]
    return tree


def difference_from(tree: Mapping[str, Any]) -> Difference:
    """The difference of a tree in the canonical form."""

    def side(name: str) -> Side:
        if name in tree.get("unknown", ()):
            return UNKNOWN
        return raw_from(tree[name]) if name in tree else ABSENT

    path: TextPath = tuple(tree["path"])
    found = tree.get("identities") or [None] * len(path)
    return Difference(
        DifferenceKind(tree["kind"]),
        encoded(path),
        encoded(tuple(tree.get("old_path", path))),
        side("old"),
        side("new"),
        tuple(raw_from(each["_id"]) if each is not None else None for each in found),
    )


def time_tree(when: Any) -> Any:
    """A wall time: ISO 8601 in UTC, to the millisecond; beyond the calendar, Extended JSON."""
    if isinstance(when, datetime):
        return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return of(when)


def time_from(read: Any) -> Any:
    """The wall time of what `time_tree` gives."""
    return datetime.fromisoformat(read).astimezone(UTC) if isinstance(read, str) else value_from(read)


def cluster_time(point: Timestamp) -> str:
    """A cluster time as requests accept it, `seconds:increment`; fewer digits before the colon would be an hour."""
    return f"{point.time:03}:{point.inc}"


def cluster_time_from(text: str) -> Timestamp:
    """The cluster time of what `cluster_time` gives."""
    seconds, _, increment = text.partition(":")
    return Timestamp(int(seconds), int(increment))
