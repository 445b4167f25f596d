"""What is watched: `INCLUDE` and `EXCLUDE` as a scope of the stream and a filter on the server.

Globs are `database.collection`; `*` is any number of characters, `?` one, `[abc]` one of these. A collection's
name may hold dots, so `*` reaches across them. The filter uses `ns.db` and `ns.coll` apart, because the server
can push conditions on these down into its scan of the oplog, and a condition on `ns` as a whole it cannot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SYSTEM_DATABASES = ("admin", "config", "local")
_MAGIC = re.compile(r"[*?\[]")
_EVERYTHING = "*"
_EVERYTHING_GLOB = "*.*"


@dataclass(frozen=True)
class Scope:
    """Which namespaces a stream covers.

    Attributes:
        include: globs `db.coll`; a namespace must match one of them.
        exclude: globs `db.coll`; a namespace must match none of them.
        own_database: name of the history database, which is never watched.
    """

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    own_database: str

    @property
    def database(self) -> str | None:
        """The one database that covers everything included, or None for the whole deployment."""
        databases = {_split(glob)[0] for glob in self.include}
        (only, *others) = sorted(databases)
        return None if others or _MAGIC.search(only) else only

    @property
    def collection(self) -> str | None:
        """The one collection that covers everything included, or None for a wider stream."""
        collections = {_split(glob)[1] for glob in self.include}
        (only, *others) = sorted(collections)
        return None if self.database is None or others or _MAGIC.search(only) else only

    def covers(self, database: str, collection: str) -> bool:
        """Whether a namespace is watched."""
        if database == self.own_database or database in SYSTEM_DATABASES or collection.startswith("system."):
            return False
        namespace = (database, collection)
        return any(_fits(p, namespace) for p in self._included) and not any(_fits(p, namespace) for p in self._excluded)

    def reaches(self, database: str) -> bool:
        """Whether any collection of a database may be watched."""
        if database == self.own_database or database in SYSTEM_DATABASES:
            return False
        return any(name.match(database) for name, _ in self._included)

    @cached_property
    def _included(self) -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
        return _compiled(self.include)

    @cached_property
    def _excluded(self) -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
        return _compiled(self.exclude)

    def match(self) -> dict[str, Any]:
        """The condition of the `$match` stage that lets through what is watched, and nothing else.

        Events about a whole database carry no collection; they pass if the database is covered. A rename passes
        if either of its two names is covered, and always the end of the stream itself (invalidate).
        """
        own = {"ns.db": {"$ne": self.own_database}}
        if self.collection is not None or (self.include == (_EVERYTHING_GLOB,) and not self.exclude):
            return own
        return {"$and": [own, {"$or": [self._covered("ns"), self._covered("to"), {"operationType": "invalidate"}]}]}

    def _covered(self, where: str) -> dict[str, Any]:
        condition: dict[str, Any] = {"$or": [_condition(glob, where) for glob in self.include]}
        if self.exclude:
            condition["$nor"] = [_condition(glob, where, whole_database=False) for glob in self.exclude]
        return condition

    def describe(self) -> dict[str, Any]:
        """The scope in a form that is stored with the checkpoint: a token is a position only with it."""
        return {
            "database": self.database,
            "collection": self.collection,
            "include": sorted(set(self.include)),
            "exclude": sorted(set(self.exclude)),
            "own_database": self.own_database,
        }


def _split(glob: str) -> tuple[str, str]:
    database, _, collection = glob.partition(".")
    return database, collection


def _compiled(globs: Iterable[str]) -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    return [(re.compile(translate(db)), re.compile(translate(coll))) for db, coll in map(_split, globs)]


def _fits(patterns: tuple[re.Pattern[str], re.Pattern[str]], namespace: Sequence[str]) -> bool:
    return all(pattern.match(name) is not None for pattern, name in zip(patterns, namespace, strict=True))


def _condition(glob: str, where: str, *, whole_database: bool = True) -> dict[str, Any]:
    """One glob as a condition on `ns` or `to`; with `whole_database` it lets events about the database through."""
    database, collection = _split(glob)
    parts: dict[str, Any] = {f"{where}.db": {"$exists": True} if database == _EVERYTHING else _name_condition(database)}
    if whole_database and where == "ns":
        if collection != _EVERYTHING:
            parts["$or"] = [{"ns.coll": _name_condition(collection)}, {"ns.coll": {"$exists": False}}]
    else:
        parts[f"{where}.coll"] = {"$exists": True} if collection == _EVERYTHING else _name_condition(collection)
    return parts


def _name_condition(glob: str) -> Any:
    return {"$regex": _server_regex(glob)} if _MAGIC.search(glob) else glob


def _server_regex(glob: str) -> str:
    r"""The glob as a PCRE: `\A`, `\z` and `[\s\S]`, since a collection's name may hold line breaks."""
    body = translate(glob).removeprefix("(?s:")[: -len(r")\Z")]
    return rf"\A(?s:{body})\z"
