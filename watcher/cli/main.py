"""The command `watcher`."""

from __future__ import annotations

import importlib
import keyword
from difflib import get_close_matches
from pathlib import Path

import click

from watcher.cli import session

_COMMANDS = {
    "run": "Record every change until told to stop.",
    "serve": "Show the history to others: pages for a browser, REST for programs.",
    "log": "Show what changed: a document's history, or a collection's.",
    "show": "Show a document as it was, or every document of a collection.",
    "diff": "Show what is different between two points in time of a document, or of a collection.",
    "blame": "Show when, and by which event, each field of a document got its value.",
    "revert": "Make a document what it was, bring it back, or undo a transaction.",
    "export": "Write history, or what documents were, into a file: NDJSON, CSV, Parquet.",
    "lake": "Append history to a Delta Lake table, each event exactly once.",
    "stats": "Count what is recorded, by collection, day, document and field.",
    "gaps": "List what was lost: intervals of which nothing is known.",
    "import": "Bring in the list of changes that an application has kept by itself.",
    "rejected": "List events that could not be stored, and try them again.",
    "snapshots": "Make snapshots of long-lived documents anew, or verify them.",
    "retention": "Show how long history is kept, or expire it now.",
    "erase": "Remove the values of a document, or a value, from all that is recorded.",
    "baseline": "Have the daemon record anew how documents are.",
    "seal": "Seal history now, export seals, or prove a single event.",
    "verify": "Verify that history is what was recorded; name what was changed.",
    "partition": "Show how a stream is split, or split it in another way.",
    "checkpoint": "Show how far the daemon has recorded, or move it.",
    "doctor": "Examine settings, deployments, privileges and position, and say what to do.",
    "roles": "Print the commands that make users with least privilege.",
    "health": "Ask the running daemon whether it is ready.",
    "config": "Show the settings.",
}

_FOLDERS = {
    "reading": {"log", "show", "diff", "blame", "export", "stats", "gaps"},
    "keeping": {"import", "rejected", "snapshots", "retention", "baseline", "erase", "seal", "verify", "lake"},
}
"""The packages of these commands' modules; those of the other commands are in `operating`."""


class Lazy(click.Group):
    """Imports a command's module when the command is used, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands, in the order in which a user needs them."""
        return list(_COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; if there is none of that name, suggest similar names."""
        near = [] if args[0] in _COMMANDS else get_close_matches(args[0], _COMMANDS)
        if near:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {' or '.join(near)}?")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of a name, from the module of the same name."""
        if cmd_name not in _COMMANDS:
            return None
        folder = next((folder for folder, names in _FOLDERS.items() if cmd_name in names), "operating")
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        module = importlib.import_module(f"{__package__}.commands.{folder}.{name}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings come from WATCHER_* variables, watcher.toml and secret files; `watcher config show` lists them.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Read settings from this TOML file instead of ./watcher.toml.",
)
@click.version_option(package_name="mongo-change-watcher", prog_name="watcher")
@click.pass_context
def watcher(ctx: click.Context, config_file: Path | None) -> None:
    """Every change of every MongoDB document, recorded field by field and read like git."""
    ctx.obj = session.Context(config_file)


def main() -> None:
    """Run the command line."""
    try:
        watcher.main(prog_name="watcher")
    except SystemExit as end:
        session.leave(end)
