"""Windows of time on the command line: `--since`, `--until`, `--utc`, the same for every command.

    @click.command(cls=Command, check=contradictions)
    @window_options
    def log(*, since: Moment | None, until: Moment | None, utc: bool) -> None: ...

A command with a time of its own takes `type=Time()` (`watcher.cli.parsing.parse`) and `utc_option`. What TIME may be
is said in the help of every `Command` that takes one. `watcher.cli.parsing.moments` formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from watcher.cli.parsing.command import option
from watcher.cli.parsing.parse import UTC_IS_CHOSEN, Time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import click

    Function = Callable[..., Any]

_SLACK_S = 60
"""How far the two clocks of an event may be apart (`point_in_time.SLACK_SECONDS`, which takes the driver)."""


def utc_option(command: Function) -> Function:
    """Add `--utc`: times are read and shown in UTC. The function gets `utc`."""
    return option(
        "--utc",
        is_flag=True,
        is_eager=True,  # it decides how the others are read
        callback=_choose,
        help="Show times in UTC, and read those without a zone as UTC, instead of the local zone.",
    )(command)


def window_options(command: Function) -> Function:
    """Add `--since`, `--until` and `--utc`. The function gets `since`, `until` (None: no bound) and `utc`."""
    until = option("--until", metavar="TIME", type=Time(), help="Only up to this moment, the moment included.")
    since = option("--since", metavar="TIME", type=Time(), help="Only from this moment on, the moment included.")
    return since(until(utc_option(command)))


def contradictions(given: Mapping[str, Any]) -> Iterator[str]:
    """Say so if the window ends before it begins. A `check` for `watcher.cli.parsing.command.Command`."""
    since, until = given.get("since"), given.get("until")
    if since is None or until is None:
        return
    from watcher.cli.parsing import moments

    same_clock = type(since) is type(until)
    if since > until if same_clock else moments.seconds(since) - moments.seconds(until) > _SLACK_S:
        zone = moments.zone_of(utc=given.get("utc", False))
        first, last = moments.typed(since, zone), moments.typed(until, zone)
        yield f"--since {first} is after --until {last}: nothing can be in between."


def _choose(ctx: click.Context, _: click.Parameter, value: bool) -> bool:  # noqa: FBT001 - Click's form
    ctx.meta[UTC_IS_CHOSEN] = value
    return value
