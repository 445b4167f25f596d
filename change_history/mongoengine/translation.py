"""Stored paths and values as a document class names and types them.

Values become what mongoengine would give the application, but without any query: references stay ids or `DBRef`s, and
no sequence is drawn from. A value that no longer fits the class stays as stored; this is never an error.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import bson
from bson.codec_options import DatetimeConversion, TypeRegistry
from mongoengine import DynamicEmbeddedDocument, EmbeddedDocument, fields
from mongoengine.base import get_document
from mongoengine.errors import NotRegistered, ValidationError

from change_history.bson import raw
from change_history.bson.paths import read_text
from change_history.bson.redacted import Redacted
from change_history.bson.values import Missing, tell_withheld, to_raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bson.codec_options import CodecOptions

    from change_history.bson.paths import TextPath

_PLAIN_TYPES: frozenset[type] = frozenset({str, bool, int, float, type(None), bson.ObjectId})
_BY_ID = (fields.ReferenceField, fields.LazyReferenceField)
_BY_CLASS = (fields.GenericReferenceField, fields.GenericLazyReferenceField)


ClassAt: TypeAlias = "Callable[[TextPath], str | None]"


class MisfitError(Exception):
    """A stored value does not fit its class. Not raised outside this module."""


class Located(NamedTuple):
    """The attribute of a class for a stored path.

    Attributes:
        names: the path in the names of the class; parts that the class does not have keep their stored names.
        field: the mongoengine field there; None: the class has none.
    """

    names: TextPath
    field: Any


def locate(model: Any, path: TextPath, class_at: ClassAt | None = None) -> Located:
    """Find a stored path in a document class.

    Args:
        model: the document class.
        path: the stored path.
        class_at: gives the `_cls` of the embedded document at a path; called only where the classes alone do not
            determine the field.
    """
    names: list[str | int] = []
    classes: list[Any] | None = [model]
    field: Any = None
    for depth, key in enumerate(path):
        if classes is not None:
            found = _field_of(classes, key) if isinstance(key, str) else None
            if found is None and class_at is not None and isinstance(key, str) and _leaves_open(classes, key):
                found = _field_by_name(class_at(path[:depth]), key)
            field = found
            names.append(field.name if field is not None else key)
        elif isinstance(key, str) and class_at is not None and _may_hold_any(model, field):
            field = _field_by_name(class_at(path[:depth]), key)
            names.append(field.name if field is not None else key)
        else:
            inner = isinstance(key, int) if isinstance(field, fields.ListField) else isinstance(field, fields.DictField)
            field = field.field if inner else None
            names.append(key)
        classes = _documents_in(field)
    return Located(tuple(names), field)


def _leaves_open(classes: list[Any], key: str) -> bool:
    """Whether these do not determine an embedded document's class: it is generic, or one of several subclasses."""
    return not classes or any(_own_field(heir, key) is not None for cls in classes for heir in _family(cls))


def _may_hold_any(model: Any, field: Any) -> bool:
    """Whether an embedded document of any class may be there; finding its class requires reading the document."""
    dynamic = isinstance(field, fields.DynamicField) or (field is None and model._dynamic)  # noqa: SLF001
    return dynamic and any(
        cls is not DynamicEmbeddedDocument or cls.__subclasses__() for cls in EmbeddedDocument.__subclasses__()
    )


def _field_by_name(class_name: str | None, key: str) -> Any:
    try:
        return _own_field(get_document(class_name), key) if class_name is not None else None
    except NotRegistered:
        return None


def stored_field(model: Any, name: str) -> str:
    """The stored path, dotted, of what an application calls `addr.city` or `addr__city`.

    A name that the class does not have is taken as a stored name: history may have it from an older class. So is a name
    that its embedded document does not have (`addr.zip`), as in the names of changes.
    """
    spellings = (name, name.replace("__", "."))
    for partly in (False, True):
        for spelled in spellings:
            found = _stored(model, spelled, partly=partly)
            if found is not None:
                return found
    return name


