"""Which privileges are missing: each by name, with the command that grants it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo.errors import OperationFailure

from watcher.doctor.finding import ok, problem, warning
from watcher.operations import privileges

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pymongo import MongoClient

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject
    from watcher.operations.privileges import Need

WATCHED, HISTORY = "privileges, watched", "privileges, history"
_UNUSUAL = "hostInfo"
"""An action that the daemon does not need: who is allowed it without having it, is asked for nothing at all."""


class Person(NamedTuple):
    """Whom a deployment takes us for.

    Attributes:
        name: of the user; empty: nobody has logged in.
        database: where the user is defined.
        roles: the names of its roles in `admin`, those that these contain not among them.
        privileges: what they come to.
        asked: whether the deployment asks for privileges at all.
    """

    name: str
    database: str
    roles: tuple[str, ...]
    privileges: tuple[dict[str, Any], ...]
    asked: bool

    def __str__(self) -> str:
        return f"user {self.name!r} of {self.database!r}" if self.name else "without a user"


def watched(subject: Subject) -> Iterator[Finding]:
    """What is missing on the watched deployment."""
    needs = privileges.watching(subject.settings, subject.scope)
    yield from judge(WATCHED, whoami(subject.watched), needs, (privileges.WATCH_CHANGES, privileges.KEEP_HISTORY))


def history(subject: Subject) -> Iterator[Finding]:
    """What is missing on the deployment that keeps the history."""
    needs = privileges.keeping(subject.settings.history_database, expires=privileges.expires(subject.settings))
    yield from judge(HISTORY, whoami(subject.keeper), needs, (privileges.KEEP_HISTORY, privileges.WATCH_CHANGES))


def judge(check: str, person: Person, needs: Sequence[Need], ours: Sequence[str]) -> Iterator[Finding]:
    """Compare what is needed with what there is.

    Args:
        ours: names of the roles that `watcher roles` makes, the fittest first.
    """
    if not person.asked:
        yield ok(check, "the deployment asks for no privileges: whoever reaches it may do everything", missing=[])
        return
    if not person.name:
        yield problem(
            check,
            "nobody has logged in, and the deployment asks for privileges",
            "Name a user and its password in the connection string; `watcher roles` prints how to make one.",
            missing=privileges.documents(needs),
        )
        return
    lacking = privileges.missing(person.privileges, needs)
    if not lacking:
        yield ok(check, f"{person} has all {len(needs)} that are needed", missing=[])
        return
    held = [name for name in (*ours, privileges.MORE) if name in person.roles]
    for found, lacks in ((problem, _part(lacking, essential=True)), (warning, _part(lacking, essential=False))):
        if lacks:
            yield found(
                check,
                f"{person} lacks " + "; ".join(f"{need.action} on {need.resource} ({need.use})" for need in lacks),
                "As an administrator, in mongosh:\n" + privileges.grant(person.name, person.database, held, lacks),
                missing=privileges.documents(lacks),
                role={
                    "role": held[0] if held else privileges.MORE,
                    "privileges": privileges.documents(lacks),
                    "roles": [],
                },
            )


def whoami(client: MongoClient[Any]) -> Person:
    """Ask a deployment whom it takes us for."""
    info = client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
    users = info["authenticatedUsers"]
    granted = tuple(info["authenticatedUserPrivileges"])
    may = any(_UNUSUAL in each["actions"] for each in granted)
    return Person(
        users[0]["user"] if users else "",
        users[0]["db"] if users else "",
        tuple(role["role"] for role in info["authenticatedUserRoles"] if role["db"] == "admin"),
        granted,
        may or not _allowed_all_the_same(client),
    )


def _allowed_all_the_same(client: MongoClient[Any]) -> bool:
    try:
        client.admin.command(_UNUSUAL)
    except OperationFailure:
        return False
    return True


def _part(needs: Iterable[Need], *, essential: bool) -> list[Need]:
    return [need for need in needs if need.essential is essential]
