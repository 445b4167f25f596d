"""Servers for tests: free ports, servers with users or TLS, a cut oplog, and daemons that come as restricted users."""

from __future__ import annotations

import json
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote_plus

import pytest
import trustme
from cryptography import x509
from pymongo import MongoClient

from tests.support.daemon import Daemon, eventually, watcher
from watcher.cli import exit_codes
from watcher.embedded.mongod import Mongod, port_free
from watcher.operations import privileges

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BEGIN, _END = 20_000, 32_000
_USUAL = range(27_000, 28_200)
"""Around MongoDB's own ports and those of the embedded server, which somebody here may use."""
_given: set[int] = set()
_dice = random.SystemRandom()  # tests seed the usual one, and those of another process would choose the same


def free_ports(number: int) -> list[int]:
    """So many TCP ports on 127.0.0.1 that nobody uses at the moment; no port is given twice.

    Below those that the kernel gives to outgoing connections and to whoever asks for any: between the choice and the
    use, or while a server is away, these might take it.
    """
    found: list[int] = []
    while len(found) < number:
        port = _dice.randrange(_BEGIN, _END)
        if port not in _given and port not in _USUAL and port_free(port):
            _given.add(port)
            found.append(port)
    return found


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


class Standalone(Mongod):
    """A server that is in no replica set."""

    def _command(self, binary: Path) -> list[str]:
        arguments = super()._command(binary)
        at = arguments.index("--replSet")
        return arguments[:at] + arguments[at + 2 :]


class Certificate(NamedTuple):
    """A certificate with its key in one file, and its subject as MongoDB names a user by it (RFC 4514)."""

    file: Path
    subject: str


class Authority:
    """Signs certificates, and keeps them in a folder.

    Args:
        folder: made if missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, organization: str) -> Certificate:
        """Sign a certificate for 127.0.0.1; a server and its callers must not be of one organization."""
        issued = self._authority.issue_cert("127.0.0.1", common_name=name, organization_name=organization)
        file = self._folder / f"{name}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(file))
        subject = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).subject
        return Certificate(file, subject.rfc4514_string())

    def options(self, caller: Certificate | None = None) -> str:
        """What a connection string ends with."""
        shown = f"&tlsCertificateKeyFile={quote_plus(str(caller.file))}" if caller is not None else ""
        return f"&tls=true&tlsCAFile={quote_plus(str(self.file))}{shown}"


PASSWORD = "word"
_KEY = "c2VjcmV0IGtleSBmb3IgdGVzdHMgb25seQ=="


class Secured:
    """A deployment with authentication on, and its administrator.

    Args:
        server: the running server.
        options: what every connection string ends with, such as `&tls=true`.
    """

    def __init__(self, server: Mongod, options: str = "") -> None:
        self.server = server
        self._options = options
        self.root: MongoClient[Any] = MongoClient(self.uri("root"))

    def uri(self, user: str) -> str:
        """The connection string of a user."""
        return (
            f"mongodb://{user}:{PASSWORD}@127.0.0.1:{self.server.port}/?authSource=admin&replicaSet=rs0{self._options}"
        )

    def admin(self, command: dict[str, Any]) -> None:
        """Run one of the commands that `watcher roles --json` prints; a user gets the password of all."""
        with_password = {"pwd": PASSWORD} if "createUser" in command else {}
        self.root.admin.command({**command, **with_password})

    def user(self, name: str, privileges: list[dict[str, Any]]) -> str:
        """Make a user with just these privileges, instead of an earlier one of the name; its connection string."""
        admin = self.root.admin
        if admin.command("usersInfo", name)["users"]:
            admin.command("dropUser", name)
            admin.command("dropRole", f"role of {name}")
        admin.command({"createRole": f"role of {name}", "privileges": privileges, "roles": []})
        admin.command("createUser", name, pwd=PASSWORD, roles=[f"role of {name}"])
        return self.uri(name)


@contextmanager
def secured(folder: Path, *more: str, options: str = "") -> Iterator[Secured]:
    """A deployment with authentication on, until the end of the block.

    Args:
        folder: for its data.
        more: arguments of `mongod`.
        options: what connection strings end with.
    """
    key = folder / "key"
    key.write_text(_KEY)
    key.chmod(0o600)
    arguments = ("--keyFile", str(key), *more)
    with Mongod(
        folder / "data", free_port(), initiate=False, cache_gb=0.25, oplog_mb=256, extra_args=arguments
    ) as server:
        # Before there is any user, whoever comes from this machine may make the first one.
        bare = f"mongodb://127.0.0.1:{server.port}/?directConnection=true{options}"
        with MongoClient[dict[str, Any]](bare) as first:
            member = {"_id": 0, "host": f"127.0.0.1:{server.port}"}
            first.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
            until = time.monotonic() + 60
            while not first.admin.command("hello")["isWritablePrimary"]:
                assert time.monotonic() < until, "no primary"
                time.sleep(0.05)
            first.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
        found = Secured(server, options)
        try:
            yield found
        finally:
            found.root.close()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A replica set that knows its users and asks for privileges."""
    with secured(tmp_path_factory.mktemp("secured")) as found:
        yield found


def overrun(client: MongoClient[Any]) -> None:
    """Write until the oldest entry of the oplog is younger than all that was there.

    The oplog is never cut beyond the storage engine's last checkpoint, hence `--syncdelay 1` on these servers.
    """
    oldest = client.local["oplog.rs"].find_one(sort=[("$natural", 1)])
    assert oldest is not None
    last = client.local["oplog.rs"].find_one(sort=[("$natural", -1)])
    assert last is not None
    filler = {"x": "x" * 100_000}

    def cut() -> bool:
        client.filler.a.insert_many([dict(filler) for _ in range(100)])
        first = client.local["oplog.rs"].find_one(sort=[("$natural", 1)])
        return first is not None and first["ts"] > last["ts"]

    eventually(cut, "the oplog to be cut", patience_s=120)


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
        (watched if found["deployment"] == privileges.WATCHED or kept is None else kept).admin(found["command"])


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
