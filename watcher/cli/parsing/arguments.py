"""The types of arguments: namespaces, document ids, values, fields, times, points in time, filters.

Modules that need the driver are imported only when an argument is parsed: `--help` must be quick.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import click

from watcher.cli.session import CommandError, Context, history_uri

if TYPE_CHECKING:
    from datetime import tzinfo

    from change_history.query.transactions import Name
    from change_history.reconstruct.point_in_time import Instant, PointInTime


ZONE = "cli.zone"
"""Key of `click.Context.meta`: the zone of times without one. `watcher.cli.parsing.options` sets it."""

_ID_FORMS = """write it in one of these forms:
  66f2a1c0e4b0d52a3c9f1e77    an ObjectId: 24 hexadecimal digits
  'ObjectId("66f2…")'         likewise, as `watcher log` prints it; so is every other type: UUID("…"), ISODate("…")
  2024-05-01T12:00:00.000Z    a date, as it is printed
  42                          an integer
  anna@example.com            a string, if it looks like nothing else here
  '"42"'                      a string, whatever it looks like
  '{"$oid": "66f2…"}'         Extended JSON, any type or sub-document"""

_VALUE_FORMS = """write it in one of these forms:
  42, 19.99, true, null       a number, a boolean, null
  66f2a1c0e4b0d52a3c9f1e77    an ObjectId: 24 hexadecimal digits
  2024-05-01T12:00:00.000Z    a date, as it is printed; so is every other type, Long("3"), UUID("…")
  anna@example.com            a string, if it looks like nothing else here
  '"42"'                      a string, whatever it looks like
  '{"$numberDecimal": "1.5"}' Extended JSON, any type, sub-document or array"""

_TRANSACTION_FORMS = """write it in one of these forms:
  6f1f0a6e:7                  session:number, as `watcher log` prints it
  6b04bf1a00000002c6c6        an event's id, as `watcher log --oneline` prints it, at least 8 of its digits"""

_TIME_FORMS = """write it in one of these forms:
  2024-05-01T14:00:00+02:00   ISO 8601; without a zone it is local time (UTC with --utc), without a time midnight
  'yesterday 14:00', today, 'monday 9:30', noon, now
                              words, likewise; a day without a time begins at midnight
  '2h ago', '3 days ago'      so long before now
  1714564800:3                a cluster time, seconds:increment"""


def zone_chosen(ctx: click.Context | None) -> tzinfo | None:
    """The zone that `--utc` chooses for a command: UTC, or None for the local one."""
    return ctx.meta.get(ZONE) if ctx is not None else None


if TYPE_CHECKING:
    Parsed_co = TypeVar("Parsed_co", covariant=True)

    class Type(click.ParamType[Parsed_co]):
        """A type of parameters."""

else:

    class Type(click.ParamType):
        """A type of parameters. Click's own is generic only from 8.4 on."""

        def __class_getitem__(cls, _: object) -> type[Type]:
            return cls


class DocumentId(Type[Any]):
    """A document id on the command line."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it, or end with what may be written."""
        from bson.errors import BSONError

        from watcher.words import literals

        try:
            return literals.document_id(value) if type(value) is str else value
        except (ValueError, BSONError, OverflowError) as error:
            self.fail(f"{value!r} is no document id ({error}); {_ID_FORMS}", param, ctx)


class Value(Type[Any]):
    """A value of a field on the command line."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it, or end with what may be written."""
        from bson.errors import BSONError

        from watcher.words import literals

        try:
            return literals.value(value) if type(value) is str else value
        except (ValueError, BSONError, OverflowError) as error:
            self.fail(f"{value!r} is no value ({error}); {_VALUE_FORMS}", param, ctx)


class Said(Type[Any]):
    """An actor, a reason or a request on the command line: a value that the daemon can store as one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it, or end with what may be written."""
        from change_history.contexts import require

        found = value if self.name == "reason" else Value().convert(value, param, ctx)
        try:
            require(self.name, found)
        except TypeError:
            self.fail(f"{value!r} names nobody: it is {_kind_of(found)}; as a string, write '\"{value}\"'", param, ctx)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        return found


def _kind_of(value: Any) -> str:
    return "null" if value is None else f"of the type {type(value).__name__}"


class Operation(Type[str]):
    """An operation on the command line."""

    name = "operation"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Find it in any case, or fail with the list of all operations."""
        from change_history.stored.operations import ALL

        known = {name.lower(): name for name in ALL}.get(value.lower())
        return known or self.fail(f"{value!r} is no operation; there are: {', '.join(ALL)}", param, ctx)


class TransactionName(Type[Any]):
    """The name of a transaction on the command line."""

    name = "transaction"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Name:
        """Read it, or end with what may be written."""
        from change_history.query.transactions import read_name

        try:
            return read_name(value) if isinstance(value, str) else value
        except ValueError:
            self.fail(f"{value!r} names no transaction; {_TRANSACTION_FORMS}", param, ctx)


class Time(Type[Any]):
    """A time on the command line.

    Args:
        more_forms: lines of the error message about further accepted forms.
        asks: whether history is queried at this time, so that one in the future means now.
    """

    name = "time"

    def __init__(self, *more_forms: str, asks: bool = True) -> None:
        self._forms = "\n".join([_TIME_FORMS, *more_forms])
        self._asks = asks

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Instant:
        """Read it, or end with what may be written."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        from watcher.words import times

        try:
            point = times.parse(value, zone_chosen(ctx))
        except (ValueError, OverflowError) as error:
            why = f" ({error})" if str(error) else ""
            self.fail(f"{value!r} is no time{why}; {self._forms}", param, ctx)
        if self._asks and times.is_future(point):
            click.echo(f"{value.strip()!r}: that is in the future: answers are as of now", err=True)
        return point


