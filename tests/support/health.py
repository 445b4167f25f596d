"""A daemon's progress made up, what is answered about it over HTTP, and the queries that dashboards and alerts make."""

from __future__ import annotations

import http.client
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import promql_parser
from prometheus_client.parser import text_string_to_metric_families

from change_history.bson.cluster_time import ClusterTime
from watcher.stream.batch import Batch, Entry, Position, Recorded, RejectedEvent

if TYPE_CHECKING:
    from watcher.health.http import HealthServer
    from watcher.health.progress import Progress

Samples = dict[tuple[Any, ...], float]
"""Name and labels → value."""

NOW = 1_700_000_000
POSITION = Position(b"token", ClusterTime.start_of(NOW))


def hear(progress: Progress, events: int) -> None:
    """Let a batch be listened to, 10 bytes an event."""
    progress.listened(Batch([b"0123456789"] * events, POSITION), NOW)


def write(progress: Progress, counts: dict[tuple[str, str], int], rejected: int = 0) -> None:
    """Let a batch be listened to, recorded, written, and passed by the checkpoint."""
    entries = [Entry(b"", b"0123456789")] * sum(counts.values())
    recorded = Recorded(entries, [RejectedEvent(b"0123456789", "")] * rejected, POSITION, counts)
    hear(progress, len(recorded))
    progress.turned(recorded)
    progress.written(recorded, rejected)
    progress.checkpointed(POSITION)


def ask(server: HealthServer, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    """Send one request."""
    with closing(http.client.HTTPConnection(*server.address, timeout=60)) as connection:
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


SCRAPED = frozenset({"job", "instance"})
"""Labels that Prometheus itself adds to whatever it scrapes."""

_INTERVAL = re.compile(r"\$__\w*interval\b")
_TEMPLATED = re.compile(r"\$labels\.(\w+)")

Exposed = dict[str, frozenset[str]]
"""Metric → its labels."""


class Selector(NamedTuple):
    """A metric that is named, and the labels that are asked for in its braces."""

    metric: str
    matched: frozenset[str]


class _Visitor:
    def __init__(self) -> None:
        self.selectors: list[Selector] = []
        self.grouped: list[tuple[Any, frozenset[str]]] = []

    def note(self, node: Any) -> None:
        """Note what is named."""
        if isinstance(node, promql_parser.VectorSelector):
            matched = frozenset(matcher.name for matcher in node.matchers.matchers)
            self.selectors.append(Selector(node.name or "", matched))
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            self.grouped.append((node, frozenset(node.modifier.labels)))
        elif isinstance(node, promql_parser.BinaryExpr) and node.modifier is not None:
            modifier = node.modifier
            matching = frozenset(modifier.matching.labels if modifier.matching is not None else ())
            self.grouped.append((node, matching | frozenset(modifier.group_labels or ())))


def _visit(node: Any) -> _Visitor:
    visitor = _Visitor()
    promql_parser.walk(node, visitor.note)
    return visitor


def problems(expression: str, exposed: Exposed) -> list[str]:
    """What is wrong with an expression: its grammar and types, and each metric and label that is not exposed.

    Args:
        expression: PromQL; Grafana's intervals are understood.
        exposed: every metric, with its labels.
    """
    try:
        tree = promql_parser.parse(_INTERVAL.sub("5m", expression))
    except ValueError as error:
        return [f"{expression}: {error}"]
    found = []
    seen = _visit(tree)
    for metric, matched in seen.selectors:
        if metric not in exposed:
            found.append(f"{expression}: no metric {metric}")
        else:
            found += [f"{expression}: {metric} has no label {name}" for name in matched - exposed[metric] - SCRAPED]
    for node, labels in seen.grouped:
        known = SCRAPED.union(*(exposed.get(each.metric, frozenset()) for each in _visit(node).selectors))
        found += [f"{expression}: nothing here has a label {name}" for name in labels - known]
    return found


def labels_left(expression: str, exposed: Exposed) -> frozenset[str]:
    """The labels that the result of an expression may have; of an aggregation those that it groups by."""
    tree = promql_parser.parse(_INTERVAL.sub("5m", expression))
    while isinstance(tree, promql_parser.BinaryExpr | promql_parser.ParenExpr):
        tree = tree.lhs if isinstance(tree, promql_parser.BinaryExpr) else tree.expr
    if isinstance(tree, promql_parser.AggregateExpr):
        return frozenset(tree.modifier.labels) if tree.modifier is not None else frozenset()
    return SCRAPED.union(*(exposed.get(each.metric, frozenset()) for each in _visit(tree).selectors))


def templated(text: str) -> set[str]:
    """The labels that a text of an alert refers to."""
    return set(_TEMPLATED.findall(text))
