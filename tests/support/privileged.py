"""Daemons that come as the users which `watcher roles` makes, to deployments that ask for privileges."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.commands import watcher
from tests.support.daemon import Daemon, eventually
from watcher.cli import exit_codes
from watcher.operations import roles

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.secured import Secured

KEPT = "change_history"


def clean(deployment: Secured) -> None:
    """Remove what a test has made."""
    root = deployment.root
    for user in root.admin.command("usersInfo")["users"]:
        if user["user"] != "root":
            root.admin.command("dropUser", user["user"])
    for role in root.admin.command("rolesInfo")["roles"]:
        root.admin.command("dropRole", role["role"])
    for name in ("shop", "crm", KEPT):
        root.drop_database(name)


def daemon_of(
    watched: Secured, folder: Path, kept: Secured | None = None, user: str = "watcher", **settings: Any
) -> Daemon:
    """A daemon, not yet started, that comes as the user of the printed commands."""
    elsewhere = {"history_uri": kept.uri(user)} if kept is not None else {}
    root = (kept or watched).root
    return Daemon(
        root,
        folder / "log",
        uri=watched.uri(user),
        history_database=KEPT,
        **{"include": "shop.*"} | elsewhere | settings,
    )


def give(daemon: Daemon, watched: Secured, kept: Secured | None = None) -> None:
    """Run what `watcher roles --json` prints for the settings of a daemon."""
    printed = watcher(daemon, "roles", "--json")
    assert printed.returncode == exit_codes.OK, printed.stderr
    for line in printed.stdout.splitlines():
        found = json.loads(line)
        (watched if found["deployment"] == roles.WATCHED or kept is None else kept).admin(found["command"])


def live(watched: Secured, daemon: Daemon) -> None:
    """Go through all that a daemon does: baseline, images, events, a gap and its reconciliation."""
    shop = watched.root.shop
    shop.users.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 1}])
    with daemon:
        daemon.ready()
        baseline = {"operation": "baseline", "namespace": "shop.users"}
        eventually(lambda: daemon.database.history.count_documents(baseline) == 2, f"the baseline\n{daemon.log()}")
        shop.users.update_one({"_id": 1}, {"$set": {"n": 2}})
        updated = {"operation": "update", "document_id": 1}
        event = eventually(lambda: daemon.database.history.find_one(updated), f"the update\n{daemon.log()}")
        (change,) = event["changes"]
        assert (change["old_value"], change.get("old_value_from")) == (1, None)  # told by a pre-image
        for number in range(200):
            shop.users.update_one({"_id": 2}, {"$set": {"n": number + 10}})
        eventually(lambda: daemon.database.snapshots.count_documents({}), f"a snapshot\n{daemon.log()}")
        shop.create_collection("later").insert_one({"_id": "new"})
        daemon.recorded("shop.later", "new")
        assert daemon.stop() == exit_codes.OK
    shop.users.delete_one({"_id": 2})
    daemon.database.checkpoints.update_one({}, [{"$set": {"updated_at": {"$subtract": ["$updated_at", 60_000]}}}])
    moved = watcher(daemon, "checkpoint", "set", "--now", "--yes")
    assert moved.returncode == exit_codes.OK, moved.stderr
    with daemon:
        reconciled = {"operation": "reconcile", "document_id": 2}
        eventually(lambda: daemon.database.history.count_documents(reconciled), f"it is level\n{daemon.log()}")
        level = {"operation": "gap", "description.level": True}
        eventually(lambda: daemon.database.history.count_documents(level), f"the gap is level\n{daemon.log()}")
        assert daemon.stop() == exit_codes.OK
    grave = [line for line in daemon.log_lines() if line["level"] in {"warning", "error"}]
    assert [line["event"] for line in grave if "gap" not in line["event"]] == []
    assert daemon.database.changes.count_documents({"document_id": 1})  # the view
