"""Arguments and options that commands share: all errors reported at once, negative numbers, windows of time.

@click.command(cls=Command, check=contradictions)
@window_options
def log(*, since: Instant | None, until: Instant | None, zone: tzinfo | None) -> None: ...
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from watcher.cli.parsing.arguments import ZONE, Said, Time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import tzinfo

    Check = Callable[[Mapping[str, Any]], Iterable[str]]
    Function = Callable[..., Any]

TIME_HELP = (
    "TIME is ISO 8601 (local time if it names no zone, midnight if no time of day), words such as '2h ago' or "
    "'yesterday 14:00', or a cluster time, seconds:increment. The first two are compared with an event's wall time, to "
    "the millisecond, the last with its cluster time, exactly. What happened at TIME itself is included."
)
"""Stands in the help of each command that takes a time."""

_NEGATIVE = re.compile(r"-[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MARK = "\0"  # no argument of a program can contain it
_PROBLEMS = "watcher.problems"
_UNREADABLE = object()  # placeholder for a value that could not be parsed; no command gets it


class Command(click.Command):
    """A command that reports all wrong arguments at once, and reads `-1` as a number, not as an option.

    Its parameters are made by `argument` and `option` of this module.

    Args:
        check: finds contradictions; gets the parameters given on the command line, by name, and yields a
            sentence for each contradiction.
        args: as of `click.Command`.
        options: likewise.
    """

    def __init__(self, *args: Any, check: Check | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._check = check

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's description, and the forms of TIME if it takes one."""
        super().format_help_text(ctx, formatter)
        if any(isinstance(parameter.type, Time) for parameter in self.get_params(ctx)):
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(TIME_HELP)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises:
            click.UsageError: lists all errors.
        """
        problems: list[str] = ctx.meta.setdefault(_PROBLEMS, [])
        rest: list[str] = []
        try:
            rest = super().parse_args(ctx, [_marked(argument) for argument in args])
        except click.MissingParameter as missing:
            problems += self._missing(ctx, missing)
        except click.UsageError as error:
            if not problems and _MARK not in error.format_message():
                raise
            told = [*problems, error.format_message().replace(_MARK, "")]
            raise click.UsageError("\n".join(told), ctx) from error
        for name in [name for name, value in ctx.params.items() if value is _UNREADABLE]:
            del ctx.params[name]
        if self._check is not None and not ctx.resilient_parsing:
            problems += self._check({name: ctx.params[name] for name in ctx.params if is_given(name, ctx)})
        if problems:
            raise click.UsageError("\n".join(problems), ctx)
        return rest

    def _missing(self, ctx: click.Context, first: click.MissingParameter) -> list[str]:
        """The missing arguments: Click stops at the first, and the required arguments after it are missing too."""
        parameters = self.get_params(ctx)
        after = parameters[parameters.index(first.param) + 1 :] if first.param in parameters else []
        also = [each for each in after if isinstance(each, click.Argument) and each.required]
        return [
            first.format_message(),
            *(click.MissingParameter(ctx=ctx, param=each).format_message() for each in also),
        ]


class _Gathering(click.Parameter):
    """A parameter of a `Command`: an invalid value is reported with the other errors, and does not end the parsing."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Convert what was typed."""
        try:
            return super().type_cast_value(ctx, _unmarked(value))
        except click.BadParameter as problem:
            if ctx.resilient_parsing or not isinstance(ctx.command, Command):
                raise
            problem.ctx = problem.ctx or ctx
            problem.param = problem.param or self
            ctx.meta.setdefault(_PROBLEMS, []).append(problem.format_message())
            return _UNREADABLE


class _Argument(_Gathering, click.Argument):
    pass


class _Option(_Gathering, click.Option):
    pass


argument = partial(click.argument, cls=_Argument)
option = partial(click.option, cls=_Option)


def is_given(name: str, ctx: click.Context | None = None) -> bool:
    """Whether the command line gives a parameter. Null is a valid id, so None cannot mean "no ID"."""
    return (ctx or click.get_current_context()).get_parameter_source(name) is ParameterSource.COMMANDLINE


def _marked(argument: str) -> str:
    return _MARK + argument if _NEGATIVE.fullmatch(argument) else argument


def _unmarked(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix(_MARK)
    if isinstance(value, list | tuple):
        return type(value)(_unmarked(each) for each in value)
    return value


_SLACK_S = 60
"""Seconds between the two clocks of an event at most (`point_in_time.SLACK_SECONDS`, whose import loads the driver)."""


def utc_option(command: Function) -> Function:
    """Add `--utc`: times are read and shown in UTC. The function gets `zone`: UTC, or None for the local one."""
    return option(
        "--utc",
        "zone",
        is_flag=True,
        is_eager=True,  # it decides how the others are read
        callback=_choose_utc,
        help="Show times in UTC, and read those without a zone as UTC, instead of the local zone.",
    )(command)


def window_options(command: Function) -> Function:
    """Add `--since`, `--until` and `--utc`. The function gets `since`, `until` (None: no bound) and `zone`."""
    until = option("--until", metavar="TIME", type=Time(), help="Only up to this time, which is included.")
    since = option("--since", metavar="TIME", type=Time(), help="Only from this time on, which is included.")
    return since(until(utc_option(command)))


def actor_options(command: Function) -> Function:
    """Add `--by`, `--reason` and `--request`. The function gets `actor`, `reason` and `request` (None: any)."""
    by = option(
        "--by",
        "actor",
        metavar="ACTOR",
        type=Said("actor"),
        help="Only what this one is known to have done: a name, or an id as the application's users have.",
    )
    reason = option("--reason", metavar="TEXT", type=Said("reason"), help="Only what was done for this reason.")
    request = option(
        "--request", metavar="ID", type=Said("request"), help="Only what was done in the course of this request."
    )
    return by(reason(request(command)))


def contradictions(given: Mapping[str, Any]) -> Iterator[str]:
    """Report a window that ends before it begins. A `check` for `watcher.cli.parsing.options.Command`."""
    since, until = given.get("since"), given.get("until")
    if since is None or until is None:
        return
    from watcher.words import times

    same_clock = type(since) is type(until)
    if since > until if same_clock else times.seconds(since) - times.seconds(until) > _SLACK_S:
        zone = given.get("zone")
        first, last = times.typed(since, zone), times.typed(until, zone)
        yield f"--since {first} is after --until {last}: nothing can be in between."


def _choose_utc(ctx: click.Context, _: click.Parameter, value: bool) -> tzinfo | None:  # noqa: FBT001 - Click's form
    from datetime import UTC

    ctx.meta[ZONE] = UTC if value else None
    return UTC if value else None
