"""Checks whether each deployment replies, and of which kind it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo.errors import OperationFailure, PyMongoError

from config.uri import mask
from watcher.doctor.finding import Finding, ok, problem, unchecked, warning
from watcher.doctor.subject import HISTORY
from watcher.errors import UNAUTHORIZED, FatalError, NotInitiatedError, name_of, words_of
from watcher.targets.identity import identify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watcher.doctor.subject import Subject

_EMBEDDED = "Start it, and leave it running: watcher run"


def answers(name: str, subject: Subject, uri: str | None) -> Finding:
    """Whether a deployment replies; with any status but `ok`, no other check can query it."""
    if uri is None:
        return unchecked(name, "the embedded server does not run; it runs as long as the daemon does", _EMBEDDED)
    facts = {"uri": mask(uri)}
    variable = "WATCHER_HISTORY_URI" if name == HISTORY and not subject.one_user else "WATCHER_MONGODB_URI"
    try:
        subject.client(uri).admin.command("ping")
        # A ping is answered before authentication.
        subject.client(uri).admin.command("connectionStatus")
        hello = subject.client(uri).admin.command("hello")
    except OperationFailure as error:
        remedy = f"Check user, password and authSource in {variable}." if error.code in UNAUTHORIZED else ""
        return problem(name, f"{mask(uri)} refuses: {name_of(error)}", remedy or f"Check {variable}.", **facts)
    except (PyMongoError, OSError) as error:
        return problem(name, f"{mask(uri)} does not answer: {words_of(error)}", _remedy(error, variable), **facts)
    if not hello.get("isWritablePrimary"):
        return problem(
            name,
            f"{mask(uri)} answers, but there is no primary to be written to",
            "rs.status() in mongosh says why; a connection string with directConnection must lead to the primary.",
            **facts,
        )
    return ok(name, f"{mask(uri)} answers", **facts)


def _remedy(error: Exception, variable: str) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
        return f"Name the authority that signed the server's certificate: tlsCAFile=… in {variable}."
    if "SSL" in text or "TLS" in text:
        return f"Check tls, tlsCAFile and tlsCertificateKeyFile in {variable}."
    return f"Is it running, and may this machine reach it? If so, check {variable}."


def kind(subject: Subject) -> Iterator[Finding]:
    """Whether the watched deployment supports change streams, and the identity that positions are bound to."""
    name = "replica set"
    try:
        found = identify(subject.watched)
    except FatalError as error:
        yield problem(name, error.problem, error.remedy)
        return
    except NotInitiatedError as error:
        yield problem(name, str(error), "Run rs.initiate() once in mongosh.")
        return
    facts = {"name": found.name, "id": found.id}
    if subject.hello.get("msg") == "isdbgrid":
        yield ok(name, "a sharded cluster", **facts)
    elif found.id is None:
        yield warning(
            name,
            f"{found.name}; its id may not be read, so a position counts for any replica set of this name",
            "Grant replSetGetConfig on the cluster; see the finding about privileges.",
            **facts,
        )
    else:
        yield ok(name, f"{found.name} ({found.id})", **facts)
