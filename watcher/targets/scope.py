"""The scope: `INCLUDE` and `EXCLUDE` as the target of the stream and a filter on the server.

Globs are `database.collection`; `*` is any number of characters, `?` one, `[abc]` one of these. A collection's
name may contain dots, so `*` matches across them. The filter uses `ns.db` and `ns.coll` separately, because the server
can push conditions on these down into its scan of the oplog, but not a condition on `ns` as a whole.
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
        partition: only the documents of this partition; None: all.
        contexts: name of the collections of context documents. Their inserts pass the filter in every database, though
            they are not watched. Empty: there are none.
    """

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    own_database: str
    partition: Partition | None = None
    contexts: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Scope:
        """The scope of the settings."""
        return cls(
            settings.include,
            settings.exclude,
            settings.history_database,
            settings.recorded_partition,
            settings.context_collection,
        )

    @property
    def database(self) -> str | None:
        """The single database that contains everything included; None: the stream covers the whole deployment."""
        databases = {globs.split(glob)[0] for glob in self.include}
        (only, *others) = sorted(databases)
        return None if others or _MAGIC.search(only) else only

    @property
    def collection(self) -> str | None:
        """The single collection that is included; None: the stream is wider."""
        collections = {globs.split(glob)[1] for glob in self.include}
        (only, *others) = sorted(collections)
        return None if self.database is None or others or _MAGIC.search(only) else only

    @property
    def widened(self) -> bool:
        """Whether the stream of a single collection must be opened on its database, to receive context documents."""
        return bool(self.contexts) and self.collection is not None

    @property
    def exact(self) -> tuple[str, ...]:
        """Namespaces that are included without wildcards."""
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
        """The condition of the `$match` stage that passes exactly the watched events.

        Events about a whole database carry no collection; they pass if the database is covered. A rename passes
        if either of its two names is covered, and always the end of the stream itself (invalidate).
        """
        covered = self._match()
        if self.partition is None:
            return covered
        mine = partition.match(self.partition)
        if self.contexts:  # they concern all documents of their transaction
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
        """The condition that matches context documents."""
        return {"ns.coll": self.contexts, "operationType": "insert"}

    def _covered(self, where: str) -> dict[str, Any]:
        condition: dict[str, Any] = {"$or": [_condition(glob, where) for glob in self.include]}
        if self.exclude:
            condition["$nor"] = [
                _condition(glob, where, whole_database=globs.split(glob)[1] == _EVERYTHING) for glob in self.exclude
            ]
        return condition

    def describe(self) -> dict[str, Any]:
        """The scope as it is stored in the checkpoint: a token is valid only for streams with the same scope."""
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
        """The scope from the result of `describe`."""
        share = Partition.parse(options["part"]) if "part" in options else None
        return cls(tuple(options["include"]), tuple(options["exclude"]), options["own_database"], share)


def is_pattern(name: str) -> bool:
    """Whether a part of a glob has wildcards."""
    return _MAGIC.search(name) is not None


def _condition(glob: str, where: str, *, whole_database: bool = True) -> dict[str, Any]:
    """One glob as a condition on `ns` or `to`; with `whole_database`, events of the database pass, too."""
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
    r"""The glob as a PCRE: `\A`, `\z` and `[\s\S]`, since a collection's name may contain line breaks."""
    body = translate(glob).removeprefix("(?s:")[: -len(r")\Z")]
    # Within brackets, [ is literal in Python, but may begin a character class in PCRE.
    body = _BRACKETS.sub(lambda found: "[" + found[1].replace("[", r"\[") + "]", body)
    # The server embeds the pattern in a text and parses that again: it must have no quotes and no control characters.
    body = _DELICATE.sub(lambda found: rf"\x{ord(found[1] or found[2]):02x}", body)
    return rf"\A(?s:{body})\z"
