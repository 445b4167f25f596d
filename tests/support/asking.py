"""A daemon's progress made up, and what is answered about it over HTTP."""

from __future__ import annotations

import http.client
from contextlib import closing
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from watcher.stream.batch import Batch, Entry, Position, Recorded, Rejected

if TYPE_CHECKING:
    from watcher.health.http import HealthServer
    from watcher.health.progress import Progress

Samples = dict[tuple[Any, ...], float]
"""Name and labels → value."""

NOW = 1_700_000_000
POSITION = Position(b"token", bytes(4) + NOW.to_bytes(4, "little"))


def hear(progress: Progress, events: int) -> None:
    """Let a batch be listened to, 10 bytes an event."""
    progress.listened(Batch([b"0123456789"] * events, POSITION), NOW)


def write(progress: Progress, counts: dict[tuple[str, str], int], rejected: int = 0) -> None:
    """Let a batch be listened to, recorded, written, and passed by the checkpoint."""
    entries = [Entry(b"", b"0123456789")] * sum(counts.values())
    recorded = Recorded(entries, [Rejected(b"0123456789", "")] * rejected, POSITION, counts)
    hear(progress, len(recorded))
    progress.turned(recorded)
    progress.written(recorded, rejected)
    progress.checkpointed(POSITION)


def ask(server: HealthServer, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    """Send one request."""
    with closing(http.client.HTTPConnection(*server.address, timeout=5)) as connection:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()


def samples_of(server: HealthServer) -> Samples:
    """What is exposed: name and labels → value."""
    _, body = ask(server, "/metrics")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
