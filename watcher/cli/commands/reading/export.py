"""`watcher export`: history, or what a collection was, as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from watcher.cli.parsing.arguments import DocumentId, Namespace, Time
from watcher.cli.parsing.options import (
    Command,
    actor_options,
    argument,
    contradictions,
    is_given,
    option,
    window_options,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo

    from change_history.reconstruct.point_in_time import Instant
    from watcher.cli.session import Context

_SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_OF_NDJSON = {"", ".ndjson", ".jsonl", ".json"}
_STDOUT = Path("-")
_OF_HISTORY = {
    "since": "since",
    "until": "until",
    "rows": "rows",
    "resume": "resume",
    "actor": "by",
    "reason": "reason",
    "request": "request",
}
"""By the name of a parameter, the option that is about history."""


def _format(given: Mapping[str, Any]) -> str:
    """The format that is asked for, or that the name of the file tells."""
    return str(given.get("chosen") or _SUFFIXES.get(given.get("path", _STDOUT).suffix.lower(), "ndjson"))


def _check(given: Mapping[str, Any]) -> Iterator[str]:
    yield from contradictions(given)
    for name, word in _OF_HISTORY.items():
        if "at" in given and name in given:
            yield f"--at is about documents as they were, --{word} about their history; leave one of them out."
    if "resume" in given and given.get("path", _STDOUT) == _STDOUT:
        yield "--resume goes on with a file; name it with --output."
    path = given.get("path", _STDOUT)
    if path != _STDOUT and not path.absolute().parent.is_dir():
        yield f"--output {path}: there is no directory {path.parent}."
    if "chosen" not in given and path.suffix.lower() not in {*_SUFFIXES, *_OF_NDJSON}:
        yield f"--output {path}: no format ends in {path.suffix}; write .csv, .parquet or .ndjson, or say --format."
    chosen = _format(given)
    yield from _about_columns(given, chosen)
    if "resume" in given and chosen.startswith("parquet"):
        yield "--resume: a Parquet file is whole or nothing; export it again without --resume."


def _text(file: TextIO | None) -> str | None:
    try:
        return file.read() if file is not None else None
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"--schema: not UTF-8: {error}") from error


def _about_columns(given: Mapping[str, Any], chosen: str) -> Iterator[str]:
    is_typed = "at" in given and chosen in {"csv", "parquet"}
    for name in ("flatten", "schema", "write_schema"):
        if name in given and not is_typed:
            yield f"--{name.replace('_', '-')} is about the columns of documents: it needs --at, and CSV or Parquet."
    if "at" not in given and chosen.endswith("-json"):
        yield f"--format {chosen} is about documents: it needs --at; without, write {chosen.removesuffix('-json')}."
    if "raw_cells" in given and not chosen.startswith("csv"):
        yield "--raw-cells is about CSV."


@click.command(
    cls=Command,
    check=_check,
    epilog="Exit status: 0 written, 1 the file cannot be written, 2 wrong usage, no such directory too, 3 nothing "
    "recorded, 4 the deployment does not answer, 8 another export writes to the same file, 130 stopped by Ctrl-C.",
)
@argument("namespace", metavar="NS", type=Namespace())
@argument("document_id", metavar="[ID]", type=DocumentId(), required=False)
@option(
    "--format",
    "chosen",
    type=click.Choice(["ndjson", "csv", "csv-json", "parquet", "parquet-json"]),
    help="Of the file; csv-json and parquet-json have documents whole, in one column. "
    "[default: as its name ends: .csv, .parquet, .ndjson; ndjson without an ending]",
)
@option(
    "-o",
    "--output",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    default=_STDOUT,
    show_default="-, standard output",
    help="Where to.",
)
@option(
    "--rows",
    type=click.Choice(["events", "changes"]),
    help="One row for each event, or for each field that it changed. [default: events in NDJSON, else changes]",
)
@actor_options
@window_options
@option("--at", metavar="TIME", type=Time(), help="The documents as they were then, not their history.")
@option("--flatten", is_flag=True, help="With --at: a column for each field of sub-documents too, as address.city.")
@option(
    "--schema",
    metavar="FILE",
    type=click.File("r", encoding="utf-8"),
    help="With --at: the types of the columns, as --write-schema writes them. Without, they are found in a first pass.",
)
@option(
    "--write-schema",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --at: write the types that were found into this file, to be used and edited for --schema.",
)
@option("--raw-cells", is_flag=True, help="CSV: leave a text as it is that a spreadsheet would take for a formula.")
@option("--resume", is_flag=True, help="Go on with FILE.part where it was cut off; its window of time holds.")
@click.pass_obj
def export(
    context: Context,
    *,
    namespace: str,
    document_id: Any,
    chosen: str | None,
    path: Path,
    rows: str | None,
    actor: Any,
    reason: str | None,
    request: Any,
    since: Instant | None,
    until: Instant | None,
    at: Instant | None,
    resume: bool,
    zone: tzinfo | None,
    flatten: bool,
    schema: TextIO | None,
    write_schema: Path | None,
    raw_cells: bool,
) -> None:
    """Write history into a file that other programs read, or with --at what the documents were.

    With --at, CSV and Parquet have a column for each field, of the narrowest type that holds its values exactly; what
    does not fit is in a column beside it.

    NS is database.collection. ID is Extended JSON, or bare as in `watcher log`. Without it, the whole collection is
    exported. Where events were lost, a row with the operation `gap` stands in its place in time.

    The file has .part after its name until it is complete. If it is not completed, the same command with --resume goes
    on where it was cut off (NDJSON and CSV); without --resume it begins anew.
    """
    # Imported here, not above: `--help` and a mistyped option shall not wait for the driver.
    from change_history import Selection
    from change_history.bson.values import ABSENT
    from change_history.export.tables import Format
    from watcher.cli.commands.reading import export_job

    named = is_given("document_id")
    wanted = Format(_format({"chosen": chosen, "path": path}))
    job = export_job.Job(
        wanted,
        Selection(
            namespace,
            document_id if named else ABSENT,
            since=since,
            until=until,
            actor=actor,
            reason=reason,
            request=request,
        ),
        changes=rows == "changes" if rows is not None else wanted is not Format.NDJSON,
        at=at,
        zone=zone,
        flatten=flatten,
        schema=_text(schema),
        write_schema=write_schema,
        raw_cells=raw_cells,
    )
    if path == _STDOUT:
        export_job.to_stdout(context, job)
    else:
        export_job.to_file(context, job, path, resume=resume)
