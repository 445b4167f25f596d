"""Imports changes that an application has recorded itself, in its documents or in a collection of differences.

Each item becomes an entry of the collection `imported` of the history database; an item that exists already is left as
it is, so an import can be repeated. The `_id` of an entry contains a digest of the stored data, never of redacted
values. So with other redaction rules the same item would get another `_id`; so would an item that has become the first
of its time, when the application limits the length of its list. Therefore an entry with the same time, document and
source counts as the same item if both have equal contents under the present rules. Items that are not valid changes are
reported and skipped.
"""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary, ObjectId, Timestamp
from pymongo.errors import BulkWriteError

from change_history import server_codes
from change_history.bson import raw, redacted
from change_history.bson.paths import decoded, dotted_text, encoded, read_text
from change_history.bson.values import ABSENT, document_to_python, to_python, to_raw
from change_history.reconstruct.reads import in_ids
from change_history.stored import exact
from change_history.stored.changes import Change
from change_history.stored.names import DOCUMENT_TIMELINE, IMPORTED
from change_history.stored.order import IMPORTED_ORDER_BYTES, identity
from change_history.stored.reading import RAW
from watcher.erasure.remains import telling_nothing, under

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from pymongo import MongoClient
    from pymongo.database import Database

    from watcher.events.redaction import Redaction

    Fields = dict[bytes, raw.Value]

_AT_ONCE = 1000
_LAST_SECOND = 2**32 - 1
_MOST_AT_ONE_TIME = 10**6
_MILLISECONDS = 1000
_PAIR = 2


class MappingError(ValueError):
    """A mapping is not valid; the message says why."""


