"""What people type on the command line: document ids, times, namespaces.

The work is done by `cli.literals`, imported only when there is something to read: `--help` must be quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from history.window import Moment

_ID_FORMS = """write it in one of these forms:
  66f2a1c0e4b0d52a3c9f1e77    an ObjectId: 24 hexadecimal digits
  42                          an integer
  anna@example.com            a string, if it looks like nothing else here
  '"42"'                      a string, whatever it looks like
  '{"$oid": "66f2…"}'         Extended JSON, any type or sub-document"""

_TIME_FORMS = """write it in one of these forms:
  2024-05-01T14:00:00+02:00   ISO 8601; without a zone it is local time, without a time midnight
  '2h ago', 'yesterday 14:00' words, in local time
  1714564800:3                a cluster time, seconds:increment"""


class DocumentId(click.ParamType[Any]):
    """A document id on the command line."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it, or end with what may be written."""
        from bson.errors import BSONError

        from cli import literals

        try:
            return literals.document_id(value) if type(value) is str else value
        except (ValueError, BSONError, OverflowError) as error:
            self.fail(f"{value!r} is no document id ({error}); {_ID_FORMS}", param, ctx)


class Time(click.ParamType[Any]):
    """A moment on the command line."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        """Read it, or end with what may be written."""
        from cli import literals

        try:
            return literals.moment(value) if isinstance(value, str) else value
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time; {_TIME_FORMS}", param, ctx)


class Namespace(click.ParamType[str]):
    """A namespace on the command line: `database.collection`."""

    name = "namespace"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it, or end with what may be written."""
        database, _, collection = value.partition(".")
        if not database or not collection:
            self.fail(f"{value!r} is no namespace; write database.collection, for example shop.users", param, ctx)
        return str(value)
