"""Infers the type of each field of many documents: the narrowest that holds every value exactly. Pure.

Documents are observed one by one (`Shape.observe_document`), then each field gets a type (`Shape.fields`). A field
with values of several kinds gets the type that holds most of them; the others have a column beside it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from change_history.bson import raw
from change_history.bson.values import to_python

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from decimal import Decimal

    from change_history.bson.raw import Value


class Scalar(NamedTuple):
    """The type of single values.

    Attributes:
        name: `boolean`, `int32`, `int64`, `double`, `decimal`, `date`, `string`, `objectId`, `uuid` or `binary`.
        precision: total digits of a decimal.
        scale: digits of a decimal after the point.
    """

    name: str
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return f"decimal({self.precision},{self.scale})" if self.name == "decimal" else self.name


class List(NamedTuple):
    """An array whose elements all have one type; an element may be null."""

    item: Type


class Struct(NamedTuple):
    """A document with a column for each of its fields."""

    fields: tuple[Field, ...]


Type: TypeAlias = Scalar | List | Struct


class Field(NamedTuple):
    """A field of documents, and its columns.

    Attributes:
        key: as in the documents.
        name: of its column; no other column beside it has this name in any case of letters.
        type: of the column.
        beside: name of the column that has, as Extended JSON, the values that do not fit; None: all fit.
    """

    key: bytes
    name: str
    type: Type
    beside: str | None


MOST_FIELDS = 10_000
"""Maximum number of fields of a document with a column; further ones are stored like values that do not fit."""
_MOST_NESTED_FIELDS = 2_000
"""Different keys of a sub-document; with more, it is treated as a map, whose keys are data."""
_DEEPEST = 12
"""Levels of nested types; Parquet readers limit them."""
_SAME_IN_DOUBLE = 2**53
MOST_DIGITS = 38
"""Digits of Arrow's `decimal128`, which DuckDB, Polars and Spark support too."""

# One day within the years 1 to 9999: readers convert times to their own zone.
EARLIEST_DATE = -62_135_510_400_000
LATEST_DATE = 253_402_214_400_000

_PREFERRED = (
    "boolean",
    "int32",
    "int64",
    "double",
    "decimal",
    "date",
    "string",
    "objectId",
    "uuid",
    "binary",
    "array",
    "document",
)
"""The order of preference among types that hold equally many values."""
_BYTES_OF = {
    raw.BOOLEAN: "boolean",
    raw.INT32: "int32",
    raw.INT64: "int64",
    raw.DOUBLE: "double",
    raw.OBJECT_ID: "objectId",
    raw.NULL: "null",
    raw.DATE: "date",
}
_UUID, _GENERIC = 4, 0
_EMPTY_STRING = 5
"""Bytes of its payload: a length and a NUL."""


