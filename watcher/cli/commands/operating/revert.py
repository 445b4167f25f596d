"""`watcher revert`: makes a document what it was, or undoes a transaction; shows first what that would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.cli.parsing.arguments import AT_HELP, At, DocumentId, Field, Namespace, Said, TransactionName
from watcher.cli.parsing.options import Command, argument, option, utc_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo

    from change_history.query.transactions import Name
    from change_history.reconstruct.point_in_time import PointInTime
    from watcher.cli.session import Context

_OF_DOCUMENT = {"namespace": "NS", "document_id": "ID", "fields": "--field", "seen": "--seen"}
_GOALS = {"to": "--to", "undelete": "--undelete", "transaction_name": "--transaction"}
_ASK = (
    "say what to put back: NS ID --to POINT makes a document what it was, NS ID --undelete brings back a deleted one, "
    "--transaction NAME undoes a transaction."
)


def _check(given: Mapping[str, Any]) -> Iterator[str]:
    named = [word for name, word in _OF_DOCUMENT.items() if name in given]
    goals = [word for name, word in _GOALS.items() if name in given]
    if len(goals) > 1:
        yield f"{' and '.join(goals)} are different things; leave one of them out."
    if not goals:
        yield _ASK
    if "transaction_name" in given:
        if named:
            yield f"--transaction undoes all of a transaction; leave out {' and '.join(named)}."
        return
    if "partial" in given:
        yield "--partial is for --transaction: of a document, what can be put back always is."
    if "undelete" in given and "fields" in given:
        yield "--undelete brings back the whole document; leave out --field."
    if "to" in given and given["to"] is None:
        yield "--to now: that is what history says it is already; name an earlier point in time."
    if goals and ("namespace" not in given or "document_id" not in given):
        yield f"{goals[0]} is about one document; name it: NS ID."


@click.command(
    cls=Command,
    check=_check,
    epilog="Exit status: 0 done, or shown, or nothing to do; 1 not allowed; 2 wrong usage; 3 nothing recorded; 4 a "
    "deployment does not answer; 8 others write to it all the time; 9 not all of it was put back; 10 history cannot "
    "tell.",
    help=f"""Make a document what it was; bring it back if it was deleted. Without --yes, only show what that would do.

    Going back undoes every later change that is recorded, whoever made it; the later events are listed. What is not
    recorded is not overwritten unasked: a field that is not what history says it is, is a conflict, which is listed,
    and stays. With --seen so are the changes recorded after that. All is checked in one transaction of the server.
    Sub-documents are put back field by field, arrays as wholes. A document that is all that history says becomes what
    it was to the byte.

    With --undelete a document whose last recorded event is its deletion becomes what it was right before; if it is
    there, nothing is done, so that can be repeated. A --to below zero cannot: each revert adds a version.

    With --transaction every document of a transaction becomes what it was before, but only in the fields that the
    transaction changed; all of it, or nothing. What was changed later in these fields is a conflict.

    NS is database.collection. ID is Extended JSON, or bare as in `watcher log`.

    {AT_HELP}

    What history withholds cannot be put back, and what stands in its place is never written: if it changed, nothing is
    done, unless it is to stay as it is (--keep-withheld).

    No other command writes to watched documents. The user of WATCHER_MONGODB_URI needs readWrite there. The daemon
    records it as any other write, and `watcher log` says what it put back, and who did: a context document in the same
    transaction tells, in the collection watcher_context beside the documents (WATCHER_CONTEXT_COLLECTION).
    """,
)
@argument("namespace", metavar="[NS]", type=Namespace(), required=False)
@argument("document_id", metavar="[ID]", type=DocumentId(), required=False)
@option("--to", metavar="POINT", type=At(), help="Make the document what it was then.")
@option("--undelete", is_flag=True, help="Bring a deleted document back, as it was right before its deletion.")
@option(
    "--field",
    "fields",
    metavar="PATH",
    type=Field(),
    multiple=True,
    help="Only this field and what is below it; may be given several times.",
)
@option(
    "--transaction",
    "transaction_name",
    metavar="NAME",
    type=TransactionName(),
    help="Undo this transaction: session:number as `watcher log` prints it, or the id of any event in it.",
)
@option("--partial", is_flag=True, help="Of a transaction, undo what can be undone.")
@option(
    "--seen",
    metavar="POINT",
    type=At(),
    help="Do not undo what was recorded after this, either. A dry run names it. [default: what is recorded now]",
)
@option(
    "--actor",
    metavar="NAME",
    type=Said("actor"),
    help="Who reverts, to be recorded with it. [default: the user of the operating system]",
)
@option("--reason", metavar="TEXT", type=Said("reason"), help="Why, to be recorded with it.")
@option("--force", is_flag=True, help="Overwrite conflicts, and do not mind events that were lost.")
@option(
    "--keep-withheld",
    is_flag=True,
    help="Leave as it is what history withholds (redacted, erased), and leave it out of a document that comes back.",
)
@option("--yes", is_flag=True, help="Do it.")
@option("--json", "as_json", is_flag=True, help="One document a line, with its differences and conflicts.")
@utc_option
@click.pass_obj
def revert(
    context: Context,
    *,
    namespace: str | None,
    document_id: Any,
    to: PointInTime | None,
    undelete: bool,
    fields: tuple[str, ...],
    transaction_name: Name | None,
    partial: bool,
    seen: PointInTime | None,
    actor: Any,
    reason: str | None,
    force: bool,
    keep_withheld: bool,
    yes: bool,
    as_json: bool,
    zone: tzinfo | None,
) -> None:
    """Make a document what it was, or undo a transaction."""
    from watcher.cli.commands.operating import revert_job
    from watcher.cli.rendering import reverts

    wish = reverts.RevertOptions(
        namespace or "",
        document_id,
        to,
        fields,
        transaction_name,
        partial=partial,
        seen=seen,
        force=force,
        keep_withheld=keep_withheld,
        yes=yes,
        undelete=undelete,
        actor=actor,
        reason=reason,
    )
    revert_job.run(context.settings(), wish, as_json=as_json, zone=zone)
