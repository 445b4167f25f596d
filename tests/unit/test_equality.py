"""Ids are compared as the server compares them."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId

from change_history.bson.equality import key_of
from change_history.bson.values import Symbol, to_raw

SAME: list[list[Any]] = [
    [1, 1.0, Int64(1), Decimal128("1"), Decimal128("1.00")],
    [0, -0.0, Decimal128("-0"), Decimal128("0E+10")],
    [float("nan"), Decimal128("NaN"), -float("nan")],
    [2**53 + 1, Int64(2**53 + 1), Decimal128(str(2**53 + 1))],
    [float(2**53)],
    [0.1],
    [Decimal128("0.1")],
    ["1", Symbol("1")],
    [True],
    [None],
    [{"a": 1}, {"a": 1.0}],
    [{"a": 1, "b": 2}],
    [{"b": 2, "a": 1}],
    [[1, 2], [1.0, Int64(2)]],
    [ObjectId("64b7f0000000000000000000")],
    [float("inf"), Decimal128("Infinity")],
]


@pytest.mark.parametrize("number", range(len(SAME)))
def test_one_id_to_the_server_is_one_document_here(number: int) -> None:
    """Two timelines for one document would each be half; one for two would mix them."""
    keys = {key_of(to_raw(value)) for value in SAME[number]}
    assert len(keys) == 1
    others = {key_of(to_raw(value)) for group in SAME[:number] + SAME[number + 1 :] for value in group}
    assert keys.isdisjoint(others)
