"""`watcher import`: an application's own list of changes comes into history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watcher.cli import exit_codes
from watcher.cli.parsing.arguments import Namespace
from watcher.cli.parsing.options import Command, argument, option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from watcher.cli.session import Context

_SHOWN = 20


def _check(given: Mapping[str, Any]) -> Iterator[str]:
    if "field" not in given and "mapping_file" not in given:
        yield (
            "say where the changes are: --field history.changes is a list in each document, --mapping FILE tells of a "
            "collection of differences."
        )


@click.command(
    "import",
    cls=Command,
    check=_check,
    epilog="Exit status: 0 done, or shown; 2 wrong usage; 4 a deployment does not answer; 9 not everything fitted.",
)
@argument("namespace", metavar="NS", type=Namespace())
@option("--field", metavar="PATH", help="The list in each document of NS, dotted: history.changes")
@option(
    "--mapping",
    "mapping_file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What things are called, in TOML: from (the collection of differences), document_id, changes, field, "
    "old_value, new_value, timestamp, user.",
)
@option("--yes", is_flag=True, help="Do it; without this, only show what fits.")
@option("--json", "as_json", is_flag=True, help="One document, in JSON.")
@click.pass_obj
def import_(
    context: Context, *, namespace: str, field: str | None, mapping_file: Path | None, yes: bool, as_json: bool
) -> None:
    """Bring in the changes that an application has kept by itself: field, old_value, new_value, timestamp, user.

    They are kept in the collection `imported` of the history database, marked as such, in the order of their times.
    Nothing that the daemon has recorded is touched, and no document's past is worked out from them. Done twice, it
    brings in only what is new.
    """
    from contextlib import ExitStack

    from config import log as logs
    from watcher.cli.commands.operating.deployments import in_words, reach
    from watcher.erasure.active import Active
    from watcher.events import fast_path
    from watcher.operations import importing

    try:
        mapping = importing.read_mapping(mapping_file) if mapping_file is not None else importing.Mapping()
    except importing.MappingError as error:
        raise click.UsageError(str(error)) from error
    if field is None and mapping.source is None:
        raise click.UsageError(f"{mapping_file}: from is missing, the collection of differences; or say --field")
    settings = context.settings()
    logs.start("critical", settings.log_format)  # the command itself says what is the matter
    with in_words(), ExitStack() as stack:
        reached = reach(settings, stack)
        redaction = fast_path.redaction(settings.redact, settings.hash_key)
        erased = Active(reached.history).entry
        bringing = importing.Import(reached.watched, reached.history, namespace, field, mapping, redaction, erased)
        outcome = bringing.run(rehearsal=not yes)
    _tell(outcome, as_json=as_json, done=yes)
    if outcome.left_out:
        raise SystemExit(exit_codes.REMAINING)


def _tell(outcome: Any, *, as_json: bool, done: bool) -> None:
    import json

    from watcher.cli import session
    from watcher.operations.importing import told_of

    numbers = dict(told_of(outcome))
    if as_json:
        session.speak_utf8()
        click.echo(json.dumps({**numbers, "done": done, "misfits": outcome.misfits}, ensure_ascii=False))
        return
    session.survive_any_character()
    for misfit in outcome.misfits[:_SHOWN]:
        click.echo(f"left out: {misfit}", err=True)
    if outcome.left_out > _SHOWN:
        click.echo(f"… and {outcome.left_out - _SHOWN} more; --json lists them", err=True)
    if not numbers["items"]:
        click.echo("No changes were found there: are the names of the collection and of --field or --mapping right?")
        return
    of = " of ".join(f"{numbers[what]} {what[:-1] if numbers[what] == 1 else what}" for what in ("items", "documents"))
    if done:
        click.echo(
            f"{of}: {outcome.imported} imported, {outcome.known} were there already, {outcome.left_out} did not fit"
        )
    else:
        click.echo(f"{of}: {outcome.imported} fit, {outcome.left_out} do not")
        click.echo("Nothing was changed. To do it, add --yes.")
