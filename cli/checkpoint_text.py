"""A checkpoint in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bson import Timestamp

from cli import moments
from cli.value_text import printable
from core import extended_json
from models.values import document_to_python

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
    position = found.get("cluster_time")
    if isinstance(position, Timestamp):
        zone = UTC if utc else None
        aware = now if now.tzinfo else now.replace(tzinfo=UTC)
        facts += [
            ("position", f"{moments.clock(position, zone)}  {moments.exact(position)}"),
            ("age", moments.span(max(aware.timestamp() - position.time, 0))),
            ("token", token_text(found.get("token"))),
        ]
    else:
        facts.append(("position", "none yet"))
    options, replica_set = found.get("options") or {}, found.get("replica_set") or {}
    facts += [
        ("include", ",".join(options.get("include", ()))),
        ("exclude", ",".join(options.get("exclude", ())) or "nothing"),
        ("history", str(options.get("own_database", ""))),
        ("replica set", f"{replica_set.get('name')} ({replica_set.get('id') or 'id unknown'})"),
        ("events", str(found.get("events", 0))),
    ]
    saved = found.get("updated_at")
    if isinstance(saved, datetime):
        facts.append(("saved", saved.astimezone(UTC if utc else None).isoformat(" ", "seconds")))
    if "survey" in found:
        kept = found["survey"]
        plans = kept if isinstance(kept, list) else [kept]
        facts.append(("survey", f"{', '.join(str(plan.get('kind')) for plan in plans)} under way"))
    return facts
