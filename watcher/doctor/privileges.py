"""Which privileges are missing: each by name, with the command that grants it; and which a role of ours has besides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watcher.doctor.finding import Status, listed, ok, problem, warning
from watcher.operations import granted, needs, privileges

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject
    from watcher.operations.granted import Person
    from watcher.operations.needs import Need

WATCHED, HISTORY = "privileges, watched", "privileges, history"


def watched(subject: Subject) -> Iterator[Finding]:
    """What is missing on the watched deployment."""
    wanted = needs.watching(subject.settings, subject.scope)
    yield from judge(WATCHED, granted.whoami(subject.watched), wanted, granted.WATCHERS)


def history(subject: Subject) -> Iterator[Finding]:
    """What is missing on the deployment that keeps the history."""
    person = granted.whoami(subject.history_client)
    wanted = granted.history_needs(subject.settings, subject.history)
    found = list(judge(HISTORY, person, wanted, granted.KEEPERS))
    everything = needs.keeping(subject.settings)
    if not privileges.is_elsewhere(subject.settings):
        everything += needs.watching(subject.settings, subject.scope)
    wide = _excess(person, everything, subject.settings.history_database)
    yield from [wide] if wide is not None and all(each.status is Status.OK for each in found) else found


def judge(check: str, person: Person, wanted: Sequence[Need], ours: Sequence[str]) -> Iterator[Finding]:
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
            missing=privileges.documents(wanted),
        )
        return
    lacking = needs.missing(person.privileges, wanted)
    if not lacking:
        yield ok(check, f"{person} has all {len(wanted)} that are needed", missing=[])
        return
    held = granted.held(person, ours)
    for found, lacks in ((problem, _part(lacking, essential=True)), (warning, _part(lacking, essential=False))):
        if lacks:
            yield found(
                check,
                granted.lacking_text(person, lacks),
                granted.remedy(person, ours, lacks),
                missing=privileges.documents(lacks),
                role={
                    "role": held[0] if held else privileges.MORE,
                    "privileges": privileges.documents(lacks),
                    "roles": [],
                },
            )


def _excess(person: Person, wanted: Sequence[Need], database: str) -> Finding | None:
    """What a role of an earlier version allows beyond what is needed; nobody else's roles are ours to judge."""
    if not person.asked or privileges.KEEP_HISTORY not in person.roles:
        return None
    wide = needs.excess(person.privileges, wanted, database)
    if not wide:
        return None
    places: dict[str, list[str]] = {}
    for need in wide:
        places.setdefault(need.resource.collection, []).append(need.action)
    named = listed([f"{', '.join(actions)} on {name}" for name, actions in places.items()])
    return warning(
        HISTORY,
        f"{person} has all that are needed, and more: {named}. Who steals its password could say that history was "
        "erased or has expired",
        "As an administrator, in mongosh, run what `watcher roles daemon --update` prints; let another user erase.",
        missing=[],
        excess=privileges.documents(wide),
    )


def _part(needs: Iterable[Need], *, essential: bool) -> list[Need]:
    return [need for need in needs if need.essential is essential]