class MisfitError(ValueError):
    """An item is not a valid change; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """The dotted paths of the parts of an application's own changes.

    Attributes:
        source: `database.collection` of the differences; None: the changes are in the documents themselves.
        document_id: in a difference, the `_id` of its document.
        changes: in a difference, its changes: a list, or a document from field to `[old, new]`; None: the difference is
            itself one change.
        field: in a change, the name of the field.
        old_value: in a change, the value before.
        new_value: in a change, the value after.
        timestamp: the time, in a difference or in an item of a list.
        user: the actor, in the same place.
    """

    source: str | None = None
    document_id: str = "document_id"
    changes: str | None = None
    field: str = "field"
    old_value: str = "old_value"
    new_value: str = "new_value"
    timestamp: str = "timestamp"
    user: str = "user"


def read_mapping(path: Path) -> Mapping:
    """Read a mapping from a TOML file; its key `from` is the `source`, the other keys are those of `Mapping`.

    Raises:
        MappingError: the file does not exist, is not TOML, or has another key.
    """
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise MappingError(f"{path}: {error}") from error
    known = {"from", *(one.name for one in fields(Mapping))} - {"source"}
    problems = [
        f"{key} is no key of a mapping; these are: {', '.join(sorted(known))}" for key in found if key not in known
    ]
    problems += [f"{key} must be text" for key, value in found.items() if key in known and not isinstance(value, str)]
    if problems:
        raise MappingError("\n".join(f"{path}: {problem}" for problem in problems))
    source = found.pop("from", None)
    return Mapping(source=source, **found)


@dataclass(slots=True)
class ImportReport:
    """The result of an import.

    Attributes:
        imported: number of items imported; of a rehearsal, number of valid items.
        known: number of items that existed already.
        misfits: place and reason of the first invalid items.
        left_out: number of invalid items.
    """

    documents: int = 0
    items: int = 0
    imported: int = 0
    known: int = 0
    misfits: list[str] = field(default_factory=list)
    left_out: int = 0

    def leave_out(self, where: str, why: str) -> None:
        """Count an invalid item."""
        self.left_out += 1
        if len(self.misfits) < _AT_ONCE:
            self.misfits.append(f"{where}: {why}")


class _Item(NamedTuple):
    document_id: Any
    changes: list[dict[str, Any]]
    when: datetime
    user: Any
    source: str
    origin: bytes = b""
    """Distinguishes it from an equal item: the `_id` of a difference."""


class Import:
    """Imports an application's own changes.

    Args:
        path: dotted path of the list in each document; None: the changes are in a collection of differences.
        erased: returns an entry without its document's erased values; None: all of it was erased.
    """

    def __init__(
        self,
        watched: MongoClient[Any],
        history: Database[Any],
        namespace: str,
        path: str | None,
        mapping: Mapping,
        redaction: Redaction | None,
        erased: Callable[[bytes], bytes | None] = lambda entry: entry,
    ) -> None:
        self._watched = watched
        self._history = history
        self._namespace = namespace
        self._path = path
        self._mapping = mapping
        self._erased = erased
        self._redactor = redaction.of(namespace.encode("utf-8", "surrogateescape")) if redaction is not None else None
        self._taken: set[bytes] = set()

    def run(self, *, rehearsal: bool = False) -> ImportReport:
        """Run the import.

        Args:
            rehearsal: only count the valid items, and store nothing.
        """
        outcome = ImportReport()
        entries = self._entries(outcome)
        if not rehearsal:
            self._history[IMPORTED].create_index(DOCUMENT_TIMELINE, name="document")
        while some := list(islice(entries, _AT_ONCE)):
            known = 0 if rehearsal else self._store(some)
            outcome.known += known
            outcome.imported += len(some) - known
        return outcome

    def _store(self, entries: Sequence[bytes]) -> int:
        """Store entries. Returns how many existed already."""
        new = [left for entry in self._new(entries) if (left := self._left(entry)) is not None]
        if not new:
            return len(entries)
        try:
            exact.insert(self._history[IMPORTED], new)
        except BulkWriteError as error:
            failed = error.details["writeErrors"]
            if any(one["code"] != server_codes.DUPLICATE_KEY for one in failed) or error.details.get(
                "writeConcernErrors"
            ):
                raise
            return len(entries) - len(new) + len(failed)
        return len(entries) - len(new)

    def _left(self, entry: bytes) -> bytes | None:
        """An entry without the values that an erasure in force covers, and then with a random `_id`; None: nothing."""
        left = self._erased(entry)
        if left is None or left == entry:
            return left
        return under(left, telling_nothing(identity(raw.fields(left))))

    def _new(self, entries: Sequence[bytes]) -> list[bytes]:
        """The entries that do not exist yet, neither under their `_id` nor as stored under other redaction rules."""
        found = {identity(told): (told, entry) for entry in entries for told in (raw.fields(entry),)}
        known = self._history[IMPORTED].find({"_id": {"$in": list(map(Binary, found))}}, {"_id": 1})
        for each in known:
            found.pop(bytes(each["_id"]), None)
        if not found:
            return []
        standing = self._standing([told for told, _ in found.values()])
        return [entry for told, entry in found.values() if not self._takes(told, standing)]

    def _takes(self, told: Fields, standing: dict[tuple[Any, ...], list[Fields]]) -> bool:
        """Whether an item matches a stored entry that no other item has been matched with."""
        alike = standing.get((*_key(told), *_said(told)), ())
        perhaps = (each for each in standing.get(_key(told), ()) if self._is_same(each, told))
        for each in chain(alike, perhaps):
            name = identity(each)
            if name not in self._taken and name not in self._ids:
                self._taken.add(name)
                return True
        return False

    def _standing(self, entries: Sequence[Fields]) -> dict[tuple[Any, ...], list[Fields]]:
        """Stored entries with the times of some entries: by `_key` and contents; those that are vague by `_key`."""
        keys = {_key(fields) for fields in entries}
        times = [key[0] for key in keys]
        query = {
            "namespace": self._namespace,
            "document_id": in_ids(list({fields[b"document_id"] for fields in entries})),
            "_id": {
                "$gte": Binary(_position(min(times), 0) + b"\0" * IMPORTED_ORDER_BYTES),
                "$lte": Binary(_position(max(times), _MOST_AT_ONE_TIME - 1) + b"\xff" * IMPORTED_ORDER_BYTES),
            },
        }
        found: dict[tuple[Any, ...], list[Fields]] = defaultdict(list)
        for stored in self._history.get_collection(IMPORTED, codec_options=RAW).find(query).sort("_id", 1):
            fields = raw.fields(bytes(stored.raw))
            if (key := _key(fields)) in keys:
                found[*key, *_said(fields)].append(fields)
                if self._redactor is not None or _is_vague(fields):
                    found[key].append(fields)
        return found

    @cached_property
    def _ids(self) -> frozenset[bytes]:
        """The `_id`s of all items' entries: a stored entry with one of them is that item, and no other."""
        return frozenset(identity(raw.fields(entry)) for entry in self._entries(ImportReport()))

    def _is_same(self, known: Fields, found: Fields) -> bool:
        """Whether a stored entry has the same contents as another, under the present rules."""
        one, other = known.get(b"user"), found.get(b"user")
        if (one is None) != (other is None):
            return False
        if one is not None and other is not None and redacted.adopt(one, other) != one:
            return False
        if _is_erased(known):
            return True
        before = list(map(_recorded, to_python(known[b"changes"])))
        if self._redactor is not None:
            before = self._redactor.changes(before)
        return _are_same(before, list(map(_recorded, to_python(found[b"changes"]))))

    def _entries(self, outcome: ImportReport) -> Iterator[bytes]:
        found = self._of_documents(outcome) if self._path is not None else self._of_differences(outcome)
        ranks: Counter[tuple[bytes, datetime]] = Counter()
        document: bytes | None = None
        for item in found:
            key = to_raw({"_id": item.document_id})[1]
            if key != document:  # the items of one list are consecutive
                document = key
                ranks.clear()
            ranks[key, item.when] += 1
            outcome.items += 1
            yield _entry(self._namespace, item, ranks[key, item.when] - 1)

    def _of_documents(self, outcome: ImportReport) -> Iterator[_Item]:
        path = self._path or ""
        source = f"{self._namespace}:{path}"
        for stored in self._read(self._namespace, {path: {"$exists": True}}, {path: 1}):
            where = f"_id {stored['_id']!r}"
            items = _at(stored, path)
            if not isinstance(items, list):
                outcome.leave_out(where, f"{path} is no list")
                continue
            outcome.documents += 1
            for number, item in enumerate(items):
                try:
                    if not isinstance(item, dict):
                        raise MisfitError("it is no document")  # noqa: TRY301
                    yield self._item(stored["_id"], item, replace(self._mapping, changes=None), source)
                except MisfitError as error:
                    outcome.leave_out(f"{where}, {path}.{number}", str(error))

    def _of_differences(self, outcome: ImportReport) -> Iterator[_Item]:
        source = self._mapping.source or ""
        seen: set[bytes] = set()
        for stored in self._read(source, {}, None):
            where = f"{source}, _id {stored['_id']!r}"
            try:
                document_id = _at(stored, self._mapping.document_id)
                if document_id is ABSENT:
                    raise MisfitError(f"it has no {self._mapping.document_id}")  # noqa: TRY301
                item = self._item(document_id, stored, self._mapping, source)
                yield item._replace(origin=to_raw({"_id": stored["_id"]})[1])
            except MisfitError as error:
                outcome.leave_out(where, str(error))
                continue
            seen.add(blake2b(to_raw({"_id": document_id})[1], digest_size=8).digest())
            outcome.documents = len(seen)

    def _read(self, namespace: str, query: dict[str, Any], wanted: dict[str, int] | None) -> Iterator[dict[str, Any]]:
        database, _, name = namespace.partition(".")
        collection = self._watched.get_database(database).get_collection(name, codec_options=RAW)
        with collection.find(query, wanted).sort("_id", 1) as cursor:
            yield from map(document_to_python, cursor)

    def _item(self, document_id: Any, item: dict[str, Any], mapping: Mapping, source: str) -> _Item:
        changes = item if mapping.changes is None else _at(item, mapping.changes)
        found = list(_changes(changes, mapping))
        if not found:
            raise MisfitError("it has no changes")
        if self._redactor is not None:
            found = [_told(change) for change in self._redactor.changes(map(_recorded, found))]
        return _Item(document_id, found, _time(_at(item, mapping.timestamp)), _at(item, mapping.user), source)