class Whole(click.IntRange):
    """A whole number within bounds. Click's own says that a letter "is not a valid integer range"."""

    name = "whole number"


class Namespace(Type[str]):
    """A namespace on the command line: `database.collection`."""

    name = "namespace"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it, or end with what may be written."""
        database, _, collection = value.partition(".")
        if not database or not collection:
            meant = _recorded_like(value, ctx)
            example = f"did you mean {' or '.join(meant)}?" if meant else "for example shop.users"
            self.fail(f"{value!r} is no namespace; write database.collection, {example}", param, ctx)
        return str(value)


_EVERYTHING_BELOW = ".*"
_ELEMENT = re.compile(r"\.\$(\[[^\]]*\])?(?=\.|$)|\[[^\]]*\]")


class Field(Type[str]):
    """A field on the command line. `address.*` is `address`: a field always includes the fields below it."""

    name = "field"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Read it."""
        return str(value).removesuffix(_EVERYTHING_BELOW) or str(value)


def element_hint(field: str) -> str | None:
    """What to type instead of a field that names elements as `diff` and `stats` print them, `lines[_id: 2].qty`.

    To be printed only if nothing was found: a key may have any name.
    """
    found = _ELEMENT.search(field)
    if found is None or not found.start():
        return None
    return (
        f"{field} names elements of an array as they are printed; --field takes the array, {field[: found.start()]}, "
        f"or in `watcher log` an index, {_ELEMENT.sub('.0', field)}."
    )


AT_HELP = """A point in time is a TIME: ISO 8601 (local time if it names no zone, midnight if no time of day), words
    such as '2h ago', 'yesterday 14:00' or 'monday' (its midnight), or a cluster time, seconds:increment. The first two
    are compared with an event's wall time, to the millisecond, the last with its cluster time; what happened at it is
    included. Or it is `now`, the last that is recorded. Of one document it can also be the number of a version: 1 is
    its first recorded event, -1 its last."""
"""For the help text of a command."""

_QUERY_FORMS = """write it as Extended JSON, for example
  '{"price": {"$gt": 5}, "owner": {"$oid": "66f2a1c0e4b0d52a3c9f1e77"}}'"""

_LAST_FORM = "  now                         the last that is recorded"
_VERSION_FORM = (
    "  1, 2, -1                    a version of the document: the first recorded event, the second, the last"
)

_NUMBER = re.compile(r"[+-]?[0-9]+")
_NOW = "now"


class At(Type[Any]):
    """A point in time of a document, or with `versions=False` of a collection; None is now."""

    name = "point in time"

    def __init__(self, *, versions: bool = True) -> None:
        self._versions = versions

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PointInTime | None:
        """Read it, or end with what may be written."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        text = value.strip()
        if text == _NOW:
            return None
        if _NUMBER.fullmatch(text):
            if not self._versions:
                self.fail(f"{value!r} is the number of a version, which only a document has; name its ID", param, ctx)
            return int(text)
        from watcher.words import times

        point = Time(_LAST_FORM, *([_VERSION_FORM] if self._versions else [])).convert(value, param, ctx)
        if not times.names_its_zone(text):
            understood = times.typed(point, zone_chosen(ctx))
            click.echo(f"as of {understood} ({' '.join(text.split())})", err=True)
        return point


class Query(Type[dict[str, Any]]):
    """A MongoDB filter on the command line."""

    name = "filter"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Read it, or end with what may be written."""
        if isinstance(value, dict):
            return value
        from bson.errors import BSONError

        from change_history.bson import extended_json
        from change_history.bson.values import to_raw

        why = ""
        try:
            found = extended_json.loads(value)
            to_raw(found)  # otherwise it would fail later, in the query
        except (ValueError, BSONError, OverflowError) as error:
            found, why = None, f" ({error})"
        if not isinstance(found, dict):
            self.fail(f"{value!r} is no filter{why}; {_QUERY_FORMS}", param, ctx)
        return found


_MOST = 3
_PATIENCE_MS = 1000
_KNOWN = "cli.namespace_hint"


def _recorded_like(name: str, ctx: click.Context | None) -> list[str]:
    """Recorded namespaces whose collection or database has this name; none if history does not answer at once."""
    context = ctx.find_object(Context) if ctx is not None else None
    if ctx is None or context is None:
        return []
    if _KNOWN not in ctx.meta:  # arguments are parsed again to find all faults
        ctx.meta[_KNOWN] = _recorded(context)
    found = [known for known in ctx.meta[_KNOWN] if name.strip(".") in known.split(".", 1)]
    return [each if each.isprintable() else repr(each) for each in found[:_MOST]]


def _recorded(context: Context) -> list[str]:
    from pymongo.errors import PyMongoError

    from change_history.reader import Reader

    try:
        where = context.connection()
        with Reader.connect(
            history_uri(where), where.history_database, serverSelectionTimeoutMS=_PATIENCE_MS
        ) as history:
            return history.namespaces()
    except (CommandError, PyMongoError, SystemExit):
        return []
