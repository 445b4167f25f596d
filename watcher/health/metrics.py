"""The daemon's counters as Prometheus metrics."""

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

    from watcher.health.progress import Progress


class Metrics:
    """The metrics of one daemon, in a registry of its own."""

    def __init__(self, progress: Progress, stream: str) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(progress, stream))
        ProcessCollector(registry=self._registry)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Format the metrics.

        Args:
            accept: the request's header `Accept`; it decides between Prometheus' text format and OpenMetrics.

        Returns:
            The text and its content type.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Collector(Collector):
    """Reads the counters on each scrape, so that metrics cost the hot path nothing."""

    def __init__(self, progress: Progress, stream: str) -> None:
        self._progress = progress
        self._build = {
            "version": version("mongo-change-watcher"),
            "python": platform.python_version(),
            "stream": stream,
        }

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its present value; unknown ones are omitted."""
        yield from self._counters()
        yield from self._state()
        yield from self._times()
        yield InfoMetricFamily("watcher_build", "The running program, and the stream it records.", self._build)

    def _counters(self) -> Iterator[Metric]:
        progress = self._progress
        events = CounterMetricFamily("watcher_events", "Events recorded.", labels=("namespace", "operation"))
        for labels, count in progress.tally.counts().items():
            events.add_metric(labels, count)
        yield events
        retries = CounterMetricFamily("watcher_troubles", "Passing errors, each tried again.", labels=("deployment",))
        for deployment, count in progress.retries_of.items():
            retries.add_metric((deployment.value,), count)
        yield retries
        yield CounterMetricFamily(
            "watcher_rejected", "Events set aside, as they could not be stored.", progress.rejected
        )
        yield CounterMetricFamily("watcher_gaps", "Gaps recorded: events were lost for good.", progress.gaps)
        yield CounterMetricFamily("watcher_batches", "Writes to the history.", progress.batches)

    def _state(self) -> Iterator[Metric]:
        progress = self._progress
        judgement = progress.judgement()
        yield GaugeMetricFamily("watcher_ready", "Whether /ready says so.", judgement.ready)
        yield GaugeMetricFamily("watcher_leader", "Whether this daemon leads its stream.", progress.role == "leader")
        yield GaugeMetricFamily("watcher_term", "The lease's term that this daemon led last.", progress.term)
        queues = GaugeMetricFamily(
            "watcher_queue_events", "Events that were read and wait for a stage, or are in it.", labels=("stage",)
        )
        queues.add_metric(("record",), max(0, progress.heard - progress.recorded))
        queues.add_metric(("write",), max(0, progress.recorded - progress.acknowledged))
        yield queues
        yield GaugeMetricFamily(
            "watcher_in_flight_bytes", "Size of the events that were read and are not stored yet.", progress.bytes
        )

    def _times(self) -> Iterator[Metric]:
        progress = self._progress
        saved = progress.saved
        known = {
            "watcher_lag_seconds": ("How far history is behind, by the server's clock.", progress.lag_s),
            "watcher_checkpoint_timestamp_seconds": (
                "Cluster time of the saved position, in seconds since 1970.",
                saved.seconds if saved is not None else None,
            ),
            "watcher_checkpoint_age_seconds": (
                "How far the saved position is behind, by the server's clock.",
                progress.checkpoint_age_s,
            ),
            "watcher_oplog_headroom_seconds": (
                "Oplog before the saved position: so long may it stand still before events are lost.",
                progress.oplog_headroom_s,
            ),
        }
        for name, (meaning, value) in known.items():
            if value is not None:
                yield GaugeMetricFamily(name, meaning, value)
