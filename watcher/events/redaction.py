"""Redacts an event before anything else is done with it, so that no redacted value can get into history.

The event is rewritten with placeholders (`change_history.bson.redacted`) for the values that a rule covers, and then
recorded like any other. So history is that of the redacted documents, and folds like any history. A change below a
covered path is recorded as a change of that path, since the placeholder there has no inner fields.

The changes of a replacement come only from its two images. So if two different values have the same placeholder, the
later one is marked (`change_history.bson.redacted.changed`) until its history is written. Without a pre-image the
values cannot be compared; then every value whose change would be hidden is marked, as the replacement wrote it.

The compiled counterpart is `_redaction.pxd`, used by `watcher.events.fast_path`.
"""

from __future__ import annotations

from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import raw, redacted
from change_history.bson.image import Image, RepeatedKeyError
from change_history.bson.paths import read_dotted
from change_history.bson.redacted import DROPPED, How
from change_history.reconstruct import fold
from change_history.redaction_rules import Paths
from change_history.stored import changes
from change_history.stored.changes import Change
from watcher.events import event, update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from change_history.bson.paths import Path
    from change_history.bson.raw import Value
    from change_history.redaction_rules import Rule

_ID = b"_id"
_BEFORE, _AFTER = b"fullDocumentBeforeChange", b"fullDocument"
_DOCUMENTS = frozenset({_BEFORE, _AFTER, b"documentKey"})
_PLAIN = frozenset(
    {
        *(b"_id", b"operationType", b"clusterTime", b"wallTime", b"ns", b"lsid", b"txnNumber", b"collectionUUID"),
        *(b"splitEvent", event.WITHOUT_VALUES.encode()),
    }
)
"""Fields of an event that contain no values of a document."""
_CONTAINERS = frozenset({raw.DOCUMENT, raw.ARRAY})
_DAMAGED = (ValueError, KeyError, IndexError)


class _Unknown(Enum):
    """Stands for the replaced document if the event has no pre-image."""

    UNKNOWN = "unknown"


class Redaction:
    """Redacts by all rules.

    Args:
        rules: the rules in their order.
        key: key of the digests; None: no rule needs one.
        make: makes the redactor of one namespace; None: `Redactor`.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        key: bytes | None = None,
        make: Callable[[Paths, bytes], Redactor] | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self._key = key or b""
        self._make = make or Redactor
        self._found: dict[bytes, Redactor | None] = {}
        self.by_names: dict[bytes, Redactor | None] = {}
        """Redactors by the payload of an event's `ns`."""

    def of(self, namespace: bytes) -> Redactor | None:
        """The redactor of a namespace, `db.coll`; None: no rule concerns it."""
        try:
            return self._found[namespace]
        except KeyError:
            name = namespace.decode("utf-8", "surrogateescape")
            mine = [rule for rule in self.rules if rule.concerns(name)]
            found = self._make(Paths(mine), self._key) if mine else None
            self._found[namespace] = found
            return found

    def batch(self, events: list[bytes]) -> tuple[list[bytes], frozenset[int]]:
        """The events redacted by `Redactor.event`, and the indexes of those that contain marked values.

        An event whose namespace cannot be read is left unchanged: it cannot be recorded either (see `rejected`).
        """
        kept, marked = events, set[int]()
        for number, data in enumerate(events):
            named = _names(data)
            redactor = self.named(named) if named is not None else None
            if redactor is None:
                continue
            written, is_marked = redactor.marked_event(data)
            if written is data:
                continue
            if kept is events:
                kept = list(events)
            kept[number] = written
            if is_marked:
                marked.add(number)
        return kept, frozenset(marked)

    def named(self, names: bytes) -> Redactor | None:
        """The redactor of an event's namespace, by the payload of its `ns`; None: no rule concerns it."""
        if names not in self.by_names:
            try:
                self.by_names[names] = self.of(event.namespace_of(names))
            except ValueError:
                return None
        return self.by_names[names]

    @cached_property
    def anywhere(self) -> Redactor | None:
        """A redactor with all rules, for events whose namespace is unknown; None: there are no rules."""
        return self._make(Paths(self.rules), self._key) if self.rules else None

    def rejected(self, data: bytes) -> bytes:
        """An event that cannot be read, without any value that a rule may cover."""
        names = raw.readable(data).get(b"ns")
        try:
            redactor = self.of(event.namespace_of(names[1])) if names is not None else self.anywhere
        except ValueError:
            redactor = self.anywhere
        return redactor.event(data) if redactor is not None else data

    def entry(self, document: bytes) -> bytes:
        """A history document without any value that a rule covers."""
        found = raw.fields(document)
        namespace, told = found.get(b"namespace"), found.get(b"changes")
        redactor = self.of(raw.text_of(namespace)) if namespace is not None else None
        if redactor is None or told is None:
            return document
        before = [changes.decode(change) for _, change in raw.items(told[1])]
        after = redactor.changes(before)
        if before == after:
            return document
        found[b"changes"] = (raw.ARRAY, raw.from_items([(raw.DOCUMENT, changes.encode(change)) for change in after]))
        return raw.from_fields(found.items())


