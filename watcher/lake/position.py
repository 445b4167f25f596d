"""The position of a table in a history: written into each commit, so that rows and position are committed together."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from change_history.bson.cluster_time import ClusterTime


@dataclass(frozen=True, slots=True)
class LakePosition:
    """The position of a table in a history.

    Attributes:
        collection: UUID of the history collection, in hexadecimal digits.
        token: resume token of the history's change stream to resume from.
        scanned: `_id` of the last scanned entry, in hexadecimal digits; empty: none yet; None: the scan is complete.
        again: the table had rows when the scan began, so each entry is compared with it.
        doubtful: cluster time up to which the stream may repeat entries of the scan.
        erasures: ids of the erasures that were applied to the table.
        newest: greatest `_id` of an entry that the table has or had, in hexadecimal digits; empty: unknown. Entries
            after it are new. Entries before it may be in the table: recorded again after they expired.
    """

    collection: str
    token: str
    scanned: str | None = ""
    again: bool = False
    doubtful: int = 0
    erasures: tuple[str, ...] = ()
    newest: str = ""

    def dump(self) -> str:
        """The position as one line of JSON."""
        return json.dumps(asdict(self))

    def at(self, token: str) -> LakePosition:
        """The position after advancing in the stream."""
        return replace(self, token=token)

    def scanned_to(self, identity: bytes) -> LakePosition:
        """The position after advancing in the scan."""
        return replace(self, scanned=identity.hex())

    def holding(self, identity: bytes) -> LakePosition:
        """The position of a table that has an entry."""
        return replace(self, newest=max(self.newest, identity.hex()))

    def without(self, erasure: str) -> LakePosition:
        """The position after an erasure was applied."""
        return replace(self, erasures=(*self.erasures, erasure))

    def scanned_whole(self, moment: ClusterTime) -> LakePosition:
        """The position after the scan, which ended at a cluster time."""
        return replace(self, scanned=None, again=False, doubtful=int(moment))


def load(text: str) -> LakePosition:
    """Parse the result of `LakePosition.dump`.

    Raises:
        ValueError: the text is not a position.
    """
    try:
        found = json.loads(text)
        return LakePosition(**found | {"erasures": tuple(found.get("erasures", ()))})
    except TypeError as error:
        raise ValueError(f"no position: {error}") from error
