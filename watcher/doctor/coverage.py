"""What is watched, and what a changed `INCLUDE` or `EXCLUDE` does to a stream that has a position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watcher.doctor.finding import listed, many, ok, problem, warning
from watcher.targets.namespaces import meant_for_redaction, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject
    from watcher.targets.scope import Scope

NAME, EXACT, PATHS = "what is watched", "included by name", "excluded paths"
_ADOPT = "To go on with them: watcher checkpoint set --adopt-options --yes. Else set them back to "


def check(subject: Subject) -> Iterator[Finding]:
    """The collections that there are, against the settings and against the checkpoint."""
    names = [(each.database, each.name) for each in subject.collections]
    yield judge(subject.scope, subject.former_scope, names)


def judge(now: Scope, former: Scope | None, names: Sequence[tuple[str, str]]) -> Finding:
    """Say what is watched, and what comes and goes.

    Args:
        now: what the settings say.
        former: what the checkpoint was made for; None: there is none.
        names: databases and names of the collections that there are.
    """
    watched = [f"{database}.{name}" for database, name in names if now.covers(database, name)]
    facts = {"include": [*now.include], "exclude": [*now.exclude], "collections": len(watched)}
    if former is not None and former.describe() != now.describe():
        before = [f"{database}.{name}" for database, name in names if former.covers(database, name)]
        comes = [name for name in watched if name not in set(before)]
        goes = [name for name in before if name not in set(watched)]
        changes = [f"{what}: {listed(which)}" for what, which in (("comes", comes), ("goes", goes)) if which]
        return problem(
            NAME,
            "the settings are not those that the checkpoint was made for, so `watcher run` will not start; "
            + ("; ".join(changes) or "of the collections that there are, none comes and none goes"),
            _ADOPT + _settings(former),
            **facts,
            comes=comes,
            goes=goes,
            former=former.describe(),
        )
    if not watched:
        return warning(
            NAME,
            f"nothing yet: no collection matches {','.join(now.include)}",
            "If this is not what you meant, set WATCHER_INCLUDE to other globs: database.collection, comma-separated.",
            **facts,
        )
    return ok(NAME, f"{many(len(watched), 'collection')}: {listed(watched)}", **facts)


def exact(subject: Subject) -> Iterator[Finding]:
    """Names without wildcards that nothing can be recorded of."""
    for namespace in subject.scope.exact:
        found = problem_of(subject.watched, subject.scope, namespace)
        if found is not None:
            said = warning if subject.scope.collection is None else problem
            yield said(EXACT, f"{namespace}: {found[0]}", f"{found[1][0].upper()}{found[1][1:]}.", namespace=namespace)


def paths(subject: Subject) -> Iterator[Finding]:
    """What reads like a field where collections are excluded."""
    names = [f"{each.database}.{each.name}" for each in subject.collections]
    for glob, rule in meant_for_redaction(subject.scope, names):
        yield warning(
            PATHS,
            f"WATCHER_EXCLUDE={glob} names no collection that there is, so it excludes nothing; it reads like a field",
            f"To withhold the values of the field: WATCHER_REDACT={rule}.",
            exclude=glob,
            rule=str(rule),
        )


def _settings(scope: Scope) -> str:
    excluded = f" WATCHER_EXCLUDE={','.join(scope.exclude)}" if scope.exclude else ""
    return f"WATCHER_INCLUDE={','.join(scope.include)}{excluded} WATCHER_HISTORY_DATABASE={scope.own_database}"
