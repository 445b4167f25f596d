"""The short way from an event to its history, compiled where a C compiler was at hand when this was installed.

`watcher.events.record` says how history is written. What comes out here is the same, byte for byte, in a tenth of the
time or
less, for the events that come most often; `tests/unit/test_fast_path.py` holds the two against each other. Which of the
two was taken can be told by nothing but the time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.stored.order import position_of
from watcher.events._sources import digest
from watcher.events.event import Key

if TYPE_CHECKING:
    from types import ModuleType

    from change_history.stored.order import HistoryPosition

_compiled: ModuleType | None
try:
    from watcher.events import _fast_path as _compiled
except ImportError:
    _compiled = None
if _compiled is not None and (sources := digest(Path(__file__).parent)) and sources != _compiled.MADE_FROM:
    _compiled = None  # of a checkout that has moved on: it may write what history was like before

COMPILED = _compiled is not None


class Usual(NamedTuple):
    """A usual event, recorded. Of `watcher.events.event.Event` it has what the recording stage asks for.

    Attributes:
        history: its history document, as `watcher.events.record` writes it.
        namespace: `db.coll`.
        operation: `operationType`.
    """

    history: bytes
    namespace: bytes
    operation: bytes

    @property
    def position(self) -> HistoryPosition:
        """Where it stands in history."""
        return position_of(raw.fields(self.history))

    @property
    def lacks_pre_image(self) -> bool:
        """Whether it comes without the pre-image that an event of its operation should have."""
        return False

    def document_id(self) -> raw.Value | None:
        """`documentKey._id`."""
        return raw.fields(self.history).get(b"document_id")

    def key(self) -> Key | None:
        """Which document it is about.

        Raises:
            change_history.bson.raw.MalformedBSON: the `_id` cannot be read.
        """
        document_id = self.document_id()
        return Key(self.namespace, key_of(document_id)) if document_id is not None else None


def record(data: bytes) -> Usual | None:
    """Turn an event into its history.

    Args:
        data: the event as the server sent it, BSON.

    Returns:
        None: it is for `watcher.events.record`, which also says what is wrong with it.
    """
    found = _compiled.record(data) if _compiled is not None else None
    return Usual._make(found) if found is not None else None


def documents(array: bytes) -> list[bytes]:
    """Take an array of documents apart.

    Args:
        array: BSON.

    Raises:
        change_history.bson.raw.MalformedBSON: a length or a type is impossible.
    """
    found = _compiled.documents(array) if _compiled is not None else None
    return found if found is not None else [document for _, document in raw.items(array)]
