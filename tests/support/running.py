"""A pipeline that runs over stages in memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

from tests.support.daemon import eventually
from tests.support.stages import PATIENCE_S
from watcher.health.progress import Progress
from watcher.stream.pipeline import Pipeline

if TYPE_CHECKING:
    from tests.support.stages import Stages
    from watcher.stream.pipeline import Checkpoints


class Running:
    """A pipeline over stages in memory; always stopped in the end."""

    def __init__(self, stages: Stages, batch_size: int = 100, flush_interval_s: float = 0) -> None:
        self.stages = stages
        self.stop = threading.Event()
        self.progress = Progress()
        self.pipeline = Pipeline(
            stages,
            stages,
            stages,
            cast("Checkpoints", stages),  # its arguments have other names, being unused
            on_new_collection=stages.appeared,
            on_renamed=stages.renamed,
            on_lost=stages.lost,
            progress=self.progress,
            stop=self.stop,
            batch_size=batch_size,
            flush_interval_s=flush_interval_s,
        )

    def ends(self, patience_s: float = PATIENCE_S) -> None:
        """Wait for the end; raises what made a stage fail."""
        ended = self.pipeline.wait(patience_s)
        assert ended, f"these stages never ended: {[t.name for t in self.pipeline._threads if t.is_alive()]}"

    def written(self, events: int) -> None:
        """Wait until so many events are written."""
        eventually(lambda: len(self.stages.written()) >= events or self.stop.is_set(), "the writes", PATIENCE_S)

    def stopped(self) -> Stages:
        """Stop in order."""
        self.stop.set()
        self.ends()
        return self.stages
