"""What the tests of the pipeline share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.pipeline_stages import PATIENCE_S, Running
from watcher import retry
from watcher.stream import pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.pipeline_stages import Stages


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    """A function that starts a pipeline. At the end all are told to stop, and no thread may be left."""
    runs: list[Running] = []

    def start(stages: Stages, beside: Mapping[str, Callable[[], None]] | None = None, **options: Any) -> Running:
        running = Running(stages, **options)
        runs.append(running)
        running.pipeline.start(beside)
        return running

    yield start
    for running in runs:
        running.stop.set()
        for thread in running.pipeline._stages:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), f"{thread.name} is left behind"


@pytest.fixture
def _patience_of_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between attempts, and save after every write, so that every interleaving is seen."""
    monkeypatch.setattr(retry, "FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(pipeline, "CHECKPOINT_EVERY_S", 0.0)
