"""`watcher retention`: how long history is kept, up to where it has expired, and expiring it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.cli.parsing.arguments import Namespace
from watcher.cli.parsing.options import utc_option

if TYPE_CHECKING:
    from datetime import tzinfo

    from watcher.cli.session import Context


@click.group(
    invoke_without_command=True,
    epilog="Exit status: 0 shown, 2 wrong usage or settings, 4 the deployment does not answer.",
)
@click.option("--json", "as_json", is_flag=True, help="One namespace a line, in canonical Extended JSON.")
@utc_option
@click.pass_context
def retention(ctx: click.Context, *, as_json: bool, zone: tzinfo | None) -> None:
    """Show how long history is kept, up to where it has expired, and how much there is.

    WATCHER_RETENTION has the rules, for example shop.sessions=30d,shop.*=2y; the first that a namespace fits counts.
    What fits none is kept for ever. The daemon that leads expires history beside the stream. From the horizon on,
    `log`, `show`, `diff`, `blame` and `revert` answer as before; of what lies beyond they say that it has expired.
    """
    if ctx.invoked_subcommand is None:
        from watcher.cli.commands.keeping import retention_job

        retention_job.show(ctx.obj.settings(), as_json=as_json, zone=zone)


@retention.command(
    short_help="Expire history now.",
    epilog="Exit status: 0 done, or shown what would be done, 2 wrong usage or settings, 3 no rule fits NS, 4 the "
    "deployment does not answer, 8 another one is at it.",
)
@click.argument("namespace", metavar="[NS]", type=Namespace(), required=False)
@click.option("--dry-run", is_flag=True, help="Only show what would go; so it is without --yes.")
@click.option("--yes", is_flag=True, help="Do it.")
@click.option("--json", "as_json", is_flag=True, help="One namespace a line, in canonical Extended JSON.")
@utc_option
@click.pass_obj
def run(
    context: Context, *, namespace: str | None, dry_run: bool, yes: bool, as_json: bool, zone: tzinfo | None
) -> None:
    """Expire what is older than WATCHER_RETENTION says: all of it, or that of NS, database.collection.

    Without --yes, only show what would go. What has gone can only come back from a backup. It may run while the daemon
    does, and be interrupted and begun again.
    """
    from watcher.cli.commands.keeping import retention_job

    if yes and dry_run:
        raise click.UsageError("--yes and --dry-run are different things; leave one of them out.")
    retention_job.run(context.settings(), namespace, yes=yes, as_json=as_json, zone=zone)
