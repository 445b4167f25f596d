"""Paths of changes as Python sees them: keys are `str`, indexes `int`.

The rules are those of `change_history.bson.paths`, which works on bytes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from change_history.bson import paths
from change_history.bson.values import ABSENT
from change_history.stored.event import Change

Path: TypeAlias = tuple[str | int, ...]


def path_of(change: Change) -> Path:
    """The exact path of a change; the empty path is the whole document."""
    if change.path is not ABSENT:
        return tuple(change.path)
    return read(change.field)


def read(field: str) -> Path:
    """Read a dotted path by the rule of `change_history.bson.paths`."""
    return decoded(paths.read_dotted(field.encode("utf-8", "surrogateescape")))


def decoded(path: paths.Path) -> Path:
    """A path of bytes as one of text."""
    return tuple(key if isinstance(key, int) else key.decode("utf-8", "surrogateescape") for key in path)


def encoded(path: Path) -> paths.Path:
    """A path of text as one of bytes."""
    return tuple(key if isinstance(key, int) else key.encode("utf-8", "surrogateescape") for key in path)


def dotted(path: Path) -> str:
    """Join a path the way MongoDB writes it."""
    return ".".join(str(key) for key in path)


def pattern(path: Path) -> str:
    """A path without its indexes, as MongoDB writes “all elements”: `items.$[].qty`."""
    return ".".join("$[]" if isinstance(key, int) else key for key in path)


def change_at(path: Path, like: Change, **values: Any) -> Change:
    """A change of one path, made out of a recorded one.

    Args:
        like: the recorded change: when, and where its old value comes from.
        values: fields of `Change`, such as `old_value`.
    """
    if paths.is_ambiguous(encoded(path)):
        values["path"] = list(path)
    return Change(field=dotted(path), old_value_from=like.old_value_from, timestamp=like.timestamp, **values)
