"""The partitions of a stream, and the names of their checkpoints."""

from __future__ import annotations

import re
from typing import NamedTuple

MOST = 64
"""Maximum number of partitions. Each reads the whole oplog, so this many would overload any server."""

_FORM = re.compile(r"([1-9][0-9]{0,2})/([1-9][0-9]{0,2})")
_BETWEEN = ":"
"""Separates the name of a stream and the partition; no name of a stream can contain it."""


class Partition(NamedTuple):
    """A share of a stream: the documents whose `_id` hashes to it.

    Attributes:
        number: from 1 on.
    """

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> Partition:
        """Read `2/4`: the second of four partitions.

        Raises:
            ValueError: the text is no partition.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise ValueError("it is not of the form I/N")
        partition = cls(int(found[1]), int(found[2]))
        if partition.total > MOST:
            raise ValueError(f"a stream has {MOST} partitions at most")
        if partition.number > partition.total:
            raise ValueError(f"there is no partition {partition.number} of {partition.total}")
        return partition

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def all_of(total: int) -> tuple[Partition | None, ...]:
    """The partitions of a stream; only None, the whole stream, for 1."""
    return tuple(Partition(number, total) for number in range(1, total + 1)) if total > 1 else (None,)


def checkpoint_of(stream: str, partition: Partition | None) -> str:
    """The name of a checkpoint, and of its lease, its term and its gaps: `default`, or `default:2/4`."""
    return stream if partition is None else f"{stream}{_BETWEEN}{partition}"


def read(checkpoint: str) -> tuple[str, Partition | None]:
    """The stream and the partition in a checkpoint's name; a name of another form is that of a whole stream."""
    stream, _, text = checkpoint.rpartition(_BETWEEN)
    try:
        return (stream, Partition.parse(text)) if stream else (checkpoint, None)
    except ValueError:
        return checkpoint, None


def share(checkpoint: str, other: str) -> bool:
    """Whether two checkpoints can cover the same document.

    Two partitions of one division have no document in common; those of different divisions may have.
    """
    (stream, mine), (other_stream, another) = read(checkpoint), read(other)
    if stream != other_stream:
        return False
    return mine is None or another is None or mine.total != another.total or mine.number == another.number
