"""Globs for namespaces: `database.collection`, where `*` is any number of characters, `?` one, `[abc]` one of these.

A collection's name may contain dots, so `*` matches them too; a database's name may not.
"""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def covers(include: Iterable[str], exclude: Iterable[str], namespace: str) -> bool:
    """Whether a namespace matches one glob of `include` and none of `exclude`.

    Args:
        namespace: `db.coll`; the part before the first dot is the database.
    """
    database, collection = split(namespace)
    return fits(include, database, collection) and not fits(exclude, database, collection)


def fits(globs: Iterable[str], database: str, collection: str) -> bool:
    """Whether a collection matches one of the globs."""
    compiled = map(_compiled, globs)
    return any(db.match(database) and coll.match(collection) for db, coll in compiled)


def fits_database(globs: Iterable[str], database: str) -> bool:
    """Whether any collection of a database can match one of the globs."""
    return any(_compiled(glob)[0].match(database) for glob in globs)


def exactly(namespace: str) -> str:
    """The glob that only one namespace matches."""
    return re.sub(r"[*?[]", r"[\g<0>]", namespace)


def split(namespace: str) -> tuple[str, str]:
    """A namespace, or a glob, as database and collection."""
    database, _, collection = namespace.partition(".")
    return database, collection


@lru_cache(maxsize=4096)
def _compiled(glob: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    database, collection = split(glob)
    return re.compile(translate(database)), re.compile(translate(collection))
