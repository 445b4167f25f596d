"""What a check makes of what it has seen: a false alarm is soon ignored, and a missed one was the point."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import Timestamp

from change_history.redaction_rules import Rule as Redaction
from change_history.seals.seal import Seal, Sealed
from config.ages import Rule as Retention
from config.ages import seconds
from config.settings import PreImages
from models import indexes
from watcher.doctor import (
    clocks,
    coverage,
    embedded,
    features,
    installation,
    leader,
    oplog,
    pre_images,
    privileges,
    seals,
)
from watcher.doctor.features import Features
from watcher.doctor.finding import Finding, Status, could_not
from watcher.doctor.oplog import Window
from watcher.operations.granted import Person
from watcher.operations.needs import Need, Resource
from watcher.targets.scope import Scope

ROOT = Path(__file__).parents[2]
HOUR = 3600
NOW = 1_700_000_000
OK, WARNING, PROBLEM, UNCHECKED = Status


def window(hours: float, *, whole: bool = False) -> Window:
    """An oplog that ends now."""
    return Window(Timestamp(int(NOW - hours * HOUR), 1), Timestamp(NOW, 1), whole)


@pytest.mark.parametrize(
    ("seen", "lag_hours", "status"),
    [
        (window(100), 0, OK),
        (window(100), 49, OK),
        (window(100), 51, WARNING),  # overtaken in two days
        (window(100), 101, PROBLEM),  # lost
        (window(2), 0, WARNING),  # short
        (window(2, whole=True), 2, OK),  # a young replica set has lost nothing yet
        (window(100), None, OK),
    ],
)
def test_the_oplog_is_compared_with_the_position(seen: Window, lag_hours: float | None, status: Status) -> None:
    """That the oplog is about to overtake the daemon must be known before it happens."""
    stands = Timestamp(int(NOW - lag_hours * HOUR), 1) if lag_hours is not None else None
    found = oplog.judge(seen, stands)

    assert found.status is status, found
    assert bool(found.remedy) is (status is not OK)


def test_the_room_left_is_told() -> None:
    """In hours, since that is what one has to act."""
    found = oplog.judge(window(100), Timestamp(NOW - 90 * HOUR, 1))

    assert "overtaken in 10.0 h" in found.said
    assert (found.facts["window_hours"], found.facts["lag_seconds"], found.facts["room_seconds"]) == (
        100,
        90 * HOUR,
        10 * HOUR,
    )


@pytest.mark.parametrize(
    ("skew_s", "unsure_s", "status"),
    [(0.1, 0.2, OK), (-0.9, 0.0, OK), (1.5, 1.0, OK), (1.5, 0.1, WARNING), (-3600, 0.1, WARNING)],
)
def test_a_slow_answer_is_no_skew(skew_s: float, unsure_s: float, status: Status) -> None:
    """Half of the round trip is not known, and is not blamed on the clock."""
    assert clocks.judge("clock", skew_s, unsure_s).status is status


def test_a_changed_include_says_what_comes_and_goes() -> None:
    """Before the daemon refuses to start with it."""
    names = [("shop", "users"), ("shop", "orders"), ("crm", "leads")]
    former, now = Scope(("shop.*",), (), "kept"), Scope(("*.*",), ("shop.orders",), "kept")
    found = coverage.judge(now, former, names)

    assert found.status is PROBLEM
    assert (found.facts["comes"], found.facts["goes"]) == (["crm.leads"], ["shop.orders"])
    assert "--adopt-options" in found.remedy
    assert "WATCHER_INCLUDE=shop.*" in found.remedy
    assert coverage.judge(former, Scope(("shop.*", "shop.*"), (), "kept"), names).status is OK  # the same, differently
    assert coverage.judge(Scope(("shpo.*",), (), "kept"), None, names).status is WARNING


def test_context_documents_do_not_come_or_go() -> None:
    """They are no history whatever is included, and a checkpoint does not say what their collection is called."""
    names = [("shop", "users"), ("shop", "watcher_context")]
    now = Scope(("*.*",), ("shop.x",), "kept", contexts="watcher_context")
    found = coverage.judge(now, Scope(("*.*",), (), "kept"), names)
    assert (found.facts["comes"], found.facts["goes"]) == ([], [])


def test_a_mistyped_rule_does_not_keep_secrets_unnoticed() -> None:
    """It withholds nothing, and is no error."""
    rules = [Redaction.parse("shop.usrs:password=drop"), Redaction.parse("*.users:ssn=drop")]
    (found,) = coverage.judge_redaction(rules, ["shop.orders", "shop.users"])
    assert found.status is WARNING
    assert "shop.usrs:password=drop" in found.said
    assert "shop.users" in found.remedy
    assert not list(coverage.judge_redaction(rules, []))  # nothing is there yet


def test_a_rule_of_retention_that_never_counts_is_pointed_out() -> None:
    """What it was to keep goes by another rule, and does not come back."""
    rules = (Retention("shop.*", "2mo"), Retention("shop.users", "1y"), Retention("shop.sesions", "30d"))
    found = list(coverage.judge_retention(rules, ["shop.sessions", "shop.users"]))
    assert [each.status for each in found] == [WARNING] * 2
    assert "rules before it" in found[0].said
    assert "shop.sessions" in found[1].remedy


def test_months_are_never_taken_for_minutes() -> None:
    """History that has expired does not come back, so `2m` is refused, with what to write instead."""
    assert (seconds("2min"), seconds("2mo")) == (120, 60 * 86_400)
    with pytest.raises(ValueError, match="2min or 2mo"):
        seconds("2m")


@pytest.mark.parametrize(
    ("wanted", "lacking", "status"),
    [
        (PreImages.ENABLE, [], OK),
        (PreImages.ENABLE, ["shop.users"], WARNING),
        (PreImages.USE, ["shop.users"], WARNING),
        (PreImages.OFF, ["shop.users"], OK),
    ],
)
def test_missing_pre_images_matter_only_to_who_wants_them(
    wanted: PreImages, lacking: list[str], status: Status
) -> None:
    """Switched off on purpose is not a fault."""
    found = pre_images.judge(wanted, 3, lacking)

    assert found.status is status
    assert found.facts["without"] == lacking


def test_pre_images_are_switched_on_by_what_can_be_pasted() -> None:
    """Also for a name full of quotes."""
    found = pre_images.judge(PreImages.USE, 1, ['shop.a"b'])

    assert r'db.getSiblingDB("shop").runCommand({ collMod: "a\"b", changeStreamPreAndPostImages:' in found.remedy


@pytest.mark.parametrize(("expires", "status"), [("off", OK), (86_400, OK), (60, WARNING)])
def test_pre_images_that_expire_soon_are_told(expires: Any, status: Status) -> None:
    """A daemon that was away for longer would record unknown values."""
    assert pre_images.judge_expiry(expires).status is status


def test_an_old_server_is_no_problem_unless_it_is_asked_for_too_much() -> None:
    """Old values can be told by history."""
    old, new = (
        Features(images=False, raw_updates=False, splits=False),
        Features(images=True, raw_updates=True, splits=True),
    )

    assert features.judge("5.0.1", old, PreImages.ENABLE).status is PROBLEM
    assert features.judge("5.0.1", old, PreImages.USE).status is WARNING
    assert features.judge("8.0.1", new, PreImages.ENABLE).said == "MongoDB 8.0.1"
    assert "$changeStreamSplitLargeEvent" in features.judge("6.0.5", new._replace(splits=False), PreImages.USE).said


def test_an_index_of_the_right_name_may_be_the_wrong_one() -> None:
    """Queries name their index, so another one under the name makes them wrong or slow."""
    wanted: list[dict[str, Any]] = [
        {"name": "a", "fields": [("x", 1), ("_id", 1)]},
        {"name": "b", "fields": [("y", 1)], "partialFilterExpression": {"y": {"$exists": True}}},
        {"name": "c", "fields": [("z", 1)]},
    ]
    there = {"a": {"key": {"_id": 1, "x": 1}}, "b": {"key": {"y": 1}}}

    assert indexes.judged(wanted, there) == ["a is of other fields", "b is of other documents", "c is missing"]


def test_disk_runs_out_with_a_warning_first() -> None:
    """A mongod whose disk is full ends."""
    found = [embedded.judge(Path("/data"), free * 10**9 // 2).status for free in (1, 4, 40)]

    assert found == [PROBLEM, WARNING, OK]


def test_a_leader_whose_lease_has_run_out_leads_no_more() -> None:
    """By the clock of the deployment, not of this machine."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    lease = {"owner": "a", "host": "one", "pid": 7, "term": 3, "expires_at": now + timedelta(seconds=5)}

    assert leader.judge(lease, now).said == "one, process 7 leads, term 3, for another 5 s unless renewed"
    assert "nobody leads" in leader.judge(lease, now + timedelta(seconds=6)).said
    assert leader.judge({"term": 3}, now).said == "nobody leads; last term 3"


