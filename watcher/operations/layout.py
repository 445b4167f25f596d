"""Into how many parts a stream is split: noted beside its terms, and changed in one transaction with its checkpoints.

Documents are divided by their `_id`, so parts of two divisions must never be at work at once: each would have recorded
up to somewhere of what the other one takes over. A daemon looks here before it begins, and again once it leads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo import ReadPreference, WriteConcern

from change_history.partition import Partition, all_of, checkpoint_of
from change_history.stored.names import CHECKPOINTS, TERMS
from watcher.errors import PositionRefusedError

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

_MAJORITY = WriteConcern("majority")


class Layout:
    """The division of one stream.

    Args:
        history: the history database.
        stream: name of the stream, without a part.

    Every method raises:
        pymongo.errors.PyMongoError: no answer.
    """

    def __init__(self, history: Database[Any], stream: str) -> None:
        options: dict[str, Any] = {"read_preference": ReadPreference.PRIMARY, "write_concern": _MAJORITY}
        self._terms = history.get_collection(TERMS, **options)
        self._checkpoints = history.get_collection(CHECKPOINTS, **options)
        self._stream = stream
        self._id = f"{stream}:layout"

    def parts(self) -> int:
        """How many parts there are; 1 for a stream that was never split."""
        found = self._terms.find_one({"_id": self._id}) or {}
        return int(found.get("parts", 1))

    def checkpoints(self) -> tuple[str, ...]:
        """The names of the stream's checkpoints."""
        return tuple(checkpoint_of(self._stream, part) for part in all_of(self.parts()))

    def is_open(self) -> bool:
        """Whether the stream has neither been split nor begun as a whole."""
        if self._terms.find_one({"_id": self._id}) is not None:
            return False
        return self._checkpoints.find_one({"_id": self._stream, "token": {"$exists": True}}) is None

    def change(self, parts: int, session: ClientSession) -> None:
        """Note another number of parts, within the transaction that changes the checkpoints."""
        said = {"$set": {"parts": parts}, "$currentDate": {"changed_at": True}}
        self._terms.update_one({"_id": self._id}, said, upsert=True, session=session)

    def check(self, part: Partition | None) -> None:
        """See whether a daemon of this part, or of the whole, has a place in it.

        Raises:
            watcher.errors.PositionRefusedError: it has not.
        """
        parts = self.parts()
        wanted = part.total if part is not None else 1
        if wanted == parts:
            return
        stands = "is not split" if parts == 1 else f"is split into {parts} parts"
        mine = "the whole of it" if part is None else f"part {part}"
        fits = "leave WATCHER_PARTITION out" if parts == 1 else f"WATCHER_PARTITION=I/{parts}, one daemon for each I"
        raise PositionRefusedError(
            f"Stream {self._stream!r} {stands}, but this daemon is to record {mine}.",
            f"Start what fits ({fits}), or change the stream: `watcher partition {wanted}` says what that means, and "
            "does it with --yes.",
        )
