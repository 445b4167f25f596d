"""What the daemon has done so far, in the words of Prometheus."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from watcher.progress import Progress


class Metrics:
    """The metrics of one daemon, in a registry of its own.

    Args:
        progress: what has been done.
        stream: the name of the stream.
    """

    def __init__(self, progress: Progress, stream: str) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(progress, stream))
        ProcessCollector(registry=self._registry)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Write the metrics down.

        Args:
            accept: the header `Accept` of whoever asks; it decides between Prometheus' text and OpenMetrics.

        Returns:
            The text and its content type.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Collector(Collector):
    """Reads the counters when asked, so that counting costs the hot path nothing."""

    def __init__(self, progress: Progress, stream: str) -> None:
        self._progress = progress
        self._build = {
            "version": version("mongo-change-watcher"),
            "python": platform.python_version(),
            "stream": stream,
        }

    def collect(self) -> Iterator[Metric]:
        """Give every metric with its present value."""
        progress = self._progress
        events = CounterMetricFamily("watcher_events", "Events recorded.", labels=("namespace", "operation"))
        for labels, count in progress.by_kind.copy().items():  # copied at once: the writing thread adds keys
            events.add_metric(labels, count)
        yield events
        yield CounterMetricFamily(
            "watcher_rejected", "Events set aside, as they could not be stored.", progress.rejected
        )
        yield CounterMetricFamily("watcher_batches", "Writes to the history.", progress.batches)
        yield CounterMetricFamily("watcher_troubles", "Passing errors, each tried again.", progress.troubles)
        yield GaugeMetricFamily(
            "watcher_lag_seconds",
            "Seconds between the newest thing the server told and the newest that is recorded.",
            progress.lag_s,
        )
        yield InfoMetricFamily("watcher_build", "The running program, and the stream it records.", self._build)