def _changes(changes: Any, mapping: Mapping) -> Iterator[dict[str, Any]]:
    if mapping.changes is None:
        yield _change(changes, mapping)
    elif isinstance(changes, list):
        for change in changes:
            yield _change(change, mapping)
    elif isinstance(changes, dict):
        for name, pair in changes.items():
            if isinstance(pair, list) and len(pair) == _PAIR:
                yield {"field": name, "old_value": pair[0], "new_value": pair[1]}
            elif isinstance(pair, dict):
                yield _change({mapping.field: name, **pair}, mapping)
            else:
                raise MisfitError(f"{mapping.changes}.{name} is neither [old, new] nor a document")
    else:
        raise MisfitError(f"it has no list and no document at {mapping.changes}")


def _change(change: Any, mapping: Mapping) -> dict[str, Any]:
    name = _at(change, mapping.field)
    if not isinstance(name, str) or not name:
        raise MisfitError(f"its {mapping.field} is no name of a field")
    values = {"old_value": _at(change, mapping.old_value), "new_value": _at(change, mapping.new_value)}
    if all(value is ABSENT for value in values.values()):
        raise MisfitError(f"it has neither {mapping.old_value} nor {mapping.new_value}")
    return {"field": name, **{key: value for key, value in values.items() if value is not ABSENT}}