def judged(person: Person, *needs: Need) -> list[Finding]:
    """What is found of someone's privileges."""
    return list(privileges.judge("privileges", person, needs, ("watchChanges", "keepHistory")))


def test_missing_privileges_are_granted_to_the_role_that_is_there() -> None:
    """A second role beside ours would have to be kept in step by hand."""
    need = Need(Resource("shop"), "collMod", "switch on")
    ours = Person("ann", "admin", ("watchChanges",), (), asked=True)
    (one,) = judged(ours, need)
    (two,) = judged(ours._replace(roles=("theirs",), database="$external"), need)

    assert one.status is PROBLEM
    assert 'grantPrivilegesToRole("watchChanges", [{ resource: { db: "shop", collection: "" }' in one.remedy
    assert 'db.getSiblingDB("$external").grantRolesToUser("ann", [{ role: "watcherMore", db: "admin" }])' in two.remedy
    assert one.facts["missing"] == [{"resource": {"db": "shop", "collection": ""}, "actions": ["collMod"]}]


def test_what_can_be_done_without_is_only_a_warning() -> None:
    """It does not keep anybody from recording."""
    need = Need(Resource("shop"), "collMod", "switch on", essential=False)

    assert [each.status for each in judged(Person("ann", "admin", (), (), asked=True), need)] == [WARNING]


