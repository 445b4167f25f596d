"""`watcher verify` at work: runs the comparisons, shows how far they are, and says what was found."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from pymongo import ReadPreference
from pymongo.errors import PyMongoError

from change_history.bson import extended_json, raw
from change_history.bson.equality import key_of
from change_history.bson.values import to_python
from change_history.reconstruct.snapshot_maker import Snapshots
from change_history.seals import verification
from change_history.seals.finding import Finding
from change_history.seals.seal import SealKeyError, load_public, read_line
from change_history.seals.values import Values, documents_of
from change_history.stored.reading import RAW, is_document
from watcher.cli import exit_codes, session
from watcher.cli.rendering import terminal
from watcher.cli.session import CommandError, history_uri, open_client
from watcher.embedded.server import find_running
from watcher.errors import name_of
from watcher.words import times
from watcher.words.value_text import printable, text_of, words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import tzinfo
    from pathlib import Path

    from pymongo.database import Database

    from change_history.seals.finding import Report
    from change_history.seals.seal import Sealed
    from config.settings import Settings

_COLUMNS = ("what", "event", "cluster time", "document", "seal", "what is the matter")
_SHOWN = 20
_MOST_OF_ID = 60
_MOST_UNSEALED = 100_000
"""Of more entries than this that no seal covers, all documents are compared."""


class VerifyOptions(NamedTuple):
    """What is to be verified.

    Attributes:
        namespace: only documents of this one are compared with their history; None: of any.
        against: the file of seals that were kept elsewhere.
        keys: files of public keys.
        documents: compare all documents, also those whose history is sealed.
        snapshots: compare snapshots, too.
    """

    namespace: str | None = None
    against: Path | None = None
    keys: tuple[Path, ...] = ()
    documents: bool = False
    snapshots: bool = False


def _warn_of_private(files: Sequence[Path]) -> None:
    for file in files:
        if b"PRIVATE KEY" in file.read_bytes():
            session.say(f"{file} is the private key: who verifies needs only the public one, and should not have this.")


def verify(settings: Settings, wanted: VerifyOptions, *, as_json: bool, zone: tzinfo | None) -> None:
    """Verify, and say what was found.

    Raises:
        SystemExit: something is not what it should be.
    """
    try:
        keys = [load_public(file) for file in wanted.keys]
        _warn_of_private(wanted.keys)
    except SealKeyError as error:
        raise CommandError(str(error), exit_codes.USAGE) from error
    against, forked, unreadable = _kept(wanted.against) if wanted.against is not None else ({}, set(), 0)
    with ExitStack() as stack:
        client = stack.enter_context(open_client(history_uri(settings.connection)))
        database = client.get_database(settings.history_database, read_preference=ReadPreference.PRIMARY)
        unsealed: list[bytes] = []

        def keep(entry: bytes) -> None:
            if len(unsealed) <= _MOST_UNSEALED:
                unsealed.append(entry)

        with terminal.bar("comparing with what was sealed", verification.work(database)) as advance:
            report = verification.verify(database, against=against, keys=keys, on_checked=advance, on_unsealed=keep)
        report.findings += [Finding("outside", _FORKED.format(number), None, number) for number in sorted(forked)]
        if unreadable:
            report.remarks.append(f"{words(unreadable, 'line')} of {wanted.against} cannot be read as a seal")
        _documents(database, settings, wanted, unsealed, report, stack)
        if wanted.snapshots:
            _snapshots(database, wanted.namespace, report)
    session.prepare_output(as_json=as_json)
    if as_json:
        for finding in report.findings:
            click.echo(extended_json.dumps(finding.document()))
        click.echo(extended_json.dumps(_summary(report)))
    else:
        _say(report, wanted, zone)
    if report.findings:
        raise SystemExit(exit_codes.DIFFERENT)


_FORKED = (
    "seal {} was kept outside twice, and not as the same: the history was set back to what it had been before, and is "
    "not all that was sealed since"
)


def _kept(file: Path) -> tuple[dict[int, Sealed], set[int], int]:
    """The seals in a file by number, the numbers that two different seals bear, and how many lines are none."""
    found: dict[int, Sealed] = {}
    forked: set[int] = set()
    unreadable = 0
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            sealed = read_line(line)
        except ValueError:
            unreadable += 1
        else:
            if found.setdefault(sealed.seal.number, sealed).digest != sealed.digest:
                forked.add(sealed.seal.number)
    if not found:
        raise CommandError(f"{file} holds no seal: it must be what `watcher seal export` wrote", exit_codes.USAGE)
    return found, forked, unreadable


def _documents(
    database: Database[Any],
    settings: Settings,
    wanted: VerifyOptions,
    unsealed: list[bytes],
    report: Report,
    stack: ExitStack,
) -> None:
    """Compare documents with their history: those that a seal does not cover, or all."""
    everything = wanted.documents or report.last is None or len(unsealed) > _MOST_UNSEALED
    if not everything and not unsealed:
        return
    live = _live(settings, report, stack)
    with terminal.step_by_step() as step:

        def advance(_: int) -> None:
            step(f"comparing documents with their history: {report.documents:,}")

        values = Values(database, report, live, advance)
        if everything:
            for name in values.namespaces() if wanted.namespace is None else [wanted.namespace]:
                values.compare(name)
        else:
            for name, ids in documents_of(unsealed).items():
                if wanted.namespace in {None, name}:
                    values.compare(name, ids)


def _live(settings: Settings, report: Report, stack: ExitStack) -> Callable[[str, raw.Value], bytes | None] | None:
    """What gives a document as it is; None: the watched deployment does not answer, which is said."""
    given = settings.mongodb_uri
    uri = given.get_secret_value() if given is not None else find_running(settings.embedded_dir)
    if uri is None:
        report.remarks.append("no watched deployment is known, so history was not compared with the documents")
        return None
    watched = stack.enter_context(open_client(uri))
    try:
        watched.admin.command("ping")
    except PyMongoError as error:
        report.remarks.append(f"the watched deployment does not answer ({name_of(error)}): not compared with documents")
        return None

    def live(namespace: str, document_id: raw.Value) -> bytes | None:
        name, _, collection = namespace.partition(".")
        documents = watched[name].get_collection(collection, codec_options=RAW, read_preference=ReadPreference.PRIMARY)
        for found in documents.find({"_id": is_document(to_python(document_id))}):
            document = bytes(found.raw)
            if key_of(raw.fields(document)[b"_id"]) == key_of(document_id):
                return document
        return None

    return live


def _snapshots(database: Database[Any], namespace: str | None, report: Report) -> None:
    kept = Snapshots(database)
    with terminal.working("comparing snapshots"):
        for name in [namespace] if namespace is not None else kept.namespaces():
            for document in kept.documents(name):
                report.findings += [
                    Finding("snapshot", difference.said, difference.snapshot, None, name, document.id)
                    for difference in kept.verify(document)
                ]


def _summary(report: Report) -> dict[str, Any]:
    last = report.last
    return {
        "findings": len(report.findings),
        "seals": report.seals,
        "last_seal": {"number": last.number, "time": last.time, "digest": report.digest} if last is not None else None,
        "signed_with": report.keys,
        "unsigned_seals": report.unsigned,
        "events_compared": report.entries,
        "sealed": dict(report.kinds),
        "not_sealed_yet": report.unsealed,
        "amended_not_sealed_yet": report.amended,
        "documents_compared": report.documents,
        "remarks": report.remarks,
    }


def _say(report: Report, wanted: VerifyOptions, zone: tzinfo | None) -> None:
    if report.findings:
        found = report.findings[:_SHOWN]
        terminal.show_table(_COLUMNS, [_row(finding, zone) for finding in found])
        if len(report.findings) > _SHOWN:
            counts = Counter(finding.what for finding in report.findings)
            all_of_them = ", ".join(f"{number:,} {what}" for what, number in counts.items())
            click.echo(f"{len(report.findings):,} in all: {all_of_them}. --json lists them.")
    for label, text in _lines(report, wanted, zone):
        click.echo(f"{label:>13}  {printable(text)}")
    if report.findings:
        click.echo(
            f'{len(report.findings):,} not as it should be. What to do: docs/seals.md, "When something is wrong"'
        )
    else:
        click.echo("nothing is wrong")


def _lines(report: Report, wanted: VerifyOptions, zone: tzinfo | None) -> list[tuple[str, str]]:
    last = report.last
    lines = []
    if last is None:
        lines.append(("seals", "none: WATCHER_SEAL=on makes them"))
    else:
        lines.append(("seals", f"{report.seals:,}, the last one {last.number} of {last.time}"))
        lines.append(("digest", report.digest))
        signed = ", ".join(report.keys) if report.keys else "no: whoever can write the database can make such seals"
        if report.keys and not wanted.keys:
            signed += " (whether that is your key, --public-key tells)"
        lines.append(("signed", signed))
        lines.append(("compared", f"{words(report.entries, 'event')} with what was sealed"))
        amended = [
            f"{report.kinds[name]:,} {name}" for name in ("late", "actor", "erased", "expired") if report.kinds[name]
        ]
        if amended:
            lines.append(("of these", ", ".join(amended)))
    if report.unsealed and last is not None and report.first_unsealed is not None:
        since = times.clock(report.first_unsealed.timestamp, zone)
        lines.append(("not sealed", f"{words(report.unsealed, 'event')}, the first of {since}"))
    if report.amended:
        lines.append(("amended", f"{words(report.amended, 'event')}, to be sealed anew"))
    if report.documents:
        lines.append(("documents", f"{report.documents:,} compared with their history"))
    return lines + [("note", remark) for remark in report.remarks]


def _row(finding: Finding, zone: tzinfo | None) -> tuple[str, ...]:
    time = finding.cluster_time
    name = finding.namespace or ""
    if finding.document_id is not None:
        name += f" {text_of(to_python(finding.document_id), _MOST_OF_ID)}"
    return (
        finding.what,
        finding.id.hex() if finding.id is not None else "",
        times.clock(time.timestamp, zone) if time is not None else "",
        printable(name),
        str(finding.seal or ""),
        printable(finding.said),
    )
