"""Which elements of an array are still there, in the same order, in another one."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

MOST_COMPARISONS = 250_000
"""So much work, in pairs of elements, is spent on what is not told apart by elements that occur only once."""


def aligned(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Pair equal elements so that the pairs rise on both sides.

    Equal beginnings and ends are paired first; then elements that occur once on both sides, as many as keep their
    order (patience diff); what lies between two of these by `difflib`. The work is bounded, whatever the size: n log n
    for the former, `MOST_COMPARISONS` for the latter. What is not looked at any more stays without a partner.

    Args:
        old: elements that can be compared and hashed.
        new: likewise.

    Returns:
        Pairs of an old and a new index, in order.
    """
    begin = _common(old, new, range(min(len(old), len(new))))
    end = _common(old, new, range(-1, -min(len(old), len(new)) + begin - 1, -1))
    old_end, new_end = len(old) - end, len(new) - end
    pairs = [(index, index) for index in range(begin)]
    work = MOST_COMPARISONS
    at_old, at_new = begin, begin
    for anchor in [*_anchors(old[begin:old_end], new[begin:new_end], begin), (old_end, new_end)]:
        left, right = old[at_old : anchor[0]], new[at_new : anchor[1]]
        work -= len(left) * len(right)
        if left and right and work >= 0:
            pairs += [(at_old + one, at_new + other) for one, other in _by_blocks(left, right)]
        pairs.append(anchor)
        at_old, at_new = anchor[0] + 1, anchor[1] + 1
    pairs.pop()  # the end is no pair
    return [*pairs, *((old_end + index, new_end + index) for index in range(end))]


def longest_rise(numbers: Iterable[int]) -> list[int]:
    """A longest increasing subsequence of distinct numbers (by patience sorting)."""
    tops: list[int] = []
    below: dict[int, int | None] = {}
    for number in numbers:
        pile = bisect_left(tops, number)
        below[number] = tops[pile - 1] if pile else None
        tops[pile : pile + 1] = [number]
    members = []
    at = tops[-1] if tops else None
    while at is not None:
        members.append(at)
        at = below[at]
    return members[::-1]


def _common(old: Sequence[Hashable], new: Sequence[Hashable], indexes: range) -> int:
    return next((count for count, index in enumerate(indexes) if old[index] != new[index]), len(indexes))


def _anchors(old: Sequence[Hashable], new: Sequence[Hashable], offset: int) -> list[tuple[int, int]]:
    old_counts, new_counts = Counter(old), Counter(new)
    places = {item: index for index, item in enumerate(old) if old_counts[item] == 1 == new_counts[item]}
    partners = {places[item]: index for index, item in enumerate(new) if item in places}
    return [(offset + index, offset + partners[index]) for index in longest_rise(partners)]


def _by_blocks(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return [(block.a + index, block.b + index) for block in blocks for index in range(block.size)]
