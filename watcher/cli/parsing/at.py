"""Moments of documents on the command line: times, version numbers, `now`; and filters on documents."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from watcher.cli.parsing.parse import Time, Type, zone_chosen

if TYPE_CHECKING:
    from change_history.reconstruct.point_in_time import PointInTime as Moment

AT_HELP = """A moment is a TIME: ISO 8601 (local time if it names no zone, midnight if no time of day), words such as
    '2h ago', 'yesterday 14:00' or 'monday' (its midnight), or a cluster time, seconds:increment. The first two are
    compared with an event's wall time, to the millisecond, the last with its cluster time; what happened at it is
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
    """A moment of a document, or with `versions=False` of a collection; None is now.

    Args:
        versions: whether it may be the number of a version.
    """

    name = "moment"

    def __init__(self, *, versions: bool = True) -> None:
        self._versions = versions

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Moment | None:
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
        from watcher.cli.parsing import moments

        moment = Time(_LAST_FORM, *([_VERSION_FORM] if self._versions else [])).convert(value, param, ctx)
        if not moments.names_its_zone(text):
            understood = moments.typed(moment, zone_chosen(ctx))
            click.echo(f"as of {understood} ({' '.join(text.split())})", err=True)
        return moment


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
            to_raw(found)  # or it would fail later, in the query
        except (ValueError, BSONError, OverflowError) as error:
            found, why = None, f" ({error})"
        if not isinstance(found, dict):
            self.fail(f"{value!r} is no filter{why}; {_QUERY_FORMS}", param, ctx)
        return found
