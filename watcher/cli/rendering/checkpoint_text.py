"""A checkpoint in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bson import Timestamp

from change_history.bson import extended_json
from change_history.bson.values import document_to_python
from watcher.cli.parsing import moments
from watcher.cli.rendering.value_text import printable
from watcher.leadership.lease import holder_of

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument

_WIDTH = 12


def described(stored: RawBSONDocument, now: datetime, *, utc: bool) -> str:
    """A checkpoint as lines of a name and a value.

    Args:
        stored: the checkpoint document.
        now: the clock of the deployment that keeps it.
        utc: show times in UTC instead of the local zone.
    """
    return "\n".join(f"{name:<{_WIDTH}}{printable(value)}" for name, value in _facts(stored, now, utc=utc))


def token_text(token: Any) -> str:
    """A resume token as it can be typed: its hexadecimal digits where these are all of it, else JSON."""
    if isinstance(token, dict) and list(token) == ["_data"] and isinstance(token["_data"], str):
        return str(token["_data"])
    return extended_json.dumps(token)


def _facts(stored: RawBSONDocument, now: datetime, *, utc: bool) -> list[tuple[str, str]]:
    found = document_to_python(stored)
    facts = [("stream", str(found["_id"]))]
    aware = now if now.tzinfo else now.replace(tzinfo=UTC)
    position = found.get("cluster_time")
    if isinstance(position, Timestamp):
        zone = UTC if utc else None
        facts += [
            ("position", f"{moments.clock(position, zone)}  {moments.exact(position)}"),
            ("age", moments.span(max(aware.timestamp() - position.time, 0))),
            ("token", token_text(found.get("token"))),
        ]
    else:
        facts.append(("position", "none yet"))
    options, replica_set = _document(found.get("options")), _document(found.get("replica_set"))
    if options:  # a stream that is only just led has none
        facts += [
            ("include", _globs(options.get("include"))),
            ("exclude", _globs(options.get("exclude")) or "nothing"),
            ("history", str(options.get("own_database", ""))),
            ("replica set", f"{replica_set.get('name')} ({replica_set.get('id') or 'id unknown'})"),
            ("events", str(found.get("events", 0))),
        ]
    if lease := _document(found.get("lease")):
        facts.append(("leader", _leader(lease, aware)))
    saved = found.get("updated_at")
    if isinstance(saved, datetime):
        facts.append(("saved", saved.astimezone(UTC if utc else None).isoformat(" ", "seconds")))
    if "survey" in found:
        kept = found["survey"]
        plans = kept if isinstance(kept, list) else [kept]
        facts.append(("backfill", f"{', '.join(str(_document(plan).get('kind')) for plan in plans)} under way"))
    return facts


def _document(value: Any) -> dict[str, Any]:
    """The value if it is a document: a checkpoint may be damaged, and is shown as far as it can be."""
    return value if isinstance(value, dict) else {}


def _globs(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else ""


def _leader(lease: dict[str, Any], now: datetime) -> str:
    expires_at = lease.get("expires_at")
    left_s = (expires_at - now).total_seconds() if isinstance(expires_at, datetime) else 0.0
    holder = holder_of(lease, left_s * 1000)
    term = f"term {lease.get('term')}"
    return f"{holder}, {term}, for {holder.left_s:.1f} s if not renewed" if holder is not None else f"nobody, {term}"