def _names(data: bytes) -> bytes | None:
    found = raw.readable(data).get(b"ns")
    return found[1] if found is not None and found[0] == raw.DOCUMENT else None


class Redactor:
    """Redacts the values that the rules of one namespace cover. Placeholders stay as they are."""

    def __init__(self, paths: Paths, key: bytes) -> None:
        self.paths = paths
        self._hash_key = key

    def document(self, document: bytes) -> bytes:
        """Redact a document of the namespace.

        Raises:
            change_history.bson.raw.MalformedBSON: the bytes are not a BSON document.
        """
        return self._inside(document, self.paths.start, top=True)

    def event(self, data: bytes) -> bytes:
        """Redact a change event of the namespace. Parts that cannot be read are dropped."""
        return self.marked_event(data)[0]

    def marked_event(self, data: bytes) -> tuple[bytes, bool]:
        """The same, and whether it contains values that were newly marked."""
        written = self._event(data)
        return written, redacted.says_changed(written) and not redacted.says_changed(data)

    def _event(self, data: bytes) -> bytes:
        try:
            found = [(key, (kind, payload)) for key, kind, payload in raw.elements(data)]
        except raw.MalformedBSON:
            found = list(raw.readable(data).items())
        told = dict(found)
        operation = told.get(b"operationType")
        if operation is not None and raw.text_of(operation) not in event.DOCUMENT_OPERATIONS:
            return data
        before = told.get(_BEFORE)
        was: bytes | _Unknown | None = None
        if operation is not None and raw.text_of(operation) == b"replace" and not redacted.says_changed(data):
            was = before[1] if before is not None and before[0] == raw.DOCUMENT else _Unknown.UNKNOWN
        return raw.from_fields([(name, self._part(name, value, told, was)) for name, value in found])

    def _part(self, name: bytes, value: Value, told: dict[bytes, Value], was: bytes | _Unknown | None) -> Value:
        """Redact one field of an event."""
        kind, payload = value
        if name in _PLAIN or kind == raw.NULL:
            return value
        try:
            if kind == raw.DOCUMENT:
                if name in _DOCUMENTS:
                    return kind, self._inside(payload, self.paths.start, top=True, was=was if name == _AFTER else None)
                if name == b"rawUpdateDescription":
                    return kind, self._raw_description(payload, told)
                if name == b"updateDescription":
                    return kind, self._description(payload, told)
        except _DAMAGED:
            pass
        return DROPPED

    def changes(self, found: Iterable[Change]) -> list[Change]:
        """Redact the changes of a document."""
        told: list[Change] = []
        collapsed: set[Path] = set()
        for change in found:
            depth, state = self.paths.along(change.path)
            if self.paths.rule(state) is None or depth == len(change.path):
                told.append(change._replace(old=self._told(change.old, state), new=self._told(change.new, state)))
                continue
            path = change.path[:depth]
            if path not in collapsed:
                collapsed.add(path)
                rule = self.paths.rule(state)
                kept = _inside_of(change.path[depth], rule.how) if rule is not None else DROPPED
                old = None if change.old_from == changes.UNKNOWN else kept
                told.append(Change(path, old, kept, change.old_from))
        return told

    def _told(self, value: Value | None, state: int) -> Value | None:
        return self._value(value, state, None) if value is not None else None

    def _inside(
        self,
        container: bytes,
        state: int,
        *,
        top: bool = False,
        array: bool = False,
        was: bytes | _Unknown | None = None,
    ) -> bytes:
        """Redact a document or an array.

        Args:
            container: the document or array, BSON.
            state: state of the rules at it.
            top: whether it is a whole document, whose `_id` stays.
            array: whether it is an array.
            was: the document or array that it replaces, to which it is compared; None: it replaces none.
        """
        paths = self.paths
        step = paths.index if array else paths.key
        before = raw.fields(was) if isinstance(was, bytes) and was != container else {}
        unknown = was if isinstance(was, _Unknown) else None
        return raw.from_fields(
            [
                (key, (kind, payload))
                if top and key == _ID
                else (key, self._value((kind, payload), step(state, key), unknown or before.get(key)))
                for key, kind, payload in raw.elements(container)
            ]
        )

    def _value(self, value: Value, state: int, was: Value | _Unknown | None) -> Value:
        if not state:
            return value
        rule = self.paths.rule(state)
        if rule is not None:
            kept = self._withheld(value, rule.how)
            if isinstance(was, _Unknown):
                hidden = redacted.hides_change(kept) and not redacted.is_withheld(value)
            else:
                hidden = was is not None and was != value and self._withheld(was, rule.how) == kept
            return redacted.changed(kept) if hidden else kept
        kind, payload = value
        if kind not in _CONTAINERS:
            return value
        compared = was if isinstance(was, _Unknown) else was[1] if was is not None and was[0] == kind else None
        return kind, self._inside(payload, state, array=kind == raw.ARRAY, was=compared)

    def _withheld(self, value: Value, how: How) -> Value:
        if redacted.is_withheld(value):
            return value
        if how is How.MASK:
            return redacted.masked(value)
        return redacted.hashed(value, self._hash_key) if how is How.HASH else DROPPED

    def _raw_description(self, description: bytes, told: dict[bytes, Value]) -> bytes:
        found = []
        for key, kind, payload in raw.elements(description):
            if key == b"diff" and kind == raw.DOCUMENT:
                place = _Place(self.paths.start, (), description, told)
                found.append((key, (kind, self._delta(payload, place))))
            else:  # the version, or a section of an unknown format
                found.append((key, (kind, payload) if key == b"$v" else DROPPED))
        return raw.from_fields(found)

    def _delta(self, delta: bytes, at: _Place) -> bytes:
        """Redact an update's delta of a document: see `watcher.events.update`."""
        found: list[tuple[bytes, Value]] = []
        for section, kind, payload in raw.elements(delta):
            value = kind, payload
            if section == b"d":
                found.append((section, value))
            elif kind != raw.DOCUMENT:
                found.append((section, DROPPED))
            elif section in (b"u", b"i"):
                found.append((section, (kind, self._inside(payload, at.state, top=not at.path))))
            elif section[:1] == b"s":
                key = section[1:]
                below = at.below(key, self.paths.key(at.state, key) if at.path or key != _ID else 0)
                if (kept := self._collapsed(payload, below)) is not None:
                    found.append((b"u", (raw.DOCUMENT, raw.from_fields([(key, kept)]))))
                else:
                    found.append((section, (kind, self._delta_below(payload, below))))
            else:
                found.append((section, DROPPED))
        return raw.from_fields(found)

    def _delta_of_array(self, delta: bytes, at: _Place) -> bytes:
        found: list[tuple[bytes, Value]] = []
        for section, kind, payload in raw.elements(delta):
            index = section[1:]
            if section[:1] == b"u":
                found.append((section, self._value((kind, payload), self.paths.index(at.state, index), None)))
            elif section[:1] == b"s" and kind == raw.DOCUMENT:
                below = at.below(int(index), self.paths.index(at.state, index))
                if (kept := self._collapsed(payload, below)) is not None:
                    found.append((b"u" + index, kept))
                else:
                    found.append((section, (kind, self._delta_below(payload, below))))
            else:
                found.append((section, (kind, payload) if section in (b"a", b"l") else DROPPED))
        return raw.from_fields(found)

    def _delta_below(self, delta: bytes, at: _Place) -> bytes:
        if not at.state:
            return delta
        return self._delta_of_array(delta, at) if _is_of_array(delta) else self._delta(delta, at)

    def _collapsed(self, delta: bytes, at: _Place) -> Value | None:
        """The placeholder of a covered document or array with a change inside; None: it is not covered."""
        rule = self.paths.rule(at.state)
        if rule is None:
            return None
        if rule.how is How.HASH:
            after = at.after()
            return redacted.hashed(after, self._hash_key) if after is not None else redacted.written(How.HASH)
        return _inside_of(0 if _is_of_array(delta) else b"", rule.how)

    def _description(self, description: bytes, told: dict[bytes, Value]) -> bytes:
        """Redact the ordinary description of an update: its dotted paths do not distinguish keys from indexes."""
        contents = raw.fields(description)
        described = update.from_description(description)
        above: dict[bytes, Value] = {}  # covered paths with a change inside

        def open_to_all(field: bytes, *, itself: bool = False) -> bool:
            """Whether no path above this one is covered (with `itself`: nor the path); a covered one is noted."""
            prefix, state = self._covered(field)
            rule = self.paths.rule(state)
            if rule is None or (prefix == field and not itself):
                return True
            above.setdefault(prefix, self._after(prefix, rule.how, told))
            return False

        updated = [
            (field, self._value(value, self._covered(field)[1], None))
            for field, value in described.updated
            if open_to_all(field)
        ]
        removed = [field for field in described.removed if open_to_all(field)]
        truncated = [one for one in described.truncated if open_to_all(one[0], itself=True)]
        clear = {key: path for key, path in described.disambiguated.items() if open_to_all(key)}
        parts: dict[bytes, Callable[[], Value]] = {
            b"updatedFields": lambda: (raw.DOCUMENT, raw.from_fields([*updated, *above.items()])),
            b"removedFields": lambda: (raw.ARRAY, raw.from_items((raw.STRING, raw.string(one)) for one in removed)),
            b"truncatedArrays": lambda: (raw.ARRAY, raw.from_items(map(_truncated, truncated))),
            b"disambiguatedPaths": lambda: (raw.DOCUMENT, raw.from_fields((k, _path(p)) for k, p in clear.items())),
        }
        contents.setdefault(b"updatedFields", (raw.DOCUMENT, raw.EMPTY_DOCUMENT))
        return raw.from_fields((key, parts[key]() if key in parts else DROPPED) for key in contents)

    def _covered(self, field: bytes) -> tuple[bytes, int]:
        """The shortest covered prefix of a dotted path, or all of it, and the state there."""
        state, parts = self.paths.start, field.split(b".")
        if parts[0] == _ID:
            return field, 0
        for depth, part in enumerate(parts, start=1):
            state = self.paths.either(state, part)
            if not state or state & self.paths.ended:
                return (b".".join(parts[:depth]) if state else field), state
        return field, state

    def _after(self, field: bytes, how: How, told: dict[bytes, Value]) -> Value:
        after = told.get(_AFTER)
        if how is not How.HASH or after is None or after[0] != raw.DOCUMENT:
            return redacted.written(how)
        found = _looked_up(after[1], read_dotted(field))
        return redacted.hashed(found, self._hash_key) if found is not None else redacted.written(how)


