"""Things that befall collections, done between two marks, and what history says of them.

Names and UUIDs that the server makes up are replaced by plain ones, so that what is found can be compared with what
the server is known to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from bson import Binary

from tests.support import oracle

if TYPE_CHECKING:
    from pymongo.database import Database

    from tests.support.daemon import Daemon

Said: TypeAlias = tuple[str, str, Any]
"""Operation; namespace, without `shop.` before it; the document's `_id`, or the description."""

IMAGES = {"changeStreamPreAndPostImages": {"enabled": True}}
BY_M = {"v": 2, "key": {"m": 1}, "name": "by_m"}
BY_N = {"v": 2, "key": {"n": 1}, "name": "by_n"}

_MADE_UP = [
    (re.compile(r"\btmp\.agg_out\.[0-9a-f-]{36}$"), "tmp.agg_out"),
    (re.compile(r"\btmp\w{5}\.(renameCollection|convertToCapped)\b.*$"), r"tmp.\1"),
]


class Window:
    """The history of what is done between two marks, in the order of the stream.

    It makes the collections `coll` and `src` anew, in the database `shop`, and drops the database `other`.

    Args:
        daemon: follows at least `shop.coll`.
        key: tells its marks from those of other windows.
    """

    def __init__(self, daemon: Daemon, key: str) -> None:
        self._daemon = daemon
        self._begin, self.end = f"begin of {key}", f"end of {key}"
        self.shop: Database[Any] = daemon.client["shop"]
        for name in ("other", "shop"):
            daemon.client.drop_database(name)
        for name in ("src", "coll"):
            self.shop.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
            self.shop[name].insert_many([{"_id": f"{name} {number}", "n": number} for number in range(2)])
            self.shop[name].create_index("n", name="by_n")
        self.shop.coll.create_index("m", name="by_m")
        self.shop.coll.insert_one({"_id": self._begin})
        self._after = daemon.recorded("shop.coll", self._begin)["cluster_time"]
        self._uuids = {bytes(info["info"]["uuid"]): info["name"] for info in self.shop.list_collections()}

    def close(self) -> list[Said]:
        """Write once more; what the server said before that, but of the daemon's own switching on of images."""
        self.shop.coll.insert_one({"_id": self.end, "n": 1})
        until = self._daemon.recorded("shop.coll", self.end)["cluster_time"]
        found = oracle.history(self._daemon.database, {"cluster_time": {"$gt": self._after, "$lt": until}})
        return [said for stored in found if not _is_ours(said := self._said(oracle.entry(stored)))]

    def _said(self, entry: dict[str, Any]) -> Said:
        namespace = entry.get("namespace", "").removeprefix("shop.")
        for pattern, replacement in _MADE_UP:
            namespace = pattern.sub(replacement, namespace)
        about = entry.get("document_id", self._told(entry.get("description")))
        return entry["operation"], namespace, "begin" if about == self._begin else about

    def _told(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._told(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._told(item) for item in value]
        return self._uuids.get(bytes(value), "another") if isinstance(value, Binary) else value


def _is_ours(said: Said) -> bool:
    operation, _, description = said
    if operation in ("baseline", "reconcile"):
        return True
    return operation == "modify" and description.keys() == {*IMAGES, "stateBeforeChange"}
