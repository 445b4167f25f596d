"""Checks what is watched, and the effect of a changed `INCLUDE` or `EXCLUDE` on a stream that has a position."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from change_history import globs
from change_history.stored.reading import history_collection, recorded_names
from config.ages import rule_for
from watcher.doctor.finding import listed, many, ok, problem, warning
from watcher.targets.namespaces import meant_for_redaction, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from change_history.redaction_rules import Rule as Redaction
    from config.ages import Rule as Retention
    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject
    from watcher.targets.scope import Scope

NAME, EXACT, PATHS, RULES = "what is watched", "included by name", "excluded paths", "rules"
_ADOPT = "To go on with them: watcher checkpoint set --adopt-options --yes. Else set them back to "


def check(subject: Subject) -> Iterator[Finding]:
    """Compare the existing collections with the settings and the checkpoint."""
    names = [(each.database, each.name) for each in subject.collections]
    yield judge(subject.scope, subject.former_scope, names)


def judge(now: Scope, former: Scope | None, names: Sequence[tuple[str, str]]) -> Finding:
    """Report what is watched, and what is added and removed.

    Args:
        now: the scope of the settings.
        former: the scope of the checkpoint; None: there is none.
        names: databases and names of the existing collections.
    """
    watched = [f"{database}.{name}" for database, name in names if now.covers(database, name)]
    facts = {"include": [*now.include], "exclude": [*now.exclude], "collections": len(watched)}
    if former is not None and former.describe() != now.describe():
        formerly = replace(former, contexts=now.contexts)  # context documents are no history, then as now
        before = [f"{database}.{name}" for database, name in names if formerly.covers(database, name)]
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
    """Included namespaces without wildcards that cannot be recorded."""
    for namespace in subject.scope.exact:
        found = problem_of(subject.watched, subject.scope, namespace)
        if found is not None:
            said = warning if subject.scope.collection is None else problem
            yield said(EXACT, f"{namespace}: {found[0]}", f"{found[1][0].upper()}{found[1][1:]}.", namespace=namespace)


def paths(subject: Subject) -> Iterator[Finding]:
    """Globs in `EXCLUDE` that look like the path of a field."""
    names = [namespace for namespace, _ in _namespaces(subject)]
    for glob, rule in meant_for_redaction(subject.scope, names):
        yield warning(
            PATHS,
            f"WATCHER_EXCLUDE={glob} names no collection that there is, so it excludes nothing; it reads like a field",
            f"To withhold the values of the field: WATCHER_REDACT={rule}.",
            exclude=glob,
            rule=str(rule),
        )


def rules(subject: Subject) -> Iterator[Finding]:
    """Rules of `REDACT` and `RETENTION` without effect, or with a much larger one than was probably meant."""
    watched = [namespace for namespace, is_watched in _namespaces(subject) if is_watched]
    yield from judge_redaction(subject.settings.redact, watched)
    if subject.settings.retention:
        recorded = recorded_names(history_collection(subject.history))
        yield from judge_retention(subject.settings.retention, sorted({*watched, *recorded}))


def judge_redaction(redact: Sequence[Redaction], watched: Sequence[str]) -> Iterator[Finding]:
    """Redaction rules that match no watched collection."""
    for rule in redact:
        if watched and not any(map(rule.concerns, watched)):
            yield warning(
                RULES,
                f"WATCHER_REDACT: {rule} withholds nothing: no collection that is watched is called {rule.namespace}",
                _meant(rule.namespace, watched),
                setting="redact",
                rule=str(rule),
            )


def judge_retention(retention: tuple[Retention, ...], names: Sequence[str]) -> Iterator[Finding]:
    """Retention rules that match no existing namespace."""
    for rule in retention:
        fitting = [name for name in names if globs.fits((rule.glob,), *globs.split(name))]
        if names and not fitting:
            said = f"{rule} expires nothing: no collection is called {rule.glob}"
            remedy = _meant(rule.glob, names)
        elif fitting and not any(rule_for(retention, name) is rule for name in fitting):
            said = f"{rule} does nothing: rules before it fit the same collections"
            remedy = "The first rule that fits counts: put it before them."
        else:
            continue
        yield warning(RULES, f"WATCHER_RETENTION: {said}", remedy, setting="retention", rule=str(rule))


def _meant(glob: str, names: Sequence[str]) -> str:
    near = get_close_matches(glob, names)
    return f"Did you mean {' or '.join(near)}?" if near else "If it is still to come, nothing has to be done."


def _namespaces(subject: Subject) -> Iterator[tuple[str, bool]]:
    """Each existing collection as `db.coll`, and whether it is watched."""
    for each in subject.collections:
        yield f"{each.database}.{each.name}", subject.scope.covers(each.database, each.name)


def _settings(scope: Scope) -> str:
    excluded = f" WATCHER_EXCLUDE={','.join(scope.exclude)}" if scope.exclude else ""
    return f"WATCHER_INCLUDE={','.join(scope.include)}{excluded} WATCHER_HISTORY_DATABASE={scope.own_database}"