class Shape:
    """The observed values of one field, or of the documents themselves."""

    __slots__ = (
        "_counts",
        "_decimals",
        "_depth",
        "_fields",
        "_inexact",
        "_is_map",
        "_item",
        "_limit",
        "has_empty",
        "has_empty_text",
        "has_others",
    )

    def __init__(self, depth: int = 0) -> None:
        self._counts: Counter[str] = Counter()
        self._decimals: Counter[tuple[int, int]] = Counter()
        self._inexact = 0
        self._fields: dict[bytes, Shape] = {}
        self._item: Shape | None = None
        self._is_map = False
        self._depth = depth
        self._limit = _MOST_NESTED_FIELDS if depth else MOST_FIELDS
        self.has_others = False  # documents with fields that get no column
        self.has_empty = False  # an empty document
        self.has_empty_text = False

    def observe_document(self, document: bytes) -> None:
        """Observe one document.

        Raises:
            change_history.bson.raw.MalformedBSON: it is none.
        """
        fields, repeated = raw.keyed(document)
        if repeated or self._is_map or (self._depth and not fields):
            self._counts["other" if repeated or self._is_map else "empty"] += 1
            self.has_others = True
            self.has_empty = self.has_empty or not fields
            return
        self._counts["document"] += 1
        for key, value in fields.items():
            shape = self._fields.get(key)
            if shape is None:
                if len(self._fields) >= self._limit:
                    if self._depth:
                        self._become_map()
                        return
                    self.has_others = True
                    continue
                shape = self._fields[key] = Shape(self._depth + 1)
            shape.observe(value)

    def observe(self, value: Value) -> None:
        """Observe one value."""
        kind, payload = value
        if kind == raw.DOCUMENT:
            if self._depth < _DEEPEST:
                self.observe_document(payload)
            else:
                self._counts["other"] += 1
        elif kind == raw.ARRAY:
            if self._depth < _DEEPEST:
                self._observe_array(payload)
            else:
                self._counts["other"] += 1
        else:
            self._counts[self._kind(kind, payload)] += 1

    def resolve(self, *, flat: bool = False, csv: bool = False) -> Type | None:
        """The type that holds most of the observed values; None: none of them has a type. Arguments as of `fields`."""
        counts, held = self._counts, dict.fromkeys(_PREFERRED, 0)
        for name in ("boolean", "date", "string", "objectId", "uuid", "binary", "array", "document"):
            held[name] = counts[name]
        held["int32"] = counts["int32"]
        held["int64"] = counts["int32"] + counts["int64"]
        held["double"] = counts["double"] and counts["double"] + counts["int32"] + counts["int64"] - self._inexact
        precision, scale, held["decimal"] = self._decimal()
        name = max(_PREFERRED, key=held.__getitem__)  # the first of equals
        if not held[name]:
            return None
        if name == "decimal":
            return Scalar(name, precision, scale)
        if name == "array":
            item = self._item.resolve() if self._item is not None else None
            return List(item if item is not None else Scalar("string"))
        if name == "document":
            return Struct(self.fields(flat=flat, csv=csv))
        return Scalar(name)

    def fields(self, *, flat: bool = False, csv: bool = False) -> tuple[Field, ...]:
        """The fields of the documents, in the order in which they were first seen.

        Args:
            flat: sub-documents will be spread over columns, which cannot express an empty one.
            csv: cells will be text, which cannot express an empty string.
        """
        names = Names()
        resolved = [
            (key, names.own(key), shape.resolve(flat=flat, csv=csv), shape) for key, shape in self._fields.items()
        ]
        found = []
        for key, name, kind, shape in resolved:
            has_beside = shape.misfits(kind) or (flat and shape.has_empty) or (csv and shape.has_empty_text)
            found.append(Field(key, name, kind or Scalar("string"), names.beside(name) if has_beside else None))
        return tuple(found)

    def misfits(self, kind: Type | None) -> bool:
        """Whether there was a value that a type does not hold; null is one, since an empty cell is absent."""
        counts = self._counts
        if kind is None or counts["null"] or counts["other"]:
            return True
        if isinstance(kind, List):
            return counts.total() > counts["array"] or (self._item is not None and self._item.unfit_items(kind.item))
        if isinstance(kind, Struct):
            return counts.total() > counts["document"] + counts["empty"]
        held = counts[kind.name]
        if kind.name == "int64":
            held += counts["int32"]
        elif kind.name == "double":
            held += counts["int32"] + counts["int64"] - self._inexact
        elif kind.name == "decimal":
            held = self._decimal()[2]
        return held < counts.total()

    def unfit_items(self, kind: Type) -> bool:
        """Whether an array cannot be a list of this type, because of one of its elements."""
        without_null = self._counts.copy()
        without_null["null"] = 0
        kept, self._counts = self._counts, without_null
        try:
            return without_null.total() > 0 and self.misfits(kind)
        finally:
            self._counts = kept

    def _observe_array(self, payload: bytes) -> None:
        self._counts["array"] += 1
        if self._item is None:
            self._item = Shape(self._depth + 1)
        for item in raw.items(payload):
            self._item.observe(item)

    def _become_map(self) -> None:
        self._is_map = True
        self._fields = {}
        self._counts["other"] += self._counts.pop("document") + self._counts.pop("empty", 0)

    def _kind(self, kind: int, payload: bytes) -> str:
        found = _BYTES_OF.get(kind, "other")
        if kind == raw.STRING:
            self.has_empty_text = self.has_empty_text or len(payload) == _EMPTY_STRING
            found = "string" if is_text(payload) else "other"
        elif kind == raw.INT64:
            number = int.from_bytes(payload, "little", signed=True)
            self._inexact += abs(number) > _SAME_IN_DOUBLE
            self._decimals[len(str(abs(number))), 0] += 1
        elif kind == raw.DATE and not is_showable(int.from_bytes(payload, "little", signed=True)):
            found = "other"
        elif kind == raw.DECIMAL128:
            size = decimal_size((kind, payload))
            if size is not None:
                self._decimals[size] += 1
                found = "decimal"
        elif kind == raw.BINARY:
            found = binary_kind(payload)
        return found

    def _decimal(self) -> tuple[int, int, int]:
        """The precision and scale that hold the most numbers, and the number of those; 0: there was no decimal."""
        if not self._counts["decimal"]:
            return 0, 0, 0
        sizes = self._decimals + Counter({(10, 0): self._counts["int32"]})
        whole = scale = held = 0
        for (digits, behind), count in sorted(sizes.items(), key=lambda size: (-size[1], size[0])):
            wider, finer = max(whole, digits), max(scale, behind)
            if wider + finer <= MOST_DIGITS:
                whole, scale, held = wider, finer, held + count
        return max(whole + scale, 1), scale, held


