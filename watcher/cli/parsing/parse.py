"""What people type on the command line: document ids, values, times, namespaces, operations, transactions.

The work is done by `watcher.cli.parsing.literals` and others, imported only when there is something to read: `--help`
must be quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from datetime import tzinfo

    from change_history.query.transactions import Name
    from change_history.reconstruct.point_in_time import Moment

UTC_IS_CHOSEN = "cli.utc"
"""Key of `click.Context.meta`: whether a time without a zone is UTC. `watcher.cli.parsing.time_options` sets it."""

_ID_FORMS = """write it in one of these forms:
  66f2a1c0e4b0d52a3c9f1e77    an ObjectId: 24 hexadecimal digits
  'ObjectId("66f2…")'         likewise, as `watcher log` prints it; so UUID, Long, Decimal128
  42                          an integer
  anna@example.com            a string, if it looks like nothing else here
  '"42"'                      a string, whatever it looks like
  '{"$oid": "66f2…"}'         Extended JSON, any type or sub-document"""

_VALUE_FORMS = """write it in one of these forms:
  42, 19.99, true, null       a number, a boolean, null
  66f2a1c0e4b0d52a3c9f1e77    an ObjectId: 24 hexadecimal digits
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
    """The zone that `--utc` chooses for a command: UTC, or the local one."""
    from watcher.cli.parsing import moments

    return moments.zone_of(utc=ctx is not None and ctx.meta.get(UTC_IS_CHOSEN) is True)


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

        from watcher.cli.parsing import literals

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

        from watcher.cli.parsing import literals

        try:
            return literals.value(value) if type(value) is str else value
        except (ValueError, BSONError, OverflowError) as error:
            self.fail(f"{value!r} is no value ({error}); {_VALUE_FORMS}", param, ctx)


class Operation(Type[str]):
    """An operation on the command line."""

    name = "operation"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Find it, whatever its case, or end with all there are."""
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
    """A moment on the command line.

    Args:
        more_forms: lines about what else may be written where it is asked for.
    """

    name = "time"

    def __init__(self, *more_forms: str) -> None:
        self._forms = "\n".join([_TIME_FORMS, *more_forms])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        """Read it, or end with what may be written."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        from watcher.cli.parsing import moments

        try:
            moment = moments.parse_moment(value, zone_chosen(ctx))
        except (ValueError, OverflowError) as error:
            why = f" ({error})" if str(error) else ""
            self.fail(f"{value!r} is no time{why}; {self._forms}", param, ctx)
        if moments.is_future(moment):
            click.echo(f"{value.strip()!r}: that is in the future: answers are as of now", err=True)
        return moment


class Namespace(Type[str]):
    """A namespace on the command line: `database.collection`."""

    name = "namespace"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it, or end with what may be written."""
        database, _, collection = value.partition(".")
        if not database or not collection:
            from watcher.cli.parsing import namespace_hint

            meant = namespace_hint.recorded_like(value, ctx)
            example = f"did you mean {' or '.join(meant)}?" if meant else "for example shop.users"
            self.fail(f"{value!r} is no namespace; write database.collection, {example}", param, ctx)
        return str(value)