def _stored(model: Any, name: str, *, partly: bool) -> str | None:
    """The stored path of an attribute; None: the class has none.

    Args:
        partly: whether parts within an attribute may be stored names.
    """
    parts: list[str] = []
    classes: list[Any] | None = [model]
    field: Any = None
    for key in read_text(name):
        if classes is not None:
            candidates = [one for cls in classes for one in _family(cls)]
            wanted = "id" if key == "pk" and not parts else key
            found = [one._fields[wanted] for one in candidates if wanted in one._fields]
            if key == "pk" and not parts:
                found = [model._fields[model._meta["id_field"]]]  # noqa: SLF001
            if not found and not classes:
                found = _unanimous(key)
            if not found and not (partly and parts):
                return None
            field = found[0] if found else None
            parts.append(field.db_field if field is not None else str(key))
        else:
            field = field.field if isinstance(field, fields.ListField | fields.DictField) else None
            parts.append(str(key))
        classes = _documents_in(field)
    return ".".join(parts)


def _unanimous(key: str | int) -> list[Any]:
    """The fields of an attribute's name in all embedded documents there are, if these store it under one name."""
    every = [getattr(cls, "_fields", {}) for cls in _made_of(EmbeddedDocument)]
    found = [own[key] for own in every if key in own]
    return found if len({field.db_field for field in found}) == 1 else []


def _made_of(cls: Any) -> Iterator[Any]:
    for heir in cls.__subclasses__():
        yield heir
        yield from _made_of(heir)


def _field_of(classes: Iterable[Any], key: str) -> Any:
    """The field with a stored name: of the classes themselves, else of their subclasses if these agree on its name."""
    declared = list(classes)
    for candidates in (declared, [heir for cls in declared for heir in _family(cls)]):
        found = [field for cls in candidates if (field := _own_field(cls, key)) is not None]
        if found:
            return found[0] if len({field.name for field in found}) == 1 else None
    return None


def _own_field(cls: Any, key: str) -> Any:
    name = cls._reverse_db_field_map.get(key)
    return cls._fields.get(name) if name is not None else None


def _family(cls: Any) -> list[Any]:
    """A class and its subclasses."""
    found = [cls]
    for name in getattr(cls, "_subclasses", ()):
        try:
            heir = get_document(name)
        except NotRegistered:
            continue
        if heir is not cls:
            found.append(heir)
    return found


def _documents_in(field: Any) -> list[Any] | None:
    """The classes of the documents that a field holds; None: it holds none."""
    try:
        if isinstance(field, fields.EmbeddedDocumentField | fields.CachedReferenceField):
            return [field.document_type]
    except (NotRegistered, ValidationError):
        return []
    if isinstance(field, fields.GenericEmbeddedDocumentField):
        return [choice for choice in field.choices or () if isinstance(choice, type)]
    return None


