"""The visitor of a request, and the namespaces that it may read. Pure.

A forbidden namespace must look exactly like one that does not exist. So there is no "forbidden" outside this module:
`Visitor.may_read` is checked before history is read, and if it is false, the response is "not found".
"""

from __future__ import annotations

from dataclasses import dataclass

from change_history import globs

_WHOLE = "*"


@dataclass(frozen=True, slots=True)
class Visitor:
    """The client of a request, with its rights.

    Attributes:
        name: name of the token or of the signed-on user, for the access log.
        read: globs `database.collection` that it may read.
        besides: globs that it may not read, though covered by `read`.
    """

    name: str
    read: tuple[str, ...]
    besides: tuple[str, ...] = ()

    @property
    def reads_everything(self) -> bool:
        """Whether it may read every namespace."""
        return "*.*" in self.read and not self.besides

    def may_read(self, namespace: str) -> bool:
        """Whether it may read a namespace; for the name of a database, whether it may read all of its collections."""
        if self.reads_everything:
            return True
        database, dot, _ = namespace.partition(".")
        if dot:
            return globs.covers(self.read, self.besides, namespace)
        whole = tuple(glob for glob in self.read if globs.split(glob)[1] == _WHOLE)
        return globs.fits(whole, database, "") and not globs.fits_database(self.besides, database)


def everything(name: str) -> Visitor:
    """A visitor that may read every namespace."""
    return Visitor(name, ("*.*",))
