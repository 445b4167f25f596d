"""`watcher checkpoint`: a checkpoint in words, and moving one: says what it will do, and does it if told to."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from bson import Timestamp
from bson.errors import BSONError

from change_history.bson import extended_json
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import document_to_python
from config import log as logs
from config.settings import Baseline
from watcher.cli import exit_codes
from watcher.cli.commands.operating.deployments import in_words, reach
from watcher.cli.session import CommandError
from watcher.leadership.lease import holder_of
from watcher.operations.position import CAUSE, Move, Relocation, position_of, time_of
from watcher.words import times
from watcher.words.value_text import printable

if TYPE_CHECKING:
    from datetime import tzinfo

    from bson.raw_bson import RawBSONDocument

    from change_history.reconstruct.point_in_time import Instant
    from config.settings import Settings
    from watcher.leadership.lease import Holder
    from watcher.stream.batch import Position

_WIDTH = 12


def described(stored: RawBSONDocument, now: datetime, *, zone: tzinfo | None) -> str:
    """A checkpoint as lines of a name and a value; `now` is the clock of the deployment that keeps it."""
    return "\n".join(f"{name:<{_WIDTH}}{printable(value)}" for name, value in _facts(stored, now, zone=zone))


def token_text(token: Any) -> str:
    """A resume token as it can be typed: its hexadecimal digits where these are all of it, else JSON."""
    if isinstance(token, dict) and list(token) == ["_data"] and isinstance(token["_data"], str):
        return str(token["_data"])
    return extended_json.dumps(token)


def _facts(stored: RawBSONDocument, now: datetime, *, zone: tzinfo | None) -> list[tuple[str, str]]:
    found = document_to_python(stored)
    facts = [("stream", str(found["_id"]))]
    aware = now if now.tzinfo else now.replace(tzinfo=UTC)
    position = found.get("cluster_time")
    if isinstance(position, Timestamp):
        facts += [
            ("position", f"{times.clock(position, zone)}  {times.exact(position)}"),
            ("age", times.span(max(aware.timestamp() - position.time, 0))),
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
        facts.append(("saved", saved.astimezone(zone).isoformat(" ", "seconds")))
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


class MoveOptions(NamedTuple):
    """Where to. Nothing of it: stay, and take over the options of the settings."""

    to_now: bool = False
    point: Instant | None = None
    token: str | None = None

    @property
    def stays(self) -> bool:
        """Whether the position itself stays as it is."""
        return not self.to_now and self.point is None and self.token is None


def run(settings: Settings, wish: MoveOptions, *, yes: bool, force: bool, zone: tzinfo | None) -> None:
    """Show a move, and carry it out if `yes`."""
    logs.start("critical", settings.log_format)  # the command itself says what is the matter
    with in_words(), ExitStack() as stack:
        relocation = Relocation(reach(settings, stack))
        move = _move(relocation, wish)
        leader = relocation.leader()
        if yes and not force:
            _refuse_if(leader)
        _show(relocation, settings, move, stays=wish.stays, zone=zone)
        if yes:
            if leader is not None:
                click.echo(f"{leader} is deposed, and given {relocation.pause_s:.0f} s to let go.")
            relocation.apply(move, by_force=force)
            click.echo("Done.")
            return
        if leader is not None:
            click.echo(f"{leader} is at work on this stream. Stop it first, or depose it with --force.")
        click.echo("Nothing was changed. To do it, add --yes.")


def _move(relocation: Relocation, wish: MoveOptions) -> Move:
    stored = relocation.stored(whatever_options=wish.stays)
    target = relocation.at_token(stored.position) if wish.stays else _target(relocation, wish)
    return Move(stored, target)


def _target(relocation: Relocation, wish: MoveOptions) -> Position:
    if wish.to_now:
        return relocation.now()
    if wish.point is not None:
        point = wish.point
        try:
            if not isinstance(point, Timestamp):
                point = ClusterTime.start_of(int(point.timestamp())).timestamp
            return relocation.at(point)
        except ValueError as error:
            raise click.UsageError(f"--at: {error}") from error
    try:
        text = wish.token or ""
        return relocation.at_token(position_of(json.loads(text) if text.lstrip().startswith("{") else text.strip()))
    except (ValueError, BSONError) as error:
        raise click.UsageError(
            "--token: this is no resume token; copy one from `watcher checkpoint show`, or the resume_token of an event"
        ) from error


def _refuse_if(leader: Holder | None) -> None:
    if leader is not None:
        raise CommandError(
            f"{leader} is at work on this stream, and would save its own position over this one.\n"
            f"Stop it first (one that was killed counts for {leader.left_s:.0f} s more), or depose it with --force: it "
            "then goes on from the new position.",
            exit_codes.BUSY,
        )


def _show(relocation: Relocation, settings: Settings, move: Move, *, stays: bool, zone: tzinfo | None) -> None:
    origin, target = time_of(move.stored.position), time_of(move.target)
    lines = [f"stream  {settings.checkpoint}", f"from    {times.clock_and_exact(origin, zone)}"]
    if stays:
        baseline = settings.baseline is Baseline.INITIAL
        lines += ["to      the same position", *_options_in_words(relocation, baseline=baseline)]
    else:
        token = token_text(document_to_python(move.target.token))
        lines += [f"to      {times.clock_and_exact(target, zone)}", f"token   {token}"]
        span = times.span(abs(target.time - origin.time))
        lines.append(
            f'Forward by {span}: events in between that are not recorded yet are skipped; a gap is recorded, "{CAUSE}".'
            if move.forward
            else f"Backward by {span}: events in between are read again; what is recorded already stays as it is."
        )
    click.echo("\n".join(lines))


def _options_in_words(relocation: Relocation, *, baseline: bool) -> list[str]:
    changes = relocation.changed_options()
    lines = [f"{name}: {_listed(old)} → {_listed(new)}" for name, (old, new) in changes.items()]
    if not lines:
        return ["The options are the settings' already."]
    but = ", but what there is then" if baseline else ""
    return [*lines, f"Of what is watched only from now on, nothing before this position is recorded{but}."]


def _listed(value: Any) -> str:
    return (",".join(value) or "nothing") if isinstance(value, list | tuple) else str(value)
