"""The location of a table, and the options of its store, on the command line."""

from __future__ import annotations

import re
from typing import Any

import click

from watcher.cli.parsing.arguments import Type

_LOCATION = re.compile(r"(file|s3|s3a|gs|az|azure|abfs|abfss|adl)://.+|[^:]+")
_OPTION = re.compile(r"[A-Za-z0-9_]+=.*")


class TableLocation(Type[str]):
    """Where a table is: a folder, or a URI of an object store."""

    name = "location"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it, or fail."""
        if not isinstance(value, str) or _LOCATION.fullmatch(value) is None:
            self.fail(f"{value!r} is no location; write a folder, file:///path or s3://bucket/path", param, ctx)
        return value


def _options(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    if wrong := [value.partition("=")[0] for value in values if _OPTION.fullmatch(value) is None]:
        raise click.BadParameter(f"{', '.join(wrong)}: write NAME=VALUE", ctx, param)
    return dict(value.split("=", 1) for value in values)


store_option = click.option(
    "--store",
    "store",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_options,
    help="An option of the store, as `deltalake` calls it; AWS_… of the environment are read, too.",
)
