"""TLS and X.509 by the connection string alone, on a real server that takes nothing else."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure

from config.settings import Settings
from tests.support.daemon import Daemon, eventually, watcher
from tests.support.servers import Authority, secured
from watcher.cli import exit_codes
from watcher.operations import privileges
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers import Secured

KEPT = "change_history"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose signature the server has, and wants."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Secured]:
    """A replica set that talks TLS only."""
    own = authority.issue("server", "servers")
    arguments = ("--tlsMode", "preferTLS", "--tlsCertificateKeyFile", str(own.file), "--tlsCAFile", str(authority.file))
    anybody = "--tlsAllowConnectionsWithoutCertificates"
    folder = tmp_path_factory.mktemp("tls")
    with secured(folder, *arguments, anybody, options=authority.options()) as found:
        found.root.admin.command("setParameter", 1, tlsMode="requireTLS")
        with (
            MongoClient[Any](f"mongodb://127.0.0.1:{found.server.port}/", serverSelectionTimeoutMS=500) as plain,
            pytest.raises(ConnectionFailure),
        ):
            plain.admin.command("ping")
        yield found


@pytest.fixture
def make(deployment: Secured, tmp_path: Path) -> Iterator[Any]:
    """A function that makes a daemon for a connection string; roles, users and data of ours are removed afterwards."""
    root = deployment.root

    def daemon(uri: str, **settings: Any) -> Daemon:
        return Daemon(root, tmp_path / "log", uri=uri, history_database=KEPT, include="shop.*", **settings)

    yield daemon
    for name in ("shop", KEPT):
        root.drop_database(name)


def records(deployment: Secured, daemon: Daemon) -> None:
    """See a change come into history."""
    with daemon:
        daemon.ready()
        deployment.root.shop.users.insert_one({"_id": 1})
        daemon.recorded("shop.users", 1)
        assert daemon.stop() == exit_codes.OK


def test_the_daemon_and_the_commands_talk_tls(deployment: Secured, make: Any) -> None:
    """With nothing but `tls` and `tlsCAFile` in the connection string."""
    daemon = make(deployment.uri("root"))
    records(deployment, daemon)

    assert watcher(daemon, "log", "shop.users", "1").returncode == exit_codes.OK
    assert watcher(daemon, "doctor").returncode == exit_codes.OK


def test_a_certificate_is_a_user(deployment: Secured, authority: Authority, make: Any) -> None:
    """X.509, without any password; and what the doctor prints for such a user can be typed."""
    caller = authority.issue("watcher", "callers")
    uri = (
        f"mongodb://127.0.0.1:{deployment.server.port}/?replicaSet=rs0&authMechanism=MONGODB-X509"
        f"&authSource=%24external{authority.options(caller)}"
    )
    daemon = make(uri)
    external = deployment.root["$external"]
    external.command("createUser", caller.subject, roles=[])
    examined = watcher(daemon, "doctor")
    assert examined.returncode == exit_codes.UNHEALTHY
    assert f'db.getSiblingDB("$external").grantRolesToUser("{caller.subject}"' in examined.stdout

    for place in privileges.plan(Settings(include=("shop.*",)), Scope(("shop.*",), (), KEPT), [privileges.DAEMON]):
        for role in place.roles:
            deployment.admin(privileges.role_document(role))
            external.command("grantRolesToUser", caller.subject, roles=[{"role": role.name, "db": "admin"}])
    records(deployment, daemon)
    examined = watcher(daemon, "doctor", "--strict")
    assert examined.returncode == exit_codes.OK, examined.stdout


def test_a_certificate_is_named_as_the_user_who_wrote(deployment: Secured, authority: Authority, make: Any) -> None:
    """An application that logs in by X.509 has no password, but a subject."""
    caller = authority.issue("shop", "callers")
    roles = [{"role": "readWrite", "db": "shop"}]
    deployment.root["$external"].command("createUser", caller.subject, roles=roles)
    uri = (
        f"mongodb://127.0.0.1:{deployment.server.port}/?replicaSet=rs0&authMechanism=MONGODB-X509"
        f"&authSource=%24external{authority.options(caller)}"
    )
    with make(deployment.uri("root"), actor_sessions="on") as daemon, MongoClient[dict[str, Any]](uri) as application:
        daemon.ready()
        application.shop.users.insert_one({"_id": 1})
        application.shop.users.update_many({}, {"$set": {"a": 1}})
        told = {"operation": "insert", "namespace": "shop.users", "actor": {"$exists": True}}
        found = eventually(lambda: daemon.database.history.find_one(told), "the user")
        assert daemon.stop() == exit_codes.OK
        updates = [*daemon.database.history.find({"operation": "update", "namespace": "shop.users"})]
    name = f"{caller.subject}@$external"
    assert found["actor"] == {"id": name, "provenance": "session", "database_user": name}
    assert ["actor" in each for each in updates] == [False]


def test_an_unknown_certificate_ends_the_daemon_with_advice(
    deployment: Secured, authority: Authority, make: Any
) -> None:
    """Nobody of that name will turn up by waiting."""
    stranger = authority.issue("stranger", "callers")
    uri = (
        f"mongodb://127.0.0.1:{deployment.server.port}/?replicaSet=rs0&authMechanism=MONGODB-X509"
        f"&authSource=%24external{authority.options(stranger)}"
    )
    with make(uri) as daemon:
        assert daemon.wait() == exit_codes.FATAL
        assert "UserNotFound (11)" in daemon.log()
        assert "watcher doctor" in daemon.log()


def test_a_server_signed_by_another_authority_is_told_in_words(
    deployment: Secured, authority: Authority, make: Any, tmp_path: Path
) -> None:
    """The daemon waits, since a server's certificate can be renewed; but it says what it waits for, and stops."""
    other = Authority(tmp_path / "other")
    uri = deployment.uri("root").replace(authority.options(), other.options())
    with make(uri) as daemon:
        eventually(lambda: "certificate verify failed" in daemon.log(), "the reason in the log")
        assert "word@" not in daemon.log()
        assert daemon.stop(signal.SIGTERM) == exit_codes.OK
        (trouble, *_) = [line for line in daemon.log_lines() if line["event"] == "failed, trying again"]
        assert "127.0.0.1" in trouble["error"]
    examined = watcher(daemon, "doctor")

    assert examined.returncode == exit_codes.UNHEALTHY
    assert "certificate verify failed" in examined.stdout
    assert "tlsCAFile=… in WATCHER_MONGODB_URI" in examined.stdout
