"""Metrics over a real socket, as Prometheus reads them."""

import threading

from tests.support.health import NOW, ask, hear, samples_of, write
from watcher.health.http import HealthServer
from watcher.health.progress import MOST_NAMESPACES, Progress
from watcher.steps import Deployment, Step


def test_metrics_are_read_by_prometheus(server: HealthServer, progress: Progress) -> None:
    """Each by the name that dashboards and alerts rely on; names of collections may hold anything."""
    odd = 'shop.a"b\\c\nd'
    write(progress, {("shop.users", "update"): 2, (odd, "insert"): 1}, rejected=1)
    progress.retrying(Step.WRITE, TimeoutError())
    progress.gap()
    progress.leads(7)
    write(progress, {})
    progress.oplog_since = NOW - 3600
    hear(progress, 2)

    response, _ = ask(server, "/metrics")
    samples = samples_of(server)

    assert (response.headers["Content-Type"] or "").startswith("text/plain; version=0.0.4")
    assert samples["watcher_events_total", ("namespace", "shop.users"), ("operation", "update")] == 2
    assert samples["watcher_events_total", ("namespace", odd), ("operation", "insert")] == 1
    assert samples["watcher_rejected_total",] == 1
    assert samples["watcher_batches_total",] == 1
    assert samples["watcher_gaps_total",] == 1
    retries = {each: samples["watcher_troubles_total", ("deployment", each)] for each in Deployment}
    assert retries == {"watched": 0, "history": 1, "either": 0}
    assert (samples["watcher_leader",], samples["watcher_term",], samples["watcher_ready",]) == (1, 7, 1)
    queues = [samples["watcher_queue_events", ("stage", stage)] for stage in ("record", "write")]
    assert (queues, samples["watcher_in_flight_bytes",]) == ([2, 0], 20)
    assert (samples["watcher_lag_seconds",], samples["watcher_checkpoint_age_seconds",]) == (0, 0)
    assert samples["watcher_checkpoint_timestamp_seconds",] == NOW
    assert samples["watcher_oplog_headroom_seconds",] == 3600
    assert samples["process_resident_memory_bytes",] > 0
    (build,) = (labels for name, *labels in samples if name == "watcher_build_info")
    assert [label for label, _ in build] == ["python", "stream", "version"]


def test_what_is_not_known_is_not_a_metric(server: HealthServer) -> None:
    """A lag of 0 before the first answer, or an oplog that overtakes us now, would be lies."""
    unknown = {"lag_seconds", "checkpoint_timestamp_seconds", "checkpoint_age_seconds", "oplog_headroom_seconds"}
    assert not {name for name, *_ in samples_of(server)} & {f"watcher_{name}" for name in unknown}


def test_the_number_of_time_series_is_bounded(server: HealthServer, progress: Progress) -> None:
    """A collection for each customer would cost whoever scrapes us as many series."""
    for number in range(MOST_NAMESPACES + 500):
        write(progress, {(f"shop.c{number}", "insert"): 1})
    events = [labels for name, *labels in samples_of(server) if name == "watcher_events_total"]

    assert len(events) == MOST_NAMESPACES + 1
    assert [("namespace", "other"), ("operation", "insert")] in events


def test_openmetrics_is_given_to_who_asks_for_it(server: HealthServer) -> None:
    """Prometheus itself does."""
    response, body = ask(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")

    assert (response.headers["Content-Type"] or "").startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_counting_while_being_read_disturbs_nobody(server: HealthServer, progress: Progress) -> None:
    """A dictionary that grows while it is walked through raises; a scrape must not see that."""
    stop = threading.Event()

    def count() -> None:
        for number in range(20_000):
            if stop.is_set():
                return
            write(progress, {(f"shop.c{number}", "insert"): 1})

    writer = threading.Thread(target=count)
    writer.start()
    try:
        statuses = {ask(server, "/metrics")[0].status for _ in range(5)}
    finally:
        stop.set()
        writer.join()

    assert statuses == {200}
