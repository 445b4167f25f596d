"""What every reading command has in common with its arguments: every mistake told at once, and numbers below zero."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource, iter_params_for_processing

from watcher.cli.parsing.parse import Time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Check = Callable[[Mapping[str, Any]], Iterable[str]]

TIME_HELP = (
    "TIME is ISO 8601 (local time if it names no zone, midnight if no time of day), words such as '2h ago' or "
    "'yesterday 14:00', or a cluster time, seconds:increment. The first two are compared with an event's wall time, to "
    "the millisecond, the last with its cluster time, exactly. The moment itself is included."
)
"""Stands in the help of each command that takes a time."""

_NEGATIVE = re.compile(r"-[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MARK = "\0"  # no argument of a program can hold it


class Command(click.Command):
    """A command that refuses wrong arguments all at once, and takes `-1` for a number, not for an option.

    Args:
        check: finds what is contradictory; is given the parameters named on the command line, by name, and yields a
            sentence for each contradiction.
        args: as of `click.Command`.
        options: likewise.
    """

    def __init__(self, *args: Any, check: Check | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._check = check

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say what the command does, and what a TIME may be if it takes one."""
        super().format_help_text(ctx, formatter)
        if any(isinstance(parameter.type, Time) for parameter in self.get_params(ctx)):
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(TIME_HELP)

    def make_parser(self, ctx: click.Context) -> Any:
        """Make Click's parser, blind to the minus of numbers."""
        parser: Any = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> tuple[dict[str, Any], list[Any], list[click.Parameter]]:
            options, rest, order = parse(args=[_marked(argument) for argument in args])
            return {name: _unmarked(value) for name, value in options.items()}, _unmarked(rest), order

        parser.parse_args = parse_args
        return parser

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises:
            click.UsageError: something is wrong; tells all that is.
        """
        given = list(args)
        rest: list[str] = []
        problems: list[str] = []
        try:
            rest = super().parse_args(ctx, args)
        except click.BadParameter:
            problems += self._unreadable(ctx, given)
        if self._check is not None and not ctx.resilient_parsing:
            problems += self._check({name: ctx.params[name] for name in ctx.params if _is_given(ctx, name)})
        if problems:
            raise click.UsageError("\n".join(problems), ctx)
        return rest

    def _unreadable(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What is wrong with each of the parameters. Click itself stops at the first."""
        options, rest, order = self.make_parser(ctx).parse_args(args)
        problems = []
        for parameter in iter_params_for_processing(order, self.get_params(ctx)):
            try:
                _, rest = parameter.handle_parse_result(ctx, options, rest)
            except click.BadParameter as problem:
                problems.append(problem.format_message())
                ctx.params.pop(parameter.name or "", None)
        return problems


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _marked(argument: str) -> str:
    return _MARK + argument if _NEGATIVE.fullmatch(argument) else argument


def _unmarked(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix(_MARK)
    if isinstance(value, list | tuple):
        return type(value)(_unmarked(each) for each in value)
    return value