def _recorded(change: dict[str, Any]) -> Change:
    """A change as it would have been recorded."""
    old, new = (to_raw(change[name]) if name in change else None for name in ("old_value", "new_value"))
    return Change(encoded(read_text(change["field"])), old, new)


def _position(millisecond: int, rank: int) -> bytes:
    """The beginning of an entry's `_id`, which defines the order of entries."""
    seconds, within = divmod(millisecond, _MILLISECONDS)
    return seconds.to_bytes(4, "big") + (within * _MOST_AT_ONE_TIME + rank).to_bytes(4, "big")


def _key(fields: Fields) -> tuple[Any, ...]:
    """What two entries of the same item have in common under any rules, even if the list has changed since."""
    name = identity(fields)
    within = int.from_bytes(name[4:IMPORTED_ORDER_BYTES], "big") // _MOST_AT_ONE_TIME
    millisecond = int.from_bytes(name[:4], "big") * _MILLISECONDS + within
    return millisecond, fields[b"document_id"], fields[b"source"]


def _said(fields: Fields) -> tuple[Any, ...]:
    return fields[b"changes"], fields.get(b"user")


def _is_vague(fields: Fields) -> bool:
    """Whether a stored entry may match an item with other contents, since some of its values are redacted."""
    return any(redacted.MAGIC in value for _, value in fields.values()) or _is_erased(fields)


def _is_erased(fields: Fields) -> bool:
    """Whether only the time of an entry was left by an erasure."""
    return any(change.get("path") == [] for change in to_python(fields[b"changes"]))


def _are_same(before: Sequence[Change], after: Iterable[Change]) -> bool:
    """Whether changes differ only in their redacted values."""
    withheld = {each.path: each for each in before if _is_withheld(each.old) or _is_withheld(each.new)}
    found: list[Change] = []
    covered = set()
    for change in after:
        above = next((path for at in range(1, len(change.path)) if (path := change.path[:at]) in withheld), None)
        if above is None:
            found.append(change)
        elif above not in covered:
            covered.add(above)
            found.append(withheld[above])
    return len(before) == len(found) and all(
        one.path == other.path and _adopts(one.old, other.old) and _adopts(one.new, other.new)
        for one, other in zip(before, found, strict=True)
    )


def _is_withheld(value: raw.Value | None) -> bool:
    return value is not None and redacted.is_withheld(value)


def _adopts(known: raw.Value | None, found: raw.Value | None) -> bool:
    if known is None or found is None:
        return known is found
    return redacted.adopt(known, found) == known


def _told(change: Change) -> dict[str, Any]:
    values = {"old_value": change.old, "new_value": change.new}
    told = {name: to_python(value) for name, value in values.items() if value is not None}
    return {"field": dotted_text(decoded(change.path)), **told}


def _time(value: Any) -> datetime:
    found = value
    if isinstance(value, Timestamp):
        found = value.as_datetime()
    elif isinstance(value, ObjectId):
        found = value.generation_time
    elif isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError as error:
            raise MisfitError(f"its time is {value!r}, which is not ISO 8601") from error
    if not isinstance(found, datetime):
        raise MisfitError("it has no time" if value is ABSENT else f"its time is {value!r}")
    found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    if not 0 <= found.timestamp() <= _LAST_SECOND:
        raise MisfitError(f"its time is {found.isoformat()}, which is before 1970 or after 2105")
    found = found.astimezone(UTC)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)


def _at(document: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(document, dict) or key not in document:
            return ABSENT
        document = document[key]
    return document


def _entry(namespace: str, item: _Item, rank: int) -> bytes:
    """The stored entry of an item: a pure function of it and its rank among those of the same document and time."""
    told: dict[str, Any] = {
        "namespace": namespace,
        "document_id": item.document_id,
        "operation": "imported",
        "timestamp": item.when,
        "changes": item.changes,
        **({"user": item.user} if item.user is not ABSENT else {}),
        "source": item.source,
    }
    apart = item.origin or b"%d" % rank
    digest = blake2b(to_raw(told)[1] + apart, digest_size=8).digest()
    millisecond = int(item.when.timestamp()) * _MILLISECONDS + item.when.microsecond // 1000
    position = _position(millisecond, min(rank, _MOST_AT_ONE_TIME - 1))
    return to_raw({"_id": Binary(position + digest), **told})[1]


def told_of(outcome: ImportReport) -> Iterable[tuple[str, int]]:
    """The numbers of a report by name, for text and JSON output."""
    return (
        ("documents", outcome.documents),
        ("items", outcome.items + outcome.left_out),
        ("imported", outcome.imported),
        ("known", outcome.known),
        ("left_out", outcome.left_out),
    )
