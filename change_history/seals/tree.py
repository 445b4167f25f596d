"""The hash tree over what a seal covers: that of RFC 6962, section 2.1, with SHA-256."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LEAF, NODE = b"\x00", b"\x01"
"""Prefixes of a hashed leaf and of a hashed pair, so that neither can be taken for the other."""

_PAIR = 64

EMPTY = sha256(b"").digest()
"""The root of a tree without leaves."""


def leaves(contents: Iterable[bytes]) -> list[bytes]:
    """The hashes of the leaves."""
    return [sha256(LEAF + content).digest() for content in contents]


def root(hashes: Sequence[bytes]) -> bytes:
    """The root over hashes: those of leaves, or the roots of subtrees of one size, of which the last may be smaller.

    The size of a subtree must be a power of two.
    """
    level = list(hashes)
    while len(level) > 1:
        level = _above(level)
    return level[0] if level else EMPTY


def path(hashes: Sequence[bytes], index: int) -> list[tuple[str, bytes]]:
    """The audit path from one hash to the root: at each step the side of the sibling, and its hash."""
    level, found = list(hashes), []
    while len(level) > 1:
        beside = index ^ 1
        if beside < len(level):
            found.append(("left" if beside < index else "right", level[beside]))
        level, index = _above(level), index // 2
    return found


def _above(level: list[bytes]) -> list[bytes]:
    joined = b"".join(level)
    whole = len(joined) - len(joined) % _PAIR
    above = [sha256(NODE + joined[at : at + _PAIR]).digest() for at in range(0, whole, _PAIR)]
    return above + level[-1:] if len(level) % 2 else above