class _Place(NamedTuple):
    """A place in an update.

    Attributes:
        state: state of the rules there.
        path: path in the document.
        description: description of the whole update.
        told: fields of the whole event.
    """

    state: int
    path: Path
    description: bytes
    told: dict[bytes, Value]

    def below(self, key: bytes | int, state: int) -> _Place:
        return self._replace(state=state, path=(*self.path, key))

    def after(self) -> Value | None:
        """The value there after the update; None: unknown, since the document before is unknown."""
        before = self.told.get(_BEFORE)
        if before is None or before[0] != raw.DOCUMENT:
            return None
        try:
            steps = changes.of_steps(update.from_raw(self.description), Image(before[1]))
            after = fold.apply(before[1], fold.Entry(b"update", steps, None))
        except (ValueError, MemoryError):  # MemoryError: an element far beyond the end of an array
            return None
        return _looked_up(after, self.path) if after is not None else None


def _looked_up(document: bytes, path: Path) -> Value | None:
    try:
        return Image(document).get(path)
    except RepeatedKeyError:
        return None


def _inside_of(key: bytes | int, how: How) -> Value:
    """The placeholder for a value of which only one key, or index, is known."""
    kind = raw.ARRAY if isinstance(key, int) else raw.DOCUMENT
    return redacted.written(how, kind if how is How.MASK else 0)


def _is_of_array(delta: bytes) -> bool:
    contents = raw.elements(delta)
    return bool(contents) and contents[0][:2] == (b"a", raw.BOOLEAN)


def _truncated(one: tuple[bytes, int]) -> Value:
    field, size = one
    named = [(b"field", (raw.STRING, raw.string(field))), (b"newSize", (raw.INT32, raw.int32(size)))]
    return raw.DOCUMENT, raw.from_fields(named)


def _path(path: Path) -> Value:
    keys: Iterator[Value] = (
        (raw.INT32, raw.int32(key)) if isinstance(key, int) else (raw.STRING, raw.string(key)) for key in path
    )
    return raw.ARRAY, raw.from_items(keys)
