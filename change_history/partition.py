"""Which part of a stream a daemon records, and how checkpoints of parts are called."""

from __future__ import annotations

import re
from typing import NamedTuple

MOST = 64
"""Every part's stream reads the whole oplog; so many are more than any server bears."""

_FORM = re.compile(r"([1-9][0-9]{0,2})/([1-9][0-9]{0,2})")
_BETWEEN = ":"
"""Stands between the name of a stream and the part; no stream's own name can hold it."""


class Part(NamedTuple):
    """One part of a stream.

    Attributes:
        number: from 1 on.
        parts: how many there are.
    """

    number: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read `2/4`: the second of four parts.

        Raises:
            ValueError: it is no such thing.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise ValueError("it is not of the form I/N")
        part = cls(int(found[1]), int(found[2]))
        if part.parts > MOST:
            raise ValueError(f"a stream has {MOST} parts at most")
        if part.number > part.parts:
            raise ValueError(f"there is no part {part.number} of {part.parts}")
        return part

    def __str__(self) -> str:
        return f"{self.number}/{self.parts}"


def all_of(parts: int) -> tuple[Part | None, ...]:
    """The parts that a stream is split into; None, the whole, for 1."""
    return tuple(Part(number, parts) for number in range(1, parts + 1)) if parts > 1 else (None,)


def checkpoint_of(stream: str, part: Part | None) -> str:
    """The name of a checkpoint, which is also that of its lease, its term and its gaps: `default`, or `default:2/4`."""
    return stream if part is None else f"{stream}{_BETWEEN}{part}"


def read(checkpoint: str) -> tuple[str, Part | None]:
    """The stream and the part that a checkpoint's name means; what has no such form is the name of a whole stream."""
    stream, _, text = checkpoint.rpartition(_BETWEEN)
    try:
        return (stream, Part.parse(text)) if stream else (checkpoint, None)
    except ValueError:
        return checkpoint, None


def share(checkpoint: str, other: str) -> bool:
    """Whether a document that the one checkpoint is about can be among those that the other is about.

    Two parts of one division have no document in common; a part, and one of another division, may have.
    """
    (stream, mine), (other_stream, another) = read(checkpoint), read(other)
    if stream != other_stream:
        return False
    return mine is None or another is None or mine.parts != another.parts or mine.number == another.number
