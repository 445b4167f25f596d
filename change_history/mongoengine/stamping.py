"""Stamps: each save writes the actor into the document, so that the daemon can attribute the event.

    class UserModel(HistoryMixin, Document):
        name = StringField()
        updated_by = StringField()
        updated_at = DateTimeField()

    stamp(UserModel, field="updated_by", at="updated_at")

    with acting("alice"):
        user.save()

mongoengine passes no session on, so its `save()` cannot join a transaction with a context document.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from mongoengine import DateTimeField, signals
from mongoengine.base import BaseField

from change_history.contexts import who_acts

if TYPE_CHECKING:
    from collections.abc import Iterable

_TICK = timedelta(milliseconds=1)


class _Stamp(NamedTuple):
    """Names of a class's attributes for the actor and the time."""

    field: str
    at: str | None


_stamps: dict[type, _Stamp] = {}


def stamp(model: type, *, field: str = "updated_by", at: str | None = None) -> None:
    """From now on, write the actor into every document of a class that is saved or inserted within `acting`.

    Subclasses are stamped too. Outside of `acting` nothing is written: the field keeps its value, and the daemon
    ignores a stamp that the event did not write.

    The server does not write an unchanged value. So if one actor saves twice in a row, the second event has no
    stamp, and its actor is unknown, unless `at` names a field that each save changes; give it to the daemon as well
    (see `ACTOR_FIELDS`). `QuerySet.update` sends no signal: see `stamps`. Deletes cannot be stamped: see
    `change_history.recorded`.

    Args:
        model: the document class; it has the fields.
        field: its attribute for the actor: a `StringField`, or one that accepts the actor of `acting`.
        at: its attribute for the time, a `DateTimeField`; None: there is none.

    Raises:
        ImportError: mongoengine has no signals, because blinker is not installed.
        TypeError: the class has no such field.
    """
    if not signals.signals_available:
        raise ImportError("stamp needs mongoengine's signals, and these need blinker. Type: pip install blinker")
    for name, kind, usual in ((field, BaseField, "StringField"), (at, DateTimeField, "DateTimeField")):
        if name is not None and not isinstance(getattr(model, "_fields", {}).get(name), kind):
            raise TypeError(f"{model.__name__} has no {usual} {name!r} to stamp. Add it: {name} = {usual}()")
    _stamps[model] = _Stamp(field, at)
    signals.pre_save.connect(_before_save, weak=False)  # repeated calls connect it only once
    signals.post_save.connect(_after_save, weak=False)
    signals.pre_bulk_insert.connect(_before_insert, weak=False)
    signals.post_bulk_insert.connect(_after_insert, weak=False)


def stamps(model: type) -> dict[str, Any]:
    """The stamp of the actor, for an update: `UserModel.objects(…).update(**stamps(UserModel), set__name="Ada")`.

    Empty without an actor, or if the class is not stamped.
    """
    found, acts = _stamp_of(model), who_acts()
    if found is None or acts is None:
        return {}
    when = {f"set__{found.at}": datetime.now(UTC)} if found.at is not None else {}
    return {f"set__{found.field}": acts.actor, **when}


def _stamp_of(model: type) -> _Stamp | None:
    return next((_stamps[base] for base in model.__mro__ if base in _stamps), None)


def _before_save(_: Any, document: Any, **__: Any) -> None:
    # A save without changes writes nothing; a stamp would make it a write.
    if _stamp_of(type(document)) is not None and (document._created or document._get_changed_fields()):  # noqa: SLF001
        _put(document)


def _after_save(_: Any, document: Any, **__: Any) -> None:
    _let_stand(document)


def _before_insert(_: Any, documents: Iterable[Any], **__: Any) -> None:
    for document in documents:
        _put(document)


def _after_insert(_: Any, documents: Iterable[Any], **__: Any) -> None:
    for document in documents:
        _let_stand(document)


_UNWRITTEN = "_change_history_unwritten"
"""Attribute of a document: of each field that was stamped for a save that has not succeeded yet, what it held before,
and the stamp."""


def _put(document: Any) -> None:
    found, acts = _stamp_of(type(document)), who_acts()
    if found is None:
        return
    _take_back(document)
    if acts is None:
        return
    stamp: dict[str, Any] = {found.field: acts.actor}
    if found.at is not None:
        stamp[found.at] = _later(document, getattr(document, found.at))
    unchanged = {
        name: getattr(document, name) for name in stamp if _stored_name(document, name) not in _changed(document)
    }
    for name, value in stamp.items():
        setattr(document, name, value)
    document.__dict__[_UNWRITTEN] = {name: (before, getattr(document, name)) for name, before in unchanged.items()}


def _let_stand(document: Any) -> None:
    """Keep the stamp of a save that succeeded."""
    document.__dict__.pop(_UNWRITTEN, None)


def _take_back(document: Any) -> None:
    """Remove the stamp of a save that failed: the next save may have another actor.

    The fields are no longer marked as changed, so nothing is written to them: the server may have the stamp if only its
    answer was lost.
    """
    for name, (before, put) in document.__dict__.pop(_UNWRITTEN, {}).items():
        if getattr(document, name) == put:
            setattr(document, name, before)
            _changed(document)[:] = [each for each in _changed(document) if each != _stored_name(document, name)]


def _changed(document: Any) -> list[str]:
    """The stored names of the fields that changed; a document that was never saved may have no such list."""
    found: list[str] = getattr(document, "_changed_fields", [])
    return found


def _stored_name(document: Any, name: str) -> str:
    return str(document._fields[name].db_field)


def _later(document: Any, before: Any) -> datetime:
    """The present time as this connection reads it back, but never the stored one, which the server would not write."""
    now = datetime.now(UTC)
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    if isinstance(before, datetime):
        now = max(now, (before if before.tzinfo is not None else before.replace(tzinfo=UTC)) + _TICK)
    return now if document._get_db().codec_options.tz_aware else now.replace(tzinfo=None)  # noqa: SLF001
