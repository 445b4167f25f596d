"""Who asks, and which namespaces they may read. Pure.

What somebody may not read must look exactly like what does not exist. So nothing beyond this module asks "is it
forbidden?": `Visitor.may_read` is asked before history is, and the answer to no is the answer to nothing there.
"""

from __future__ import annotations

from dataclasses import dataclass

from change_history import globs

_WHOLE = "*"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who asks.

    Attributes:
        name: of the token or the signed-on user, for the access log.
        read: globs `database.collection` that may be read.
        besides: globs that may not, though covered by `read`.
    """

    name: str
    read: tuple[str, ...]
    besides: tuple[str, ...] = ()

    @property
    def reads_everything(self) -> bool:
        """Whether there is nothing to be left out."""
        return "*.*" in self.read and not self.besides

    def may_read(self, namespace: str) -> bool:
        """Whether a namespace may be read. The name of a database stands for all that is in it."""
        if self.reads_everything:
            return True
        database, dot, _ = namespace.partition(".")
        if dot:
            return globs.covers(self.read, self.besides, namespace)
        whole = tuple(glob for glob in self.read if globs.split(glob)[1] == _WHOLE)
        return globs.fits(whole, database, "") and not globs.fits_database(self.besides, database)


def everything(name: str) -> Visitor:
    """Somebody who may read all that is recorded."""
    return Visitor(name, ("*.*",))
