"""The short way from an event to its history, compiled where a C compiler was at hand when this was installed.

`watcher.events.record` says how history is written. What comes out here is the same, byte for byte, in a tenth of the
time or
less, for the events that come most often; `tests/unit/test_fast_path.py` holds the two against each other. Which of the
two was taken can be told by nothing but the time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from change_history.bson import raw
from watcher.events._sources import digest

if TYPE_CHECKING:
    from types import ModuleType

_compiled: ModuleType | None
try:
    from watcher.events import _fast_path as _compiled
except ImportError:
    _compiled = None
if _compiled is not None and (sources := digest(Path(__file__).parent)) and sources != _compiled.MADE_FROM:
    _compiled = None  # of a checkout that has moved on: it may write what history was like before

COMPILED = _compiled is not None

Usual: TypeAlias = tuple[bytes, bytes, bytes]
"""The history of a usual event: its document as `watcher.events.record` writes it, its namespace, its operation."""


def record(data: bytes) -> Usual | None:
    """Turn an event into its history.

    Args:
        data: the event as the server sent it, BSON.

    Returns:
        None: it is for `watcher.events.record`, which also says what is wrong with it.
    """
    return _compiled.record(data) if _compiled is not None else None


def documents(array: bytes) -> list[bytes]:
    """Take an array of documents apart.

    Args:
        array: BSON.

    Raises:
        change_history.bson.raw.MalformedBSON: a length or a type is impossible.
    """
    found = _compiled.documents(array) if _compiled is not None else None
    return found if found is not None else [document for _, document in raw.items(array)]
