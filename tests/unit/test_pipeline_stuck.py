"""A stage of a running pipeline hangs for good: which one is told, whichever threads go on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from pymongo.errors import AutoReconnect

from tests.support.daemon import eventually
from tests.support.pipeline_stages import Stages
from watcher.health.readiness import Bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.pipeline_stages import Running
    from watcher.health.progress import Progress

pytestmark = pytest.mark.usefixtures("_patience_of_machines")

SHORT = Bounds(ready_s=0.3, live_s=1.0, opening_s=60.0)


@pytest.fixture
def hang() -> Iterator[Callable[[], None]]:
    """What a stage does from the fourth time on: wait, until the test is over."""
    over = threading.Event()
    calls: list[None] = []

    def action() -> None:
        calls.append(None)
        if len(calls) > 3:
            over.wait()

    yield action
    over.set()


def becomes_stuck(progress: Progress, told: str) -> None:
    """Wait until it is ready, then not for the reason that begins so, then not alive."""
    eventually(lambda: progress.opened and progress.judgement().ready, "readiness")
    eventually(lambda: any(reason.startswith(told) for reason in progress.judgement().reasons), "the reason")
    eventually(lambda: not progress.alive(), "the end of its life")


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ("on_read", "watched deployment: listening to the change stream has come to no end"),
        ("on_record", "history deployment: recording has come to no end"),
        ("on_write", "history deployment: writing history has come to no end"),
        ("on_save", "history deployment: saving the checkpoint has come to no end"),
    ],
)
def test_a_stage_that_hangs_is_found_out(
    run: Callable[..., Running], hang: Callable[[], None], stage: str, told: str
) -> None:
    """However many others beat their drums."""
    stages = Stages(iter(lambda: 1, 0))
    setattr(stages, stage, hang)
    running = run(stages, batch_size=1)
    running.progress.bounds = SHORT

    becomes_stuck(running.progress, told)


def test_a_checkpoint_that_is_never_moved_is_found_out(
    run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stage is busy and content, and nothing is durable: the mistake of a programmer, ours for example."""
    stages = Stages(iter(lambda: 1, 0))
    running = run(stages, batch_size=1)
    running.progress.bounds = SHORT
    eventually(lambda: running.progress.opened, "readiness")
    monkeypatch.setattr("watcher.stream.pipeline.CHECKPOINT_EVERY_S", 3600.0)

    told = "the checkpoint has not moved for"
    eventually(lambda: any(why.startswith(told) for why in running.progress.judgement().reasons), "the reason")
    eventually(lambda: not running.progress.alive(), "the end of its life")


def test_a_server_that_is_away_leaves_it_alive(run: Callable[..., Running]) -> None:
    """A restart would meet the same; the reason says which server it is."""

    def away() -> None:
        raise AutoReconnect("gone")

    stages = Stages([1, 1], on_write=away)
    running = run(stages)
    eventually(lambda: running.progress.retries > 5, "trouble")

    live, reasons = running.progress.judgement()
    assert live
    assert "history deployment: writing history failed, trying again: AutoReconnect" in reasons