class Values:
    """Converts stored values into those of the application.

    Args:
        codec: how the application's own connection decodes: its time zone, its UUIDs.
    """

    def __init__(self, codec: CodecOptions[Any]) -> None:
        self._codec: CodecOptions[Any] = codec.with_options(document_class=dict)
        plain_dates = codec.datetime_conversion != DatetimeConversion.DATETIME_MS and not codec.tzinfo
        if codec.type_registry != TypeRegistry() or not plain_dates:  # the application has its own decoding
            self._as_stored, self._is_naive = _PLAIN_TYPES, False
        else:
            self._as_stored = _PLAIN_TYPES | {bson.Int64} | ({datetime} if codec.tz_aware else frozenset())
            self._is_naive = not codec.tz_aware

    def of(self, field: Any, stored: Any) -> Any:
        """A value of a field: an id or a `DBRef` for a reference, an object for an embedded document.

        Args:
            field: of mongoengine; None: the class has none.
            stored: the exact value (see `change_history.bson.values`).
        """
        kind = type(stored)
        if kind is Missing or kind is Redacted or (field is None and kind in self._as_stored):
            return stored
        return self._converted(field, self._decoded(stored), shown=True)

    def document(self, model: Any, stored: dict[str, Any]) -> Any:
        """A whole document of a class, or of the subclass in its `_cls`. Fields that it does not have are left out.

        Args:
            model: the document class.
            stored: the exact document.
        """
        cls = _class_of([model], stored, model)
        data: dict[str, Any] = {}
        for key, item in stored.items():
            field = _own_field(cls, key)
            if field is not None:
                data[field.name] = self._converted(field, self._decoded(item), shown=False)
            elif cls._dynamic and key != "_cls" and not hasattr(cls, key):
                data[key] = self._converted(None, self._decoded(item), shown=False)
        return _made(cls, data)

    def _decoded(self, stored: Any) -> Any:
        if type(stored) in self._as_stored:
            return stored
        if self._is_naive and type(stored) is datetime:
            return stored.replace(tzinfo=None)
        try:
            decoded = bson.decode(raw.from_fields([(b"v", to_raw(stored))]), self._codec)
        except (bson.errors.BSONError, ValueError, OverflowError):
            return stored
        tell_withheld(decoded)
        return decoded["v"]

    def _converted(self, field: Any, value: Any, *, shown: bool) -> Any:
        """A decoded value as the field gives it; unchanged if it does not fit.

        Args:
            field: of mongoengine, or None.
            value: decoded.
            shown: for display, not for a mongoengine document.
        """
        if value is None or isinstance(value, Redacted):
            return value
        try:
            return self._python(field, value, shown=shown)
        except Exception:  # noqa: BLE001 - a field's own code may raise anything about a value of an older class
            return value

    def _python(self, field: Any, value: Any, *, shown: bool) -> Any:  # noqa: PLR0911 - one return a kind of field
        if field is None or type(field) in {fields.DynamicField, fields.BaseField}:
            return self._dynamic(value, shown=shown)
        if not type(field).to_python.__module__.startswith("mongoengine."):
            return field.to_python(value)
        if isinstance(field, fields.EmbeddedDocumentField | fields.GenericEmbeddedDocumentField):
            return self._embedded(_documents_in(field) or [], value)
        if isinstance(field, (*_BY_ID, *_BY_CLASS, fields.CachedReferenceField)):
            return self._reference(field, value, shown=shown)
        if isinstance(field, fields.SequenceField):
            return value  # its own `to_python` draws the next number
        if isinstance(field, fields.ListField) and isinstance(value, list):
            return [self._converted(field.field, item, shown=shown) for item in value]
        if isinstance(field, fields.DictField) and isinstance(value, dict):
            return {key: self._converted(field.field, item, shown=shown) for key, item in value.items()}
        return field.to_python(value)

    def _reference(self, field: Any, value: Any, *, shown: bool) -> Any:
        if isinstance(field, fields.CachedReferenceField):
            cls = field.document_type
            if not shown:
                return self.document(cls, value)  # with what is cached in it, as mongoengine needs it
            return bson.DBRef(cls._get_collection_name(), cls._fields[cls._meta["id_field"]].to_python(value["_id"]))
        if isinstance(field, _BY_CLASS):
            return value["_ref"] if shown else value
        return value if shown else field.to_python(value)

    def _dynamic(self, value: Any, *, shown: bool) -> Any:
        if isinstance(value, list):
            return [self._converted(None, item, shown=shown) for item in value]
        if not isinstance(value, dict):
            return value
        if "_ref" in value and "_cls" in value:
            return value["_ref"] if shown else value
        if "_cls" in value:
            return self._embedded([], value)
        return {key: self._converted(None, item, shown=shown) for key, item in value.items()}

    def _embedded(self, classes: list[Any], value: Any) -> Any:
        """An embedded document.

        Raises:
            MisfitError: it is no document, or has a field that its class does not have.
            NotRegistered: its class is unknown.
        """
        if not isinstance(value, dict):
            raise MisfitError
        cls = _class_of(classes, value)
        data: dict[str, Any] = {}
        for key, item in value.items():
            field = _own_field(cls, key)
            if field is not None:
                data[field.name] = self._converted(field, item, shown=False)
            elif key != "_cls":
                if not cls._dynamic and cls._meta.get("strict", True):
                    raise MisfitError
                data[key] = self._converted(None, item, shown=False)
        return _made(cls, data)


def _class_of(classes: list[Any], value: dict[str, Any], default: Any = None) -> Any:
    """The class that a document's `_cls` names, if it is one of these or a subclass.

    Raises:
        MisfitError: it is another one, and there is no default.
        NotRegistered: it is unknown, and there is no default.
    """
    name = value.get("_cls")
    if name is None:
        if classes:
            return classes[0]
        raise MisfitError
    try:
        found = get_document(name) if isinstance(name, str) else object
    except NotRegistered:
        if default is not None:
            return default
        raise
    if issubclass(found, tuple(classes) or EmbeddedDocument):
        return found
    if default is not None:
        return default
    raise MisfitError


def _made(cls: Any, data: dict[str, Any]) -> Any:
    made = cls(__auto_convert=False, _created=False, **data)
    made._changed_fields = []
    return made
