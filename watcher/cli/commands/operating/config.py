"""`watcher config show`: the settings in force, secrets masked."""

from __future__ import annotations

import json

import click

from config.settings import describe


@click.group()
def config() -> None:
    """Show the settings."""


@config.command(short_help="List the settings, secrets masked.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")
@click.pass_context
def show(ctx: click.Context, *, as_json: bool) -> None:
    """List every setting, its value with secrets masked, and where it comes from."""
    rows = describe(ctx.obj.settings())
    if as_json:
        for name, value, source in rows:
            click.echo(json.dumps({"setting": name, "value": value, "source": source}))
        return
    from watcher.cli.rendering import terminal

    terminal.show_table(("setting", "value", "from"), rows)
