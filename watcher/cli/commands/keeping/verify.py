"""`watcher verify`: whether history is still what was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.cli.parsing.arguments import Namespace
from watcher.cli.parsing.options import utc_option

if TYPE_CHECKING:
    from datetime import tzinfo

    from watcher.cli.session import Context


@click.command(
    epilog="Exit status: 0 nothing is wrong, 2 wrong usage, 4 the deployment does not answer, 11 something is not what "
    "it should be.",
)
@click.argument("namespace", metavar="[NS]", type=Namespace(), required=False)
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Compare with seals that were kept elsewhere: what `watcher seal export` or WATCHER_SEAL_FILE wrote.",
)
@click.option(
    "--public-key",
    "key_files",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    multiple=True,
    help="Require that seals are signed with this key (Ed25519, PEM); may be given several times.",
)
@click.option(
    "--documents", is_flag=True, help="Compare all documents' entries with each other, not only unsealed ones."
)
@click.option(
    "--snapshots", is_flag=True, help="Compare snapshots with history, too, as `watcher snapshots verify` does."
)
@click.option(
    "--json", "as_json", is_flag=True, help="One finding a line, then the summary, in canonical Extended JSON."
)
@utc_option
@click.pass_obj
def verify(
    context: Context,
    *,
    namespace: str | None,
    against: str | None,
    key_files: tuple[str, ...],
    documents: bool,
    snapshots: bool,
    as_json: bool,
    zone: tzinfo | None,
) -> None:
    """Verify that history is what was recorded, and name what was changed, removed, added or re-dated.

    The chain of seals is checked, and all of history beside what was sealed of it. What no seal covers (all of it,
    where nothing is sealed) is compared with itself: each old value must be what the entry before has left, and a
    document's last entry must leave what the collection has. NS, database.collection, limits that comparison to one
    collection; seals are over everything.

    What a seal proves, and what not: docs/seals.md. May be done while the daemon runs.
    """
    from pathlib import Path

    from watcher.cli.commands.keeping import verify_job

    wanted = verify_job.VerifyOptions(
        namespace,
        Path(against) if against is not None else None,
        tuple(map(Path, key_files)),
        documents=documents,
        snapshots=snapshots,
    )
    verify_job.verify(context.settings(), wanted, as_json=as_json, zone=zone)
