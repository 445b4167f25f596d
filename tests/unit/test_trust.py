"""Since when history may be trusted."""

from __future__ import annotations

from change_history.bson.cluster_time import ClusterTime
from change_history.reconstruct.trust import GapBounds, trusted_since


def _at(second: int) -> ClusterTime:
    return ClusterTime.start_of(second)


def _before(second: int) -> ClusterTime:
    return ClusterTime.end_of(second - 1)


BEGUN = _at(100)


def test_history_from_before_the_stream_began_is_not_trusted() -> None:
    """Another stream may have written it, and stopped. The baseline stands one tick before the stream's beginning."""
    assert trusted_since(_at(500), BEGUN, []) == _before(100)


def test_what_was_stated_before_a_gap_is_not_trusted_after_it() -> None:
    """Not before the documents were compared with history, and not in between."""
    assert trusted_since(_at(500), BEGUN, [GapBounds(_at(200), _at(300), None)]) == _before(300)
    assert trusted_since(_at(350), BEGUN, [GapBounds(_at(200), _at(300), _at(400))]) == _before(300)
    assert trusted_since(_at(400), BEGUN, [GapBounds(_at(200), _at(300), _at(400))]) == _before(300)


def test_a_gap_that_is_level_again_costs_nothing() -> None:
    """Every document was compared: what history says since then is whole."""
    assert trusted_since(_at(401), BEGUN, [GapBounds(_at(200), _at(300), _at(400))]) == _before(100)


def test_a_later_gap_does_not_matter_to_what_happened_before() -> None:
    """Events read again are told the same."""
    assert trusted_since(_at(150), BEGUN, [GapBounds(_at(200), _at(300), None)]) == _before(100)


def test_the_worst_of_several_gaps_counts() -> None:
    """One is level, another is not."""
    gaps = [
        GapBounds(_at(200), _at(210), _at(220)),
        GapBounds(_at(300), _at(310), None),
        GapBounds(_at(250), _at(260), None),
    ]
    assert trusted_since(_at(500), BEGUN, gaps) == _before(310)
