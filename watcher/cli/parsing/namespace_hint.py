"""Which recorded namespaces somebody may have meant who typed only a half of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history import History
from watcher.cli.connection import CommandError, history_uri
from watcher.cli.main import Context
from watcher.cli.rendering.value_text import printable

if TYPE_CHECKING:
    import click

_MOST = 3
_PATIENCE_MS = 1000
_KNOWN = "cli.namespace_hint"


def recorded_like(name: str, ctx: click.Context | None) -> list[str]:
    """Recorded namespaces whose collection or database is called so; none where history cannot be asked at once."""
    context = ctx.find_object(Context) if ctx is not None else None
    if ctx is None or context is None:
        return []
    if _KNOWN not in ctx.meta:  # arguments are read again to find all that is wrong
        ctx.meta[_KNOWN] = _recorded(context)
    found = [known for known in ctx.meta[_KNOWN] if name.strip(".") in known.split(".", 1)]
    return [printable(each) for each in found[:_MOST]]


def _recorded(context: Context) -> list[str]:
    from pymongo.errors import PyMongoError

    try:
        settings = context.settings()
        uri, database = history_uri(settings), settings.history_database
        with History.connect(uri, database, serverSelectionTimeoutMS=_PATIENCE_MS) as history:
            return history.namespaces()
    except (CommandError, PyMongoError, SystemExit):
        return []
