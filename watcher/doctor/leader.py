"""Reports the stream's leader."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from change_history.partition import read
from watcher.doctor.finding import ok, span, warning
from watcher.leadership.takeover import leader
from watcher.operations.repartition import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject

NAME = "leader"


def check(subject: Subject) -> Iterator[Finding]:
    """The lease in the checkpoint, if there is one."""
    lease = (subject.checkpoint or {}).get("lease")
    if isinstance(lease, dict):
        yield judge(lease, subject.history_client.admin.command("hello")["localTime"])
    if subject.settings.recorded_partition is None:
        return
    for name in Layout(subject.history, subject.settings.stream).checkpoints():
        if name != subject.settings.checkpoint and leader(subject.history, name) is None:
            yield warning(
                NAME,
                f"nobody records {name}: changes of its documents are missing",
                f"watcher run --stream {subject.settings.stream} --partition {read(name)[1]}",
            )


def judge(lease: Mapping[str, Any], now: datetime) -> Finding:
    """Report who holds the lease, and whether it is still valid.

    Args:
        lease: `owner`, `term`, `expires_at`, `host`, `pid`.
        now: the clock of the deployment that keeps the lease.
    """
    facts = dict(lease)
    who = f"{lease.get('host') or lease.get('owner') or 'a daemon'}"
    if lease.get("pid"):
        who += f", process {lease['pid']}"
    term = f"term {lease.get('term', 'unknown')}"
    expires = lease.get("expires_at")
    if not lease.get("owner") or not isinstance(expires, datetime):
        return ok(NAME, f"nobody leads; last {term}", **facts)
    left = (_aware(expires) - _aware(now)).total_seconds()
    if left > 0:
        return ok(NAME, f"{who} leads, {term}, for another {span(left)} unless renewed", **facts)
    return ok(NAME, f"nobody leads; {who} did until {span(-left)} ago, {term}", **facts)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
