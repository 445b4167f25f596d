"""Compares this machine's clock with the servers': ages, lag and `2h ago` depend on both."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from watcher.doctor.finding import ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject

TOLERATED_S = 1.0


def judge(name: str, skew_s: float, unsure_s: float) -> Finding:
    """Judge by how much a server's clock is ahead of this machine's.

    Args:
        skew_s: seconds; below zero: behind.
        unsure_s: uncertainty in seconds: half of the round-trip time.
    """
    facts = {"skew_seconds": round(skew_s, 3), "unsure_seconds": round(unsure_s, 3)}
    if abs(skew_s) <= unsure_s:
        return ok(name, f"agrees with this machine's, as far as {unsure_s:.3f} s can tell", **facts)
    words = f"{abs(skew_s):.3f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's"
    if abs(skew_s) - unsure_s <= TOLERATED_S:
        return ok(name, words, **facts)
    return warning(
        name, words, "Let both follow one time server; `timedatectl` or `chronyc tracking` say more.", **facts
    )


def watched(subject: Subject) -> Iterator[Finding]:
    """The watched deployment's clock."""
    yield judge("clock of the watched deployment", *_measured(subject.watched))


def history(subject: Subject) -> Iterator[Finding]:
    """The history deployment's clock."""
    yield judge("clock of the history deployment", *_measured(subject.history_client))


def _measured(client: MongoClient[Any]) -> tuple[float, float]:
    client.admin.command("ping")  # connected
    before = time.time()
    there = client.admin.command("hello")["localTime"].timestamp()
    after = time.time()
    return there - (before + after) / 2, (after - before) / 2
