"""Which elements stayed: few wrong lines in a diff, and never a terminal taken hostage."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from change_history.diff.compare import MOST_COMPARISONS, aligned, longest_rise

small = st.lists(st.integers(0, 5), max_size=14)


@given(small, small)
def test_pairs_are_equal_and_rise_on_both_sides(old: list[int], new: list[int]) -> None:
    """Otherwise an element would be shown twice or not at all."""
    found = aligned(old, new)

    assert all(old[one] == new[other] for one, other in found)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(found))


@given(st.permutations(range(9)))
def test_of_a_permutation_as_many_as_possible_stay(order: list[int]) -> None:
    """The fewest elements are shown as gone and come."""
    best = max(size for size in range(10) if _rises(order, size))

    assert len(longest_rise(order)) == best
    assert [new for _, new in aligned(range(9), order)] == sorted(new for _, new in aligned(range(9), order))
    assert len(aligned(range(9), order)) == best


def _rises(order: list[int], size: int) -> bool:
    """Whether a rising subsequence of this length exists."""
    lengths: list[int] = []
    for at, number in enumerate(order):
        lengths.append(1 + max((lengths[i] for i in range(at) if order[i] < number), default=0))
    return max(lengths, default=0) >= size


def test_edits_far_apart_in_a_huge_array_are_found() -> None:
    """A hundred thousand elements; the product of the two sizes would be ten thousand million comparisons."""
    old = list(range(100_000))
    new = [-1, *old[:50_000], *old[50_001:], -2]

    assert len(aligned(old, new)) == len(old) - 1


def test_repeated_elements_cost_no_more_than_allowed() -> None:
    """The worst there is: nothing occurs once. Beginnings and ends are still paired, the rest is left alone."""
    dice = random.Random(1)
    middle, other = ([dice.randrange(2) for _ in range(20_000)] for _ in range(2))

    found = aligned([5, 6, *middle, 7], [5, 6, *other, 8, 7])

    assert len(middle) * len(other) > MOST_COMPARISONS
    assert found[:2] == [(0, 0), (1, 1)]
    assert found[-1] == (len(middle) + 2, len(other) + 3)
