"""Things that befall collections, done between two marks, and what history says of them.

Names and UUIDs that the server makes up are replaced by plain ones, so that what is found can be compared with what
the server is known to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bson import Binary

from tests.support import oracle

if TYPE_CHECKING:
    from collections.abc import Callable

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


SCOPES = {"deployment": "*.*", "database": "shop.*", "collection": "shop.coll"}

_OPTIONS = {"collectionOptions": {"uuid": "coll", **IMAGES}}
_ID_INDEX = {"idIndex": {"v": 2, "key": {"_id": 1}, "name": "_id_"}}
_BY_O = {"v": 2, "key": {"o": 1}, "name": "by_o"}
_TO_COLL = {"to": {"db": "shop", "coll": "coll"}}
_MADE: Said = ("create", "coll", _ID_INDEX)
_ENDED: Said = ("invalidate", "", None)


class Case(NamedTuple):
    """What is done to `shop.coll`, and what each scope is told of it.

    Attributes:
        do: does it.
        wide: what the deployment's stream is told, and the database's.
        narrow: what the collection's stream is told.
        database: what the database's stream is told, where that is not the same.
    """

    do: Callable[[Database[Any]], Any]
    wide: list[Said]
    narrow: list[Said]
    database: list[Said] | None = None

    def expected(self, scope: str) -> list[Said]:
        """What is told in a scope."""
        if scope == "collection":
            return self.narrow
        return self.database if scope == "database" and self.database is not None else self.wide


def _drop_and_make_again(shop: Database[Any]) -> None:
    shop.coll.drop()
    shop.coll.insert_one({"_id": "again"})


def _drop_database(shop: Database[Any]) -> None:
    shop.src.drop()  # else the order of the two is the server's
    shop.client.drop_database("shop")


def _merge(shop: Database[Any]) -> None:
    shop.src.insert_one({"_id": "coll 0", "n": 5})  # the last of three
    shop.src.aggregate([{"$merge": {"into": "coll", "whenMatched": "merge"}}])


def _out_of_another(shop: Database[Any]) -> None:
    shop.client.other.src.insert_one({"_id": "other"})
    shop.client.other.src.aggregate([{"$out": {"db": "shop", "coll": "coll"}}])


def _modify(shop: Database[Any]) -> None:
    shop.command("collMod", "coll", index={"name": "by_n", "hidden": True})
    shop.command("collMod", "coll", validator={"n": {"$gte": 0}}, validationLevel="moderate")


def _indexes(shop: Database[Any]) -> None:
    shop.coll.create_index("o", name="by_o")
    shop.coll.drop_index("by_o")
    shop.coll.drop_indexes()


def _convert(shop: Database[Any]) -> None:
    shop.coll.insert_many([{"_id": f"large {number}", "text": "x" * 2500} for number in range(2)])
    shop.command("convertToCapped", "coll", size=4096)


def _tmp(name: str, *ids: str) -> list[Said]:
    return [("insert", f"tmp.{name}", key) for key in ids]


_BY_OUT: Said = ("rename", "tmp.agg_out", {**_TO_COLL, "dropTarget": "coll"})
_ONTO_COLL: Said = ("rename", "src", {**_TO_COLL, "dropTarget": "coll"})
_ONTO_SRC: Said = ("rename", "coll", {"to": {"db": "shop", "coll": "src"}, "dropTarget": "src"})
_AWAY: Said = ("rename", "coll", {"to": {"db": "shop", "coll": "gone"}})
_DROPPED: Said = ("drop", "coll", None)
_MERGED: list[Said] = [("insert", "coll", "src 0"), ("insert", "coll", "src 1"), ("update", "coll", "coll 0")]
_OUT_ONTO: list[Said] = [
    ("create", "tmp.agg_out", {"temp": True, **IMAGES, **_ID_INDEX}),
    *(("createIndexes", "tmp.agg_out", {"indexes": [index]}) for index in (BY_N, BY_M)),
]
_INDEXED: list[Said] = [
    ("createIndexes", "coll", {"indexes": [_BY_O]}),
    *(("dropIndexes", "coll", {"indexes": [index]}) for index in (_BY_O, BY_N, BY_M)),
]
_MODIFIED: list[Said] = [
    (
        "modify",
        "coll",
        {
            "index": {"name": "by_n", "hidden": True},
            "stateBeforeChange": {**_OPTIONS, "indexOptions": {"hidden": False}},
        },
    ),
    (
        "modify",
        "coll",
        {"validator": {"n": {"$gte": 0}}, "validationLevel": "moderate", "stateBeforeChange": _OPTIONS},
    ),
]
_LARGE: list[Said] = [("insert", "coll", f"large {number}") for number in range(2)]
_CAPPED: Said = ("rename", "tmp.convertToCapped", {**_TO_COLL, "dropTarget": "coll"})
_MOVED: list[Said] = [
    ("create", "other.tmp.renameCollection", {**IMAGES, **_ID_INDEX}),
    *(("createIndexes", "other.tmp.renameCollection", {"indexes": [index]}) for index in (BY_N, BY_M)),
    *(("insert", "other.tmp.renameCollection", key) for key in ("coll 0", "coll 1", "begin")),
    ("rename", "other.tmp.renameCollection", {"to": {"db": "other", "coll": "coll"}}),
]

CASES = {
    "drop": Case(lambda shop: shop.coll.drop(), [_DROPPED, _MADE], [_DROPPED, _ENDED, _MADE]),
    "drop and make again": Case(
        _drop_and_make_again,
        [_DROPPED, _MADE, ("insert", "coll", "again")],
        [_DROPPED, _ENDED, _MADE, ("insert", "coll", "again")],
    ),
    "drop the database": Case(
        _drop_database,
        [("drop", "src", None), _DROPPED, ("dropDatabase", "shop", None), _MADE],
        [_DROPPED, _ENDED, _MADE],
        [("drop", "src", None), _DROPPED, ("dropDatabase", "shop", None), _ENDED, _MADE],
    ),
    "rename": Case(lambda shop: shop.coll.rename("gone"), [_AWAY, _MADE], [_AWAY, _ENDED, _MADE]),
    "rename another onto it": Case(
        lambda shop: shop.src.rename("coll", dropTarget=True), [_ONTO_COLL], [_ONTO_COLL, _ENDED]
    ),
    "rename onto another": Case(
        lambda shop: shop.coll.rename("src", dropTarget=True), [_ONTO_SRC, _MADE], [_ONTO_SRC, _ENDED, _MADE]
    ),
    "rename into another database": Case(
        lambda shop: shop.client.admin.command("renameCollection", "shop.coll", to="other.coll"),
        [*_MOVED, _DROPPED, _MADE],
        [_DROPPED, _ENDED, _MADE],
        [_DROPPED, _MADE],
    ),
    "$out onto it": Case(
        lambda shop: shop.src.aggregate([{"$out": "coll"}]),
        [*_OUT_ONTO, *_tmp("agg_out", "src 0", "src 1"), _BY_OUT],
        [_BY_OUT, _ENDED],
    ),
    "$out onto it from another database": Case(
        _out_of_another,
        [
            ("create", "other.src", _ID_INDEX),
            ("insert", "other.src", "other"),
            *_OUT_ONTO,
            *_tmp("agg_out", "other"),
            _BY_OUT,
        ],
        [_BY_OUT, _ENDED],
        [*_OUT_ONTO, *_tmp("agg_out", "other"), _BY_OUT],
    ),
    "$out into a new one": Case(
        lambda shop: shop.coll.aggregate([{"$match": {"n": 0}}, {"$out": "new"}]),
        [
            ("create", "tmp.agg_out", {"temp": True, **_ID_INDEX}),
            *_tmp("agg_out", "coll 0"),
            ("rename", "tmp.agg_out", {"to": {"db": "shop", "coll": "new"}}),
        ],
        [],
    ),
    "$merge": Case(_merge, [("insert", "src", "coll 0"), *_MERGED], _MERGED),
    "modify": Case(_modify, _MODIFIED, _MODIFIED),
    "indexes": Case(_indexes, _INDEXED, _INDEXED),
    "convert to capped": Case(
        _convert,
        [
            *_LARGE,
            ("create", "tmp.convertToCapped", {"capped": True, "size": 4096, "temp": True, **IMAGES, **_ID_INDEX}),
            *(("delete", "tmp.convertToCapped", key) for key in ("coll 0", "coll 1", "begin", "large 0")),
            _CAPPED,
        ],
        [*_LARGE, _CAPPED, _ENDED],
    ),
}
"""By what is done. Between `tmp.convertToCapped`'s creation and its renaming nothing is told of what it contains."""
