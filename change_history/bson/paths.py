"""Paths into documents: a tuple of keys (`bytes`) and array indexes (`int`), and their dotted form.

MongoDB writes a path as its parts joined by dots, which leaves open whether `a.0` is an index or a key, and whether
`a.b` is one key or two. History stores the dotted form for people and queries, and the exact path beside it wherever
the dotted form, read by one fixed rule, would be wrong: parts between dots are keys, and a part after the first that is
a plain decimal number is an index.

As Python sees changes, keys are text (`TextPath`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

Key: TypeAlias = bytes | int
Path: TypeAlias = tuple[Key, ...]
TextPath: TypeAlias = tuple[str | int, ...]

_REMEMBERED = 2048
"""Number of parsed dotted paths in the cache: the documents of a collection share a few."""


def is_index(part: bytes) -> bool:
    """Whether a part of a dotted path reads as an array index: decimal, no leading zero."""
    return part.isdigit() and (len(part) == 1 or not part.startswith(b"0"))


def dotted(path: Path) -> bytes:
    """Join a path the way MongoDB writes it."""
    return b".".join([b"%d" % key if isinstance(key, int) else key for key in path])


@lru_cache(_REMEMBERED)
def read_dotted(field: bytes) -> Path:
    """Read a dotted path by the fixed rule."""
    first, *rest = field.split(b".")
    return (first, *(int(part) if is_index(part) else part for part in rest))


def is_ambiguous(path: Path) -> bool:
    """Whether the dotted form, read by the fixed rule, would give another path."""
    if len(path) == 1:
        key = path[0]
        return not key or b"." in key if isinstance(key, bytes) else True
    if not path:
        return True
    return any(isinstance(key, bytes) and (not key or b"." in key) for key in path) or (
        any(isinstance(key, bytes) and is_index(key) for key in path[1:]) or isinstance(path[0], int)
    )


def decoded(path: Path) -> TextPath:
    """A path of bytes as one of text."""
    return tuple(key if isinstance(key, int) else key.decode("utf-8", "surrogateescape") for key in path)


def encoded(path: TextPath) -> Path:
    """A path of text as one of bytes."""
    return tuple(key if isinstance(key, int) else key.encode("utf-8", "surrogateescape") for key in path)


@lru_cache(_REMEMBERED)
def read_text(field: str) -> TextPath:
    """Read a dotted path by the fixed rule."""
    return decoded(read_dotted(field.encode("utf-8", "surrogateescape")))


def dotted_text(path: TextPath) -> str:
    """Join a path the way MongoDB writes it."""
    return ".".join(str(key) for key in path)


def pattern(path: TextPath) -> str:
    """A path without its indexes, as MongoDB writes “all elements”: `items.$[].qty`."""
    return ".".join("$[]" if isinstance(key, int) else key for key in path)
