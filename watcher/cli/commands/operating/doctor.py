"""`watcher doctor`: examines everything the daemon depends on, and says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.cli import exit_codes, session

if TYPE_CHECKING:
    from config.settings import Settings
    from watcher.cli.session import Context
    from watcher.doctor.finding import Finding

_COLUMNS = ("", "checked", "found")


@click.command(
    epilog="Exit status: 0 no problem (a warning is none, unless --strict), 2 wrong usage or settings, 12 a problem, "
    "13 no problem, but something could not be checked."
)
@click.option("--include", metavar="GLOBS", help="As if WATCHER_INCLUDE said so.")
@click.option("--exclude", metavar="GLOBS", help="As if WATCHER_EXCLUDE said so.")
@click.option("--stream", metavar="NAME", help="Name of the checkpoint. [default: as WATCHER_STREAM says]")
@click.option("--partition", metavar="I/N", help="Partition of the stream. [default: as WATCHER_PARTITION says]")
@click.option("--strict", is_flag=True, help="Exit with 12 for a warning, too.")
@click.option("--json", "as_json", is_flag=True, help="One finding a line, in canonical Extended JSON.")
@click.pass_context
def doctor(
    ctx: click.Context,
    *,
    include: str | None,
    exclude: str | None,
    stream: str | None,
    partition: str | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Examine settings, deployments, privileges and position, and say what to do.

    Reads the settings as `watcher run` does, and so wants to be run with the daemon's; that may go on meanwhile. It
    writes nothing anywhere: the stream is opened at its position and let go at once.

    Each line is `ok`, a `warning` (it works, but not as well as it could, or not for long), a `problem` (the daemon
    cannot do what the settings ask for), or `unchecked`: not known, and why. What to do stands below the table.
    """
    context: Context = ctx.obj
    settings = context.settings(include=include, exclude=exclude, stream=stream, partition=partition)
    findings = _examined(settings, as_json=as_json)
    if not as_json:
        _print(findings)
    ctx.exit(_verdict(findings, strict=strict))


def _examined(settings: Settings, *, as_json: bool) -> list[Finding]:
    from change_history.bson import extended_json
    from config import log as logs
    from watcher.cli.rendering import terminal
    from watcher.doctor.examination import examine
    from watcher.doctor.subject import Subject
    from watcher.embedded.server import find_running

    logs.start("critical", settings.log_format)  # the findings say what is the matter
    uri, history = settings.mongodb_uri, settings.history_uri
    watched = uri.get_secret_value() if uri is not None else find_running(settings.embedded_dir)
    findings = []
    with Subject(settings, watched, history.get_secret_value() if history is not None else watched) as subject:
        if as_json:
            session.speak_utf8()
        with terminal.step_by_step() as at_work:
            for finding in examine(subject, at_work):
                findings.append(finding)
                if as_json:
                    click.echo(extended_json.dumps(finding.document()))
    return findings


def _print(findings: list[Finding]) -> None:
    from watcher.cli.rendering import terminal
    from watcher.words.value_text import printable

    session.survive_any_character()
    styles = {"ok": "green", "warning": "yellow", "problem": "bold red", "unchecked": "magenta"}
    rows = [(str(each.status), each.check, printable(each.said)) for each in findings]
    terminal.show_table(_COLUMNS, rows, styles)
    for each in findings:
        if each.remedy:
            click.echo(f"{each.status}, {each.check}:")
            click.echo("\n".join(f"    {printable(line)}" for line in each.remedy.splitlines()))


def _verdict(findings: list[Finding], *, strict: bool) -> int:
    from watcher.doctor.finding import Status

    found = {finding.status for finding in findings}
    if Status.PROBLEM in found or (strict and Status.WARNING in found):
        return exit_codes.UNHEALTHY
    return exit_codes.UNCHECKED if Status.UNCHECKED in found else exit_codes.OK
