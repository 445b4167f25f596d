"""What `watcher doctor` says of who did it, from what is there."""

from __future__ import annotations

from watcher.doctor.actors import Routes, judge
from watcher.doctor.finding import Status


def test_closed_routes_are_named_with_the_setting_that_opens_them() -> None:
    """Or nobody learns that more could be known."""
    found = judge(Routes("", (), (), sessions=False), {"": 10})

    assert found.status is Status.OK
    assert "known of 0 of the last 10 events; no way of knowing is open" in found.said
    for setting in ("CONTEXT_COLLECTION=", "ACTOR_FIELDS=", "ACTOR_SESSIONS=on"):
        assert f"WATCHER_{setting}" in found.remedy


def test_what_is_open_and_used_is_counted_and_not_advised() -> None:
    """Advice that is followed is not repeated."""
    routes = Routes("watcher_context", ("shop",), ("updated_by:updated_at",), sessions=True)
    found = judge(routes, {"context": 5, "stamp": 3, "session": 1, "": 1})

    assert found.said == (
        "known of 9 of the last 10 events (5 by context, 3 by stamp, 1 by session); open: context documents (in "
        "shop.watcher_context), stamps in updated_by:updated_at, database users"
    )
    assert (found.status, found.remedy) == (Status.OK, "")
    assert found.facts["known"] == 9


def test_stamps_that_nobody_writes_are_a_warning() -> None:
    """The setting is mistyped, or the application does not stamp."""
    found = judge(Routes("watcher_context", (), ("updatedby",), sessions=True), {"": 10})

    assert found.status is Status.WARNING
    assert "No event had a stamp in updatedby" in found.remedy
    assert "recorded(session" in found.remedy


def test_a_history_without_events_is_no_reason_to_warn() -> None:
    """The daemon has only just started."""
    found = judge(Routes("watcher_context", (), ("updated_by",), sessions=False), {})

    assert found.status is Status.OK
    assert found.said.startswith("nothing is recorded yet")
