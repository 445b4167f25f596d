"""A collection that was given another name may have to be read: that is noted before the position passes its event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo.errors import AutoReconnect

from tests.support.daemon import eventually
from tests.support.pipeline_stages import Stages, fail_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.pipeline_stages import Running


def test_no_position_is_saved_before_a_renaming_is_noted(run: Callable[..., Running]) -> None:
    """A kill in between would leave the collection unread for ever: its event does not come again."""
    trouble = fail_with(AutoReconnect("gone"), AutoReconnect("gone"))
    stages = Stages([1, 2], appearing=True, on_renamed=trouble)
    running = run(stages)
    eventually(lambda: len(stages.of("renamed")) == 2, "both renamings")
    running.stopped()

    renamed = [call.number for call in stages.of("renamed")]
    assert renamed == [1, 3]
    whats = [(call.what, call.number) for call in stages.calls]
    first_save = next(index for index, (what, number) in enumerate(whats) if what == "save" and number >= 1)
    assert whats.index(("renamed", 1)) < first_save
    assert next(index for index, (what, number) in enumerate(whats) if what == "write" and number >= 1) < whats.index(
        ("renamed", 1)
    )
