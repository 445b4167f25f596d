"""A change with the names and types of a document class, and the translation into it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import json_util

from change_history.bson import extended_json
from change_history.bson.paths import dotted_text
from change_history.bson.values import ABSENT, UNKNOWN, Missing
from change_history.mongoengine.translation import Values, locate
from change_history.stored.event import Change, path_of

if TYPE_CHECKING:
    from bson.codec_options import CodecOptions

    from change_history.bson.paths import TextPath
    from change_history.mongoengine.translation import ClassAt
    from change_history.stored.actor import Actor

_RELAXED = json_util.RELAXED_JSON_OPTIONS
_MOST_FIELDS, _MOST_LEADS = 4096, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentChange(Change):
    """The change of one field of a mongoengine document, with the names and types of its class.

    `field` and `path` are attributes (`addr.city`), and the values are those of the fields' `to_python`, without any
    query; see `change_history.stored.event.Change` for the rest.

    Attributes:
        db_field: the stored path in dotted notation.
        raw_old_value: the exact value before (see `change_history.bson.values`).
        raw_new_value: the exact value after.
        actor: the actor and its provenance; None: unknown, or a difference between two states.
    """

    db_field: str
    raw_old_value: Any = ABSENT
    raw_new_value: Any = ABSENT
    actor: Actor | None = None

    __hash__ = Change.__hash__

    def to_dict(self) -> dict[str, Any]:
        """The change as plain data for `json.dumps`: values as relaxed Extended JSON, the time as ISO 8601.

        `actor` is there if it is known. An absent value has no key. An unknown one has none either, and
        `old_value_from` or `new_value_from` is `unknown`.
        """
        found: dict[str, Any] = {"field": self.field, "db_field": self.db_field}
        for name, value in (("old_value", self.raw_old_value), ("new_value", self.raw_new_value)):
            if not isinstance(value, Missing):
                found[name] = _plain(value)
            elif value is UNKNOWN:
                found[f"{name}_from"] = "unknown"
        if self.timestamp is not None:
            found["timestamp"] = self.timestamp.isoformat()
        if self.actor is not None:
            found["actor"] = _plain(self.actor.told())
        return found

    def to_json(self) -> str:
        """The same as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        return f"{self.field}: {self.old_value!r} → {self.new_value!r}"

    def __repr__(self) -> str:
        return f"<Change: {self}>"


def _plain(value: Any) -> Any:
    try:
        return json.loads(json_util.dumps(value, json_options=_RELAXED))
    except (TypeError, ValueError, OverflowError):
        return json.loads(extended_json.dumps(value))


class _Draft(Change):
    """A `DocumentChange` under construction: the same slots, but mutable, which is faster."""

    __slots__ = tuple(
        {field.name for field in dataclass_fields(DocumentChange)} - {f.name for f in dataclass_fields(Change)}
    )
    __init__ = object.__init__
    __setattr__ = object.__setattr__


class _Lead(NamedTuple):
    """The attribute of a class for a stored field.

    Attributes:
        dotted: its dotted name in the class.
        names: the same as a path.
        field: the mongoengine field; None: the class has none.
        classes: the classes of embedded documents on the path that had to be looked up.
    """

    dotted: str
    names: TextPath
    field: Any
    classes: list[tuple[TextPath, str | None]]


class Translator:
    """Translates changes into the names and types of a document class. Caches the attributes of fields.

    Args:
        model: the document class.
        codec: how the application's connection decodes.
        class_at: see `change_history.mongoengine.translation.locate`.
    """

    def __init__(self, model: Any, codec: CodecOptions[Any], class_at: ClassAt | None = None) -> None:
        self._model = model
        self._value = Values(codec).of
        self._class_at = class_at
        self._remembered: dict[str, list[_Lead]] = {}

    def translated(self, change: Change, actor: Actor | None = None) -> DocumentChange:
        """The change with the names and types of the class.

        Args:
            change: the change in history.
            actor: the actor of its event.
        """
        lead = self._lead(change)
        draft: Any = _Draft()
        draft.field = lead.dotted
        draft.db_field = change.field
        draft.old_value = self._value(lead.field, change.old_value)
        draft.new_value = self._value(lead.field, change.new_value)
        draft.raw_old_value = change.old_value
        draft.raw_new_value = change.new_value
        draft.timestamp = change.timestamp
        draft.path = list(lead.names) if change.path is not ABSENT else ABSENT
        draft.old_value_from = change.old_value_from
        draft.new_value_from = change.new_value_from
        draft.truncated_to = change.truncated_to
        draft.at_end = change.at_end
        draft.actor = actor
        draft.__class__ = DocumentChange
        translated: DocumentChange = draft
        return translated

    def _lead(self, change: Change) -> _Lead:
        if change.path is not ABSENT:
            return self._found(change)
        known = self._remembered.get(change.field)
        if known is None:
            if len(self._remembered) >= _MOST_FIELDS:
                self._remembered.clear()
            known = self._remembered[change.field] = []
        for lead in known:
            if not lead.classes or self._holds(lead):
                return lead
        lead = self._found(change)
        if len(known) < _MOST_LEADS:
            known.append(lead)
        return lead

    def _holds(self, lead: _Lead) -> bool:
        """Whether a cached attribute is still valid: the embedded documents on its path have the same classes."""
        class_at = self._class_at
        return class_at is None or all(class_at(path) == name for path, name in lead.classes)

    def _found(self, change: Change) -> _Lead:
        classes: list[tuple[TextPath, str | None]] = []
        class_at = self._class_at

        def asked(path: TextPath) -> str | None:
            name = class_at(path) if class_at is not None else None
            classes.append((path, name))
            return name

        names, field = locate(self._model, path_of(change), asked if class_at is not None else None)
        return _Lead(dotted_text(names), names, field, classes)
