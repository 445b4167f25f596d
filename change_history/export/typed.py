"""Documents as tables with a typed column for each field, as Parquet and CSV. Pure, but for the file that is written.

A cell has the value if the column's type holds it exactly. Any other value, including null, is in the column beside it
as canonical Extended JSON. If both are empty, the document does not have the field.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO

from change_history.bson import extended_json, raw
from change_history.bson.values import to_python
from change_history.errors import HistoryError
from change_history.export.inference import (
    MOST_DIGITS,
    Field,
    List,
    Names,
    Scalar,
    Struct,
    binary_kind,
    decimal_size,
    flattened,
    is_showable,
)
from change_history.export.tables import iso
from change_history.export.writers import ColumnWriter, CsvRows, arrow, harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from change_history.bson.raw import Value
    from change_history.export.inference import Type

UNKNOWN_COLUMN, OTHER_COLUMN = "__unknown", "__other"
"""Why a document is unknown; and, as Extended JSON, the fields of a document that have no column."""


class SchemaError(HistoryError, ValueError):
    """A schema file cannot be read; each problem is a line of the message."""


class _Misfit(Exception):  # noqa: N818 - no error: the value goes to the column beside
    """A value that the type of a column does not hold."""


class TypedRow:
    """Makes the typed cells of documents, and counts what did not fit.

    Args:
        fields: the columns, in order.
        flat: spread sub-documents over columns of their own.

    Attributes:
        misfits: by column, the number of values in the column beside it. Nulls are not counted.
        others: number of documents that have fields without a column.
    """

    def __init__(self, fields: Sequence[Field], *, flat: bool = False) -> None:
        self.fields = fields
        self.columns = [(path, field) for path, field in flattened(fields)] if flat else [((f.key,), f) for f in fields]
        self._spread_paths = {path[:depth] for path, _ in self.columns for depth in range(1, len(path))}
        self._places = {path: place for place, (path, _) in enumerate(self.columns)}
        self.misfits: Counter[str] = Counter()
        self.others = 0

    def cells(self, document: bytes) -> tuple[list[tuple[Any, str | None]], str | None]:
        """The cells of a document: each column's value and that beside it; fields without a column come last.

        Raises:
            change_history.bson.raw.MalformedBSON: it is no document.
        """
        found: list[tuple[Any, str | None]] = [(None, None)] * len(self.columns)
        contents, repeated = raw.keyed(document)
        if repeated:
            self.others += 1
            return found, extended_json.dumps_document(document)
        rest = self._fill((), contents, found)
        self.others += bool(rest)
        return found, extended_json.dumps_document(raw.from_fields(rest)) if rest else None

    def remarks(self) -> Iterator[str]:
        """Remarks for users of the file, line by line."""
        for path, field in self.columns:
            name = ".".join(_key_text(key) for key in path)
            if field.name != name:
                yield f"{name}: its column is {field.name}, since another has that name, in some case of letters"
            if count := self.misfits[field.name]:
                misfit = f"{count} values do not fit {summary(field.type)}"
                yield f"{name}: {misfit}; {field.beside} has them as Extended JSON"
        if self.others:
            yield f"{self.others} documents have fields without a column; they are in {OTHER_COLUMN} as Extended JSON"

    def spread(self, cells: tuple[list[tuple[Any, str | None]], str | None]) -> list[Any]:
        """The cells in the order of columns, with those beside them; the fields without a column last."""
        values: list[Any] = []
        for (_, field), (native, beside) in zip(self.columns, cells[0], strict=True):
            values += (native,) if field.beside is None else (native, beside)
        return [*values, cells[1]]

    def _fill(
        self, prefix: tuple[bytes, ...], contents: dict[bytes, Value], found: list[tuple[Any, str | None]]
    ) -> list[tuple[bytes, Value]]:
        rest: list[tuple[bytes, Value]] = []
        for key, value in contents.items():
            path = (*prefix, key)
            inner = self._to_spread(path, value)
            if inner is not None:
                if more := self._fill(path, inner, found):
                    rest.append((key, (raw.DOCUMENT, raw.from_fields(more))))
                continue
            place = self._places.get(path)
            field = self.columns[place][1] if place is not None else None
            native, beside = self._cell(field, value) if field is not None else (None, None)
            if place is None or field is None or (beside is not None and field.beside is None):
                rest.append((key, value))
            else:
                found[place] = native, beside
        return rest

    def _to_spread(self, path: tuple[bytes, ...], value: Value) -> dict[bytes, Value] | None:
        """The fields of a sub-document that has columns for all of them; None: it is a value of its own."""
        if path not in self._spread_paths or value[0] != raw.DOCUMENT:
            return None
        inner, repeated = raw.keyed(value[1])
        is_known = all((*path, key) in self._places or (*path, key) in self._spread_paths for key in inner)
        return inner if inner and not repeated and is_known else None

    def _cell(self, field: Field, value: Value) -> tuple[Any, str | None]:
        try:
            return self._native(value, field.type), None
        except _Misfit:
            self.misfits[field.name] += value[0] != raw.NULL
            return None, extended_json.dumps_raw(value)

    def _native(self, value: Value, kind: Type) -> Any:
        if isinstance(kind, Scalar):
            return _SCALARS[kind.name](value, kind)
        if isinstance(kind, List):
            if value[0] != raw.ARRAY:
                raise _Misfit
            return [None if item[0] == raw.NULL else self._native(item, kind.item) for item in raw.items(value[1])]
        if value[0] != raw.DOCUMENT or not kind.fields:
            raise _Misfit
        contents, repeated = raw.keyed(value[1])
        if repeated or not contents.keys() <= {field.key for field in kind.fields}:
            raise _Misfit
        cell: dict[str, Any] = {}
        for field in kind.fields:
            if field.key in contents:
                cell[field.name], beside = self._cell(field, contents[field.key])
                if beside is not None:
                    if field.beside is None:
                        raise _Misfit
                    cell[field.beside] = beside
        return cell


def _integer(*kinds: int) -> Callable[[Value, Scalar], int]:
    def convert(value: Value, _: Scalar) -> int:
        if value[0] not in kinds:
            raise _Misfit
        return int.from_bytes(value[1], "little", signed=True)

    return convert


def _double(value: Value, _: Scalar) -> float:
    if value[0] == raw.DOUBLE:
        return float(to_python(value))
    if value[0] not in (raw.INT32, raw.INT64):
        raise _Misfit
    number = int.from_bytes(value[1], "little", signed=True)
    if int(float(number)) != number:
        raise _Misfit
    return float(number)


def _decimal(value: Value, kind: Scalar) -> Decimal:
    if value[0] in (raw.INT32, raw.INT64):
        number = int.from_bytes(value[1], "little", signed=True)
        size, sign, digits, exponent = (len(str(abs(number))), 0), int(number < 0), str(abs(number)), 0
    elif value[0] == raw.DECIMAL128 and (found := decimal_size(value)) is not None:
        sign, figures, shift = to_python(value).to_decimal().as_tuple()
        size, digits, exponent = found, "".join(map(str, figures)), int(shift)
    else:
        raise _Misfit
    if size[0] > kind.precision - kind.scale or size[1] > kind.scale:
        raise _Misfit
    written = digits + "0" * (exponent + kind.scale)
    return Decimal((sign, tuple(map(int, written)), -kind.scale))


def _date(value: Value, _: Scalar) -> int:
    if value[0] != raw.DATE:
        raise _Misfit
    milliseconds = int.from_bytes(value[1], "little", signed=True)
    if not is_showable(milliseconds):
        raise _Misfit
    return milliseconds


def _string(value: Value, _: Scalar) -> str:
    if value[0] != raw.STRING:
        raise _Misfit
    try:
        return value[1][4:-1].decode()
    except UnicodeDecodeError as error:
        raise _Misfit from error


def _boolean(value: Value, _: Scalar) -> bool:
    if value[0] != raw.BOOLEAN:
        raise _Misfit
    return value[1] == b"\x01"


def _object_id(value: Value, _: Scalar) -> str:
    if value[0] != raw.OBJECT_ID:
        raise _Misfit
    return value[1].hex()


def _binary(value: Value, kind: Scalar) -> bytes | str:
    if value[0] != raw.BINARY or binary_kind(value[1]) != kind.name:
        raise _Misfit
    return str(uuid.UUID(bytes=value[1][5:])) if kind.name == "uuid" else value[1][5:]


_SCALARS: dict[str, Callable[[Value, Scalar], Any]] = {
    "boolean": _boolean,
    "int32": _integer(raw.INT32),
    "int64": _integer(raw.INT32, raw.INT64),
    "double": _double,
    "decimal": _decimal,
    "date": _date,
    "string": _string,
    "objectId": _object_id,
    "uuid": _binary,
    "binary": _binary,
}


class TypedParquetWriter:
    """Writes documents into a Parquet file with typed columns.

    Each column's metadata has its type in `bson` and the path of keys, as a JSON array, in `path`.

    Args:
        others: whether there is a column for the fields that have none.

    Raises:
        NoParquetError: `pyarrow` is not installed.
    """

    def __init__(self, file: BinaryIO, row: TypedRow, *, others: bool = True) -> None:
        pa, _ = arrow()
        self._row, self._others = row, others
        columns = []
        for path, field in row.columns:
            about = {"bson": json.dumps(written(field.type)), "path": json.dumps([_key_text(key) for key in path])}
            columns.append(pa.field(field.name, _arrow_type(pa, field.type), metadata=about))
            if field.beside is not None:
                columns.append(pa.field(field.beside, pa.string()))
        columns += [pa.field(name, pa.string()) for name in _own_names([c.name for c in columns], others=others)]
        self._columns = ColumnWriter(file, pa.schema(columns))
        self.close = self._columns.close

    def write(self, document_id: Value, document: bytes | None, unknown: str | None) -> None:
        """Buffer one document, and write the buffer when it is enough for a row group."""
        cells = self._row.cells(document if document is not None else raw.from_fields([(b"_id", document_id)]))
        values = [*self._row.spread(cells), unknown] if self._others else [*self._row.spread(cells)[:-1], unknown]
        self._columns.add([values], len(document or b"") + 8 * len(values))


def _arrow_type(pa: Any, kind: Type) -> Any:
    if isinstance(kind, List):
        return pa.list_(_arrow_type(pa, kind.item))
    if isinstance(kind, Struct):
        columns = []
        for field in kind.fields:
            columns.append((field.name, _arrow_type(pa, field.type)))
            if field.beside is not None:
                columns.append((field.beside, pa.string()))
        return pa.struct(columns) if columns else pa.string()
    if kind.name == "decimal":
        return pa.decimal128(kind.precision, kind.scale)
    return {
        "boolean": pa.bool_(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "double": pa.float64(),
        "date": pa.timestamp("ms", tz="UTC"),
        "binary": pa.binary(),
    }.get(kind.name, pa.string())


def _own_names(taken: Iterable[str], *, others: bool) -> list[str]:
    """The names of our own columns; a field of the documents with the same name keeps its name."""
    names = {name.casefold() for name in taken}
    found = []
    for wanted in (OTHER_COLUMN, UNKNOWN_COLUMN) if others else (UNKNOWN_COLUMN,):
        name = wanted
        while name.casefold() in names:
            name += "_"
        found.append(name)
    return found


class TypedCsvWriter:
    """Writes documents as CSV, sub-documents spread over dotted columns. Arrays are JSON.

    An empty cell is absent, so an empty string is in the column beside it, as `""`.

    Args:
        others: whether there is a column for the fields that have none.
        raw_cells: do not escape texts that a spreadsheet would read as formulas.
    """

    def __init__(self, file: BinaryIO, row: TypedRow, *, others: bool = True, raw_cells: bool = False) -> None:
        self._row, self._others = row, others
        self._guard: Callable[[str], str] = str if raw_cells else harmless
        self._rows = CsvRows(file)
        header: list[str] = []
        for _, field in row.columns:
            header += (field.name, field.beside) if field.beside is not None else (field.name,)
        self._rows.write([self._guard(name) for name in (*header, *_own_names(header, others=others))])

    def write(self, document_id: Value, document: bytes | None, unknown: str | None) -> None:
        """Write one document."""
        cells, rest = self._row.cells(document if document is not None else raw.from_fields([(b"_id", document_id)]))
        values: list[str] = []
        for (_, field), (native, beside) in zip(self._row.columns, cells, strict=True):
            if native == "" and field.beside is not None:
                values += ("", '""')
                continue
            text = "" if native is None else _csv_text(native, field.type)
            values.append(self._guard(text) if isinstance(native, str) else text)
            if field.beside is not None:
                values.append(beside or "")
        values += (rest or "", unknown or "") if self._others else (unknown or "",)
        self._rows.write(values)

    def close(self) -> None:
        """Do nothing: there is no buffer."""


def _csv_text(native: Any, kind: Type) -> str:
    if isinstance(kind, Scalar):
        if kind.name == "date":
            return iso(native)
        if kind.name == "boolean":
            return "true" if native else "false"
        if kind.name == "binary":
            return str(native.hex())
        return format(native, "f") if kind.name == "decimal" else str(native)
    return json.dumps(_plain(native, kind), ensure_ascii=False)


def _plain(native: Any, kind: Type) -> Any:
    if native is None:
        return None
    if isinstance(kind, List):
        return [_plain(item, kind.item) for item in native]
    if isinstance(kind, Struct):
        types = {field.name: field.type for field in kind.fields}
        return {name: _plain(value, types[name]) if name in types else value for name, value in native.items()}
    return native if kind.name in {"boolean", "int32", "int64", "double", "string"} else _csv_text(native, kind)


def summary(kind: Type) -> str:
    """A type in short."""
    if isinstance(kind, List):
        return f"list of {summary(kind.item)}"
    return "struct" if isinstance(kind, Struct) else str(kind)


def written(kind: Type) -> Any:
    """A type as in a schema file: a name, a list of one type, or an object of types by key."""
    if isinstance(kind, List):
        return [written(kind.item)]
    if isinstance(kind, Struct):
        return {_key_text(field.key): written(field.type) for field in kind.fields}
    return str(kind)


def _key_text(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


def dump_schema(fields: Iterable[Field]) -> str:
    """Fields as the text of a schema file."""
    return json.dumps(written(Struct(tuple(fields))), indent=2) + "\n"


_DECIMAL = re.compile(r"decimal\((\d{1,2}),(\d{1,2})\)")


def load_schema(text: str) -> tuple[Field, ...]:
    """Read a schema file: a JSON object of types by field. Every field gets a column beside it.

    Raises:
        SchemaError: it is invalid; lists all problems.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise SchemaError(f"not JSON: {error}") from error
    problems: list[str] = []
    if not isinstance(found, dict) or not found:
        raise SchemaError('not a JSON object of types by field, as {"name": "string", "items": [{"sku": "string"}]}')
    fields = _read_fields(found, "", problems)
    if problems:
        raise SchemaError("\n".join(problems))
    return fields


def _read_fields(found: dict[str, Any], where: str, problems: list[str]) -> tuple[Field, ...]:
    names = Names()
    named = []
    for text, value in found.items():
        key = text.encode("utf-8", "surrogateescape")
        named.append((key, names.own(key), _read(value, f"{where}.{text}" if where else text, problems)))
    return tuple(Field(key, name, kind, names.beside(name)) for key, name, kind in named)


def _read(found: Any, where: str, problems: list[str]) -> Type:
    if isinstance(found, dict) and found:
        return Struct(_read_fields(found, where, problems))
    if isinstance(found, list) and len(found) == 1:
        return List(_read(found[0], where, problems))
    if isinstance(found, str):
        if found in _SCALARS and found != "decimal":
            return Scalar(found)
        if size := _DECIMAL.fullmatch(found):
            precision, scale = int(size[1]), int(size[2])
            if 1 <= precision <= MOST_DIGITS and scale <= precision:
                return Scalar("decimal", precision, scale)
    known = ", ".join(f"decimal(P,S) with P up to {MOST_DIGITS}" if name == "decimal" else name for name in _SCALARS)
    problems.append(f"{where}: {json.dumps(found)} is no type; write {known}, [type] or {{key: type}}")
    return Scalar("string")
