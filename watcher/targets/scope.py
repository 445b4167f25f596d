"""What is watched: `INCLUDE` and `EXCLUDE` as a scope of the stream and a filter on the server.

Globs are `database.collection`; `*` is any number of characters, `?` one, `[abc]` one of these. A collection's
name may hold dots, so `*` reaches across them. The filter uses `ns.db` and `ns.coll` apart, because the server
can push conditions on these down into its scan of the oplog, and a condition on `ns` as a whole it cannot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING, Any

from change_history import globs
from change_history.partition import Partition
from watcher.targets import partition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.settings import Settings

SYSTEM_DATABASES = ("admin", "config", "local")
_MAGIC = re.compile(r"[*?\[]")
_BRACKETS = re.compile(r"(?<!\\)\[([^\]]*)\]")
_DELICATE = re.compile(r"""\\([\t\n\r\v\f])|([\x00-\x1f\x7f'"])""")
_EVERYTHING = "*"
_EVERYTHING_GLOB = "*.*"


@dataclass(frozen=True)
class Scope:
    """Which namespaces a stream covers.

    Attributes:
        include: globs `db.coll`; a namespace must match one of them.
        exclude: globs `db.coll`; a namespace must match none of them.
        own_database: name of the history database, which is never watched.
        partition: of the documents there, only these; None: all.
        contexts: the name of the collections whose documents say who writes: they are let through wherever they are,
            though nothing of them is watched; empty: there are none.
    """

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    own_database: str
    partition: Partition | None = None
    contexts: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Scope:
        """What the settings say is watched."""
        return cls(
            settings.include,
            settings.exclude,
            settings.history_database,
            settings.recorded_partition,
            settings.context_collection,
        )

    @property
    def database(self) -> str | None:
        """The one database that covers everything included, or None for the whole deployment."""
        databases = {globs.split(glob)[0] for glob in self.include}
        (only, *others) = sorted(databases)
        return None if others or _MAGIC.search(only) else only

    @property
    def collection(self) -> str | None:
        """The one collection that covers everything included, or None for a wider stream."""
        collections = {globs.split(glob)[1] for glob in self.include}
        (only, *others) = sorted(collections)
        return None if self.database is None or others or _MAGIC.search(only) else only

    @property
    def widened(self) -> bool:
        """Whether the stream has to be opened on a database for the sake of one collection: contexts lie beside it."""
        return bool(self.contexts) and self.collection is not None

    @property
    def exact(self) -> tuple[str, ...]:
        """Namespaces that are included by their very name."""
        return tuple(glob for glob in self.include if not _MAGIC.search(glob))

    def covers(self, database: str, collection: str) -> bool:
        """Whether a namespace is watched."""
        if self.contexts and collection == self.contexts:
            return False
        if database == self.own_database or database in SYSTEM_DATABASES or collection.startswith("system."):
            return False
        return globs.fits(self.include, database, collection) and not globs.fits(self.exclude, database, collection)

    def reaches(self, database: str) -> bool:
        """Whether any collection of a database may be watched."""
        if database == self.own_database or database in SYSTEM_DATABASES:
            return False
        return globs.fits_database(self.include, database)

    def match(self) -> dict[str, Any]:
        """The condition of the `$match` stage that lets through what is watched, and nothing else.

        Events about a whole database carry no collection; they pass if the database is covered. A rename passes
        if either of its two names is covered, and always the end of the stream itself (invalidate).
        """
        covered = self._match()
        if self.partition is None:
            return covered
        mine = partition.match(self.partition)
        if self.contexts:  # they are about whatever their transaction writes
            mine["$or"].append(self._said)
        return {"$and": [covered, mine]}

    def _match(self) -> dict[str, Any]:
        own = {"ns.db": {"$ne": self.own_database}}
        everything = self.include == (_EVERYTHING_GLOB,)
        if not self.exclude and (everything or (self.collection is not None and not self.widened)):
            return own
        covered = [self._covered("ns"), self._covered("to"), {"operationType": "invalidate"}]
        if self.contexts:
            covered.append(self._said)
        return {"$and": [own, {"$or": covered}]}

    @property
    def _said(self) -> dict[str, Any]:
        """The condition that context documents fulfil."""
        return {"ns.coll": self.contexts, "operationType": "insert"}

    def _covered(self, where: str) -> dict[str, Any]:
        condition: dict[str, Any] = {"$or": [_condition(glob, where) for glob in self.include]}
        if self.exclude:
            condition["$nor"] = [
                _condition(glob, where, whole_database=globs.split(glob)[1] == _EVERYTHING) for glob in self.exclude
            ]
        return condition

    def describe(self) -> dict[str, Any]:
        """The scope in a form that is stored with the checkpoint: a token is a position only with it."""
        share = {} if self.partition is None else {"part": str(self.partition)}
        return {
            "database": self.database,
            "collection": self.collection,
            "include": sorted(set(self.include)),
            "exclude": sorted(set(self.exclude)),
            "own_database": self.own_database,
            **share,
        }

    @classmethod
    def described(cls, options: Mapping[str, Any]) -> Scope:
        """The scope that `describe` has described."""
        share = Partition.parse(options["part"]) if "part" in options else None
        return cls(tuple(options["include"]), tuple(options["exclude"]), options["own_database"], share)


def is_pattern(name: str) -> bool:
    """Whether a part of a glob may mean more than one name."""
    return _MAGIC.search(name) is not None


def _condition(glob: str, where: str, *, whole_database: bool = True) -> dict[str, Any]:
    """One glob as a condition on `ns` or `to`; with `whole_database` it lets events about the database through."""
    database, collection = globs.split(glob)
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
    # Within brackets [ is itself to Python, and may begin a class of characters to PCRE.
    body = _BRACKETS.sub(lambda found: "[" + found[1].replace("[", r"\[") + "]", body)
    # The server puts the pattern into a text of its own and reads that again: no quotes and no controls in it.
    body = _DELICATE.sub(lambda found: rf"\x{ord(found[1] or found[2]):02x}", body)
    return rf"\A(?s:{body})\z"