def test_who_is_not_asked_may_do_everything() -> None:
    """Without authentication nobody has privileges, and nobody needs any."""
    need = Need(Resource("shop"), "find", "read")

    assert [each.status for each in judged(Person("", "", (), (), asked=False), need)] == [OK]
    assert [each.status for each in judged(Person("", "", (), (), asked=True), need)] == [PROBLEM]


def test_a_check_that_fails_is_no_finding() -> None:
    """Not known is not fine, and not broken either."""
    assert could_not("x", KeyError("surprise")).status is UNCHECKED


@pytest.mark.parametrize("part", installation.PARTS, ids=lambda part: part.name)
def test_an_installation_without_a_compiled_part_is_told_which_and_what_to_install(part: installation.Part) -> None:
    """It is slow in silence."""
    parts = [each._replace(in_use=True) for each in installation.PARTS]
    assert installation.judge(parts).status is OK
    found = installation.judge([each._replace(in_use=each.name != part.name) for each in parts])
    assert found.status is WARNING
    assert part.name in found.said
    assert found.facts == {"missing": [part.name]}
    assert "gcc python3-dev" in found.remedy


def test_no_compiled_part_is_unknown_to_the_doctor() -> None:
    """One that nobody looks at is slow in silence."""
    sources = [
        path.relative_to(ROOT) for root in ("change_history", "watcher") for path in ROOT.glob(f"{root}/**/*.pyx")
    ]
    assert sorted(part.name for part in installation.PARTS) == sorted(
        ".".join(path.with_suffix("").parts) for path in sources
    )


def standing(last: Sealed | None, age_s: float = 20, notes: int = 0, **said: bool) -> seals.SealingState:
    """How sealing stands: by default on, without a key, and with something to seal."""
    return seals.SealingState(
        said.get("sealing", True), said.get("signs", False), last, age_s, said.get("unsealed", True), notes
    )


def a_seal(**said: Any) -> Sealed:
    """The seventh seal of a history."""
    seal = Seal(7, "", "", 1, time="2026-01-01T00:00:00.000+00:00", **said)
    return Sealed(seal, seal.text(), "", "")


@pytest.mark.parametrize(
    ("how", "statuses", "word"),
    [
        (standing(None, notes=3, sealing=False), [], ""),
        (standing(None, notes=5000, sealing=False), [WARNING], "notes"),
        (standing(a_seal(), 9, sealing=False, unsealed=False), [WARNING], "WATCHER_SEAL is off"),
        (standing(None), [WARNING], "ever sealed"),
        (standing(None, unsealed=False), [OK], "nothing is recorded"),
        (standing(a_seal()), [OK], "seal 7"),
        (standing(a_seal(), 4000, unsealed=False), [OK], "seal 7"),
        (standing(a_seal(), 4000), [WARNING], "1.1 h old"),
        (standing(a_seal(key="ab")), [PROBLEM, OK], "are not"),
        (standing(a_seal(key="ab"), signs=True), [OK], "signed"),
    ],
)
def test_sealing_that_has_stopped_does_not_go_unnoticed(
    how: seals.SealingState, statuses: list[Status], word: str
) -> None:
    """Nobody looks at seals until they are needed."""
    found = list(seals.judge(how))
    assert [each.status for each in found] == statuses
    assert not word or re.search(word, found[0].said)
    assert all(each.remedy or each.status is OK for each in found)


def test_a_key_that_others_can_read_is_pointed_out(tmp_path: Path) -> None:
    """They can sign a history of their own."""
    file = tmp_path / "key.pem"
    file.touch(0o600)
    assert seals.judge_key(file) is None
    file.chmod(0o640)
    found = seals.judge_key(file)
    assert found is not None
    assert "chmod 600" in found.remedy
