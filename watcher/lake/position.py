"""How far a table reaches: written into each commit, so that rows and position are there together or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from change_history.bson.cluster_time import ClusterTime


@dataclass(frozen=True, slots=True)
class LakePosition:
    """How far a table reaches in a history.

    Attributes:
        collection: UUID of the history collection, in hexadecimal digits.
        token: resume token of the history's change stream, from which to go on.
        scanned: `_id` of the last entry that was scanned, in hexadecimal digits; empty: none yet; None: all that was
            there when the stream was opened has been.
        again: the scan goes over a table that has rows already, so each entry is compared with it.
        doubtful: cluster time up to which the stream may tell of entries that the scan has found, too.
        erasures: ids of the erasures that have been carried out here.
        newest: greatest `_id` of an entry that the table has or had, in hexadecimal digits; empty: not known. What
            enters beyond it is new. What enters before it may be here: recorded again, after it expired.
    """

    collection: str
    token: str
    scanned: str | None = ""
    again: bool = False
    doubtful: int = 0
    erasures: tuple[str, ...] = ()
    newest: str = ""

    def dump(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    def at(self, token: str) -> LakePosition:
        """The same, further on in the stream."""
        return replace(self, token=token)

    def scanned_to(self, identity: bytes) -> LakePosition:
        """The same, further on in the scan."""
        return replace(self, scanned=identity.hex())

    def holding(self, identity: bytes) -> LakePosition:
        """The same, of a table that has an entry."""
        return replace(self, newest=max(self.newest, identity.hex()))

    def without(self, erasure: str) -> LakePosition:
        """The same after an erasure."""
        return replace(self, erasures=(*self.erasures, erasure))

    def scanned_whole(self, moment: ClusterTime) -> LakePosition:
        """The same at the end of the scan, which was at a cluster time."""
        return replace(self, scanned=None, again=False, doubtful=int(moment))


def load(text: str) -> LakePosition:
    """Read what `LakePosition.dump` has written.

    Raises:
        ValueError: it is none.
    """
    try:
        found = json.loads(text)
        return LakePosition(**found | {"erasures": tuple(found.get("erasures", ()))})
    except TypeError as error:
        raise ValueError(f"no position: {error}") from error