def is_text(payload: bytes) -> bool:
    """Whether a string's payload is valid UTF-8."""
    try:
        payload[4:-1].decode()
    except UnicodeDecodeError:
        return False
    return True


def is_showable(milliseconds: int) -> bool:
    """Whether all readers can show a date in any zone."""
    return EARLIEST_DATE <= milliseconds <= LATEST_DATE


def binary_kind(payload: bytes) -> str:
    """The type of a binary value; only generic ones and UUIDs can be written as their bytes alone."""
    subtype = payload[4]
    if subtype == _UUID and len(payload) == 5 + 16:
        return "uuid"
    return "binary" if subtype == _GENERIC else "other"


def decimal_size(value: Value) -> tuple[int, int] | None:
    """Digits before and behind the point that a `Decimal128` needs; None: no number, negative zero, or too many."""
    number: Decimal = to_python(value).to_decimal()
    if not number.is_finite() or (number.is_zero() and number.is_signed()):
        return None
    _, digits, exponent = number.as_tuple()
    exponent = int(exponent)
    behind = max(-exponent, 0)
    before = 0 if number.is_zero() else max(len(digits) + exponent, 0)
    return (before, behind) if before + behind <= MOST_DIGITS else None


class Names:
    """Unique names of columns, also without regard to case, as in DuckDB and Spark."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def own(self, key: bytes) -> str:
        """The name of a field's column."""
        return self.free(key.decode("utf-8", "backslashreplace").replace("\0", "\\0") or "_")

    def beside(self, name: str) -> str:
        """The name of the column beside another."""
        return self.free(f"{name}__json")

    def free(self, wanted: str) -> str:
        """Reserve a free name."""
        name, number = wanted, 2
        while name.casefold() in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name.casefold())
        return name


def flattened(
    fields: Iterable[Field], names: Names | None = None, prefix: str = ""
) -> Iterator[tuple[tuple[bytes, ...], Field]]:
    """The fields with those of sub-documents in their place, named by dotted paths: the path of keys, and the field.

    A spread field is included too if it has a column beside it; its type is then an empty `Struct`.
    """
    names = names or Names()
    for field in fields:
        name = names.free(prefix + field.name)
        beside = names.beside(name) if field.beside is not None else None
        if not isinstance(field.type, Struct):
            yield (field.key,), field._replace(name=name, beside=beside)
            continue
        if beside is not None:
            yield (field.key,), Field(field.key, name, Struct(()), beside)
        for path, inner in flattened(field.type.fields, names, f"{name}."):
            yield (field.key, *path), inner
