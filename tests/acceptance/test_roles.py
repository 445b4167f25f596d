"""What `watcher roles` prints can be typed, and suffices for every command: for readers, for reverts, for operators."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tests.support.daemon import ROOT, eventually, watcher
from tests.support.load import MONGOSH
from tests.support.servers import PASSWORD, clean, daemon_of, give
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.daemon import Daemon
    from tests.support.servers import Secured


@pytest.fixture
def one(deployment: Secured) -> Iterator[Secured]:
    """The same, without users, roles and data of ours afterwards."""
    yield deployment
    clean(deployment)


def in_order(privileges: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Privileges in an order of our own; the server has another."""
    return sorted((str(sorted(each["resource"].items())), sorted(each["actions"])) for each in privileges)


@contextmanager
def followed(daemon: Daemon, output: Path) -> Iterator[Path]:
    """Follow a collection into a file until the end of the block."""
    command = [sys.executable, "-m", "watcher", "log", "shop.users", "--follow"]
    with output.open("wb") as out:
        process = subprocess.Popen(command, env=daemon._environment, cwd=ROOT, stdout=out)
        try:
            eventually(output.read_text, "what is recorded already")
            yield output
        finally:
            process.kill()
            process.wait()


def test_what_is_printed_runs_in_mongosh(one: Secured, tmp_path: Path) -> None:
    """As it stands, but for the password, which mongosh would ask for."""
    if MONGOSH is None:
        pytest.skip("no mongosh on the PATH, and WATCHER_TEST_MONGOSH names none")
    daemon = daemon_of(one, tmp_path)
    script = watcher(daemon, "roles").stdout.replace("passwordPrompt()", json.dumps(PASSWORD))
    update = watcher(daemon, "roles", "--update").stdout
    (tmp_path / "roles.js").write_text(f"{script}\n{update}")
    ran = subprocess.run(
        [MONGOSH, "--quiet", one.uri("root"), "--file", str(tmp_path / "roles.js")],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr + ran.stdout
    printed = [json.loads(line)["command"] for line in watcher(daemon, "roles", "--json").stdout.splitlines()]
    names = {each["createRole"] for each in printed if "createRole" in each}
    found = one.root.admin.command("rolesInfo", showPrivileges=True)["roles"]

    assert {each["role"] for each in found} == names
    for role in (each for each in printed if "createRole" in each):
        (there,) = [each for each in found if each["role"] == role["createRole"]]
        assert in_order(there["privileges"]) == in_order(role["privileges"])
    users = {each["user"] for each in one.root.admin.command("usersInfo")["users"]}
    assert users == {"root", "watcher", "reader", "reverter", "eraser", "sealer"}


def test_readers_need_only_to_read(one: Secured, tmp_path: Path) -> None:
    """Every command that reads; and what writes is refused to them."""
    daemon = daemon_of(one, tmp_path)
    give(daemon, one)
    reader = daemon_of(one, tmp_path, user="reader")
    one.root.shop.users.insert_many([{"_id": 1, "n": 1}, {"_id": 2}])
    with daemon:
        daemon.ready()
        daemon.recorded("shop.users", 1)
        one.root.shop.users.delete_one({"_id": 2})
        deleted = {"operation": "delete", "document_id": 2}
        eventually(lambda: daemon.database.history.count_documents(deleted), f"the deletion\n{daemon.log()}")
        with followed(reader, tmp_path / "followed") as seen:
            one.root.shop.users.update_one({"_id": 1}, {"$set": {"n": 2}})
            eventually(lambda: "n: 1 → 2" in seen.read_text(), "the update, followed")
        assert daemon.stop() == exit_codes.OK
    target = tmp_path / "users.ndjson"
    for arguments in (
        ("log", "shop.users", "1"),
        ("log", "shop.users", "--stat"),
        ("show", "shop.users", "1", "--at", "-1"),
        ("show", "shop.users", "--at", "2h ago"),
        ("diff", "shop.users", "1", "1", "2"),
        ("blame", "shop.users", "1"),
        ("stats",),
        ("gaps",),
        ("rejected", "list"),
        ("checkpoint", "show"),
        ("snapshots", "verify"),
        ("export", "shop.users", "-o", str(target)),
    ):
        ran = watcher(reader, *arguments)
        fine = {exit_codes.OK, exit_codes.UNKNOWN} if "2h ago" in arguments else {exit_codes.OK}
        assert ran.returncode in fine, (arguments, ran.stderr)
    assert json_util.loads(target.read_text().splitlines()[0])
    before = one.root.shop.users.find_one({"_id": 1})
    refused = watcher(reader, "revert", "shop.users", "1", "--to", "1", "--yes")

    assert refused.returncode == exit_codes.REFUSED
    assert "not authorized" in refused.stderr
    assert one.root.shop.users.find_one({"_id": 1}) == before
    reverter = daemon_of(one, tmp_path, user="reverter")
    for name in ("1", "2"):
        put_back = watcher(reverter, "revert", "shop.users", name, "--to", "1", "--yes")
        assert put_back.returncode == exit_codes.OK, put_back.stderr
    assert [*one.root.shop.users.find({}, sort=[("_id", 1)])] == [{"_id": 1, "n": 1}, {"_id": 2}]


def test_who_records_cannot_erase(one: Secured, tmp_path: Path) -> None:
    """The eraser can, and expire history, and nothing else; the daemon goes on under the erasure."""
    daemon = daemon_of(one, tmp_path)
    give(daemon, one)
    eraser = daemon_of(one, tmp_path, user="eraser", retention="shop.*=1s")
    one.root.shop.users.insert_many([{"_id": 1, "name": "Ada"}, {"_id": 2, "name": "Bob"}])
    with daemon:
        daemon.ready()
        daemon.recorded("shop.users", 2)
        refused = watcher(daemon, "erase", "shop.users", "1", "--yes")
        assert refused.returncode == exit_codes.REFUSED, refused.stderr
        erased = watcher(eraser, "erase", "shop.users", "1", "--yes", "--value", "Ada", "--reason", "asked for")
        assert erased.returncode == exit_codes.OK, erased.stderr
        one.root.shop.users.update_one({"_id": 1}, {"$set": {"name": "Ada L."}})
        one.root.shop.users.update_one({"_id": 2}, {"$set": {"name": "Rob"}})
        eventually(lambda: daemon.database.history.count_documents({"operation": "update"}) == 2, "the updates")
        assert not any("Ada" in str(each) for each in daemon.database.history.find())
        assert "asked for" in watcher(eraser, "erase", "--list").stdout
        done = watcher(eraser, "retention", "run", "--yes")
        assert done.returncode == exit_codes.OK, done.stderr
        assert watcher(eraser, "revert", "shop.users", "2", "--to", "-2", "--yes").returncode != exit_codes.OK


def test_rejected_events_and_snapshots_are_looked_after_by_the_same_user(one: Secured, tmp_path: Path) -> None:
    """`watcher rejected` and `watcher snapshots` are an operator's, with the daemon's settings."""
    daemon = daemon_of(one, tmp_path)
    give(daemon, one)
    with daemon:
        daemon.ready()
        refuse = {"$nor": [{"document_id": "bad"}]}
        daemon.database.command({"collMod": "history", "validator": refuse})
        one.root.shop.users.insert_one({"_id": "bad"})
        eventually(lambda: daemon.database.rejected.count_documents({}), f"a rejected event\n{daemon.log()}")
        assert daemon.stop() == exit_codes.OK
    daemon.database.command({"collMod": "history", "validator": {}})
    for arguments in (("rejected", "retry", "--all"), ("snapshots", "rebuild"), ("snapshots", "verify", "--repair")):
        ran = watcher(daemon, *arguments)
        assert ran.returncode == exit_codes.OK, (arguments, ran.stderr)
    assert daemon.database.rejected.count_documents({}) == 0
    assert daemon.database.history.count_documents({"document_id": "bad"}) == 1


def test_who_reads_cannot_seal_and_who_seals_cannot_change_history(one: Secured, tmp_path: Path) -> None:
    """Else a seal would prove no more than what it is to prove."""
    daemon = daemon_of(one, tmp_path, seal="on", seal_interval_s=1)
    give(daemon, one)
    one.root.shop.users.insert_one({"_id": 1, "n": 1})
    with daemon:
        daemon.ready()
        daemon.recorded("shop.users", 1)
        eventually(lambda: daemon.database.seals.count_documents({}), f"a seal\n{daemon.log()}")
        assert daemon.stop() == exit_codes.OK
    reader, sealer = (daemon_of(one, tmp_path, user=name) for name in ("reader", "sealer"))
    assert watcher(reader, "verify").returncode == exit_codes.OK
    exported = watcher(reader, "seal", "export")
    assert len(exported.stdout.splitlines()) == daemon.database.seals.count_documents({})

    refused = watcher(reader, "seal")
    assert refused.returncode == exit_codes.REFUSED, refused.stderr
    sealed = watcher(sealer, "seal")
    assert sealed.returncode == exit_codes.OK, sealed.stderr
    with MongoClient[dict[str, Any]](one.uri("sealer")) as client:
        kept = client[daemon.database.name]
        for forbidden in (
            lambda: kept.history.insert_one({}),
            lambda: kept.history.update_one({}, {"$set": {"n": 2}}),
            lambda: kept.history.delete_one({}),
            lambda: kept.seals.update_one({}, {"$set": {"n": 2}}),
            lambda: kept.seals.delete_one({}),
        ):
            with pytest.raises(OperationFailure, match="not authorized"):
                forbidden()
