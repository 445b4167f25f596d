"""How the daemon starts, refuses, waits and ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from tests.support.daemon import ROOT, Daemon, eventually
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pymongo.database import Database

    from watcher.embedded.mongod import Mongod


def test_a_position_of_another_replica_set_is_refused(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """The server would take the cluster time of another set without a word, and events would be lost."""
    one, other = own_server(), own_server()
    daemon = make_daemon(one.uri, "shop").start().ready()
    daemon.stop()
    elsewhere = make_daemon(other.uri, "shop", history_uri=one.uri, history_database=daemon.database.name).start()

    assert elsewhere.wait() == exit_codes.POSITION_REFUSED
    assert "belongs to replica set" in elsewhere.log()
    assert "WATCHER_STREAM=<another name>" in elsewhere.log()


def test_a_position_of_other_stream_options_is_refused(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """A token is a position only for the same filter; the refusal says what has changed."""
    daemon = make_daemon(replica_set_uri, database.name).start().ready()
    daemon.stop()
    changed = make_daemon(
        replica_set_uri,
        database.name,
        history_database=daemon.database.name,
        include=f"{database.name}.a,{database.name}.b",
    ).start()

    assert changed.wait() == exit_codes.POSITION_REFUSED
    assert f"include: {database.name}.* → {database.name}.a,{database.name}.b" in changed.log()


def test_a_damaged_position_is_an_error_with_a_remedy_and_no_loop(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Cut off, not hexadecimal, or not a token at all."""
    for token in ({"_data": "82"}, {"_data": "zz"}, {"no": "token"}):
        daemon = make_daemon(replica_set_uri, database.name, on_gap="stop").start().ready()
        daemon.stop()
        daemon.database.checkpoints.update_one({}, {"$set": {"token": token}})

        assert daemon.start().wait() == exit_codes.POSITION_LOST
        assert "WATCHER_STREAM=<another name>" in daemon.log()


def test_a_server_that_is_away_at_start_is_waited_for(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """It says so, keeps trying, and works once the server is there."""
    server = own_server()
    server.stop()
    daemon = make_daemon(server.uri, "shop").start()
    eventually(lambda: "failed, trying again" in daemon.log(), "a word about it")
    server.start()

    daemon.ready()
    daemon.client.shop.a.insert_one({"_id": 1})
    daemon.recorded("shop.a", 1)
    assert daemon.stop() == exit_codes.OK


def test_a_stop_while_the_server_is_away_does_not_hang(
    free_port: int, client: MongoClient[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """The back-off waits on the stop signal."""
    daemon = make_daemon(f"mongodb://127.0.0.1:{free_port}/?serverSelectionTimeoutMS=300", "shop").start()
    eventually(lambda: daemon.log().count("failed, trying again") >= 2, "two attempts")

    assert daemon.stop() == exit_codes.OK


def test_a_second_signal_ends_at_once(own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]) -> None:
    """Also while the orderly end waits for a server that no longer answers."""
    server = own_server()
    daemon = make_daemon(server.uri, "shop").start().ready()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        daemon.send(signal.SIGTERM)
        eventually(lambda: "stopping" in daemon.log(), "the first signal to be heard")
        time.sleep(1)
        assert daemon.stop(signal.SIGTERM) == exit_codes.ABORTED  # an orderly end would wait for the server
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_a_standalone_server_is_named_as_such(
    tmp_path: Path, make_daemon: Callable[..., Daemon], free_port: int
) -> None:
    """With what to type to make it a replica set."""
    from watcher.embedded.mongod import find_mongod

    (tmp_path / "db").mkdir()
    command = [find_mongod(), "--dbpath", tmp_path / "db", "--port", str(free_port), "--bind_ip", "127.0.0.1"]
    standalone = subprocess.Popen([*map(str, command), "--wiredTigerCacheSizeGB", "0.25"], stdout=subprocess.DEVNULL)
    try:
        daemon = make_daemon(f"mongodb://127.0.0.1:{free_port}/?directConnection=true", "shop").start()
        assert daemon.wait() == exit_codes.FATAL
        assert "rs.initiate()" in daemon.log()
    finally:
        standalone.terminate()
        standalone.wait()


def test_wrong_settings_are_all_named_at_once_and_nothing_is_started(tmp_path: Path) -> None:
    """Exit code 2; every problem, not the first one."""
    environment = {
        **os.environ,
        "WATCHER_MONGODB_URI": "http://nonsense",
        "WATCHER_BATCH_SIZE": "many",
        "WATCHER_INCLUDE": "nodot",
        "WATCHER_PRE_IMAGES": "perhaps",
        "WATCHER_STRAEM": "x",
    }
    done = subprocess.run(
        [sys.executable, "-m", "watcher", "run"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == exit_codes.USAGE
    for name in ("MONGODB_URI", "BATCH_SIZE", "INCLUDE", "PRE_IMAGES", "STRAEM"):
        assert f"WATCHER_{name}" in done.stderr
    assert "WATCHER_STREAM" in done.stderr
    assert done.stdout == ""


def test_a_taken_http_port_is_named_with_its_setting(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        daemon = make_daemon(replica_set_uri, database.name, http_port=port).start()

        assert daemon.wait() == exit_codes.FATAL
        assert str(port) in daemon.log()
        assert "WATCHER_HTTP_PORT" in daemon.log()


def test_without_the_privilege_for_pre_images_it_warns_and_goes_on(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    """The old value is unknown then; the event is not lost."""
    key = tmp_path / "key"
    key.write_text("c2VjcmV0IGtleSBmb3IgdGVzdHMgb25seQ==")
    key.chmod(0o600)
    server = own_server()
    with MongoClient[dict[str, Any]](server.uri) as admin:
        admin.shop.a.insert_one({"_id": 1, "n": 1})
        reader = [{"resource": {"db": "", "collection": ""}, "actions": ["changeStream", "find"]}]
        admin.admin.command("createRole", "watcher", privileges=reader, roles=[])
        roles = ["watcher", {"role": "readWrite", "db": "history_least"}]
        admin.admin.command("createUser", "watcher", pwd="pa:ss/word", roles=roles)
        admin.admin.command("createUser", "root", pwd="root", roles=["root"])
    server.stop()
    server._extra_args = ("--auth", "--keyFile", str(key))  # the same data, now with authentication
    server._initiate = False
    server.start()
    root = server.uri.replace("mongodb://", "mongodb://root:root@") + "?directConnection=true"
    uri = server.uri.replace("mongodb://", "mongodb://watcher:pa%3Ass%2Fword@") + "?authSource=admin"
    daemon = make_daemon(root, "shop", include="shop.*", history_database="history_least", mongodb_uri=uri)
    daemon.start().ready()
    with MongoClient[dict[str, Any]](root) as admin:
        admin.shop.a.update_one({"_id": 1}, {"$set": {"n": 2}})
    daemon.recorded("shop.a", 1)

    assert any(line["level"] == "warning" and "pre-images" in line["event"] for line in daemon.log_lines())
    assert "pa:ss" not in daemon.log()
    assert "pa%3Ass" not in daemon.log()
    assert daemon.stop() == exit_codes.OK


def test_a_wrong_password_ends_with_a_remedy(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """Trying again would not help, and could lock the account."""
    server = own_server()
    uri = server.uri.replace("mongodb://", "mongodb://nobody:wrong@") + "?authSource=admin"
    daemon = make_daemon(server.uri, "shop", mongodb_uri=uri).start()

    assert daemon.wait() == exit_codes.FATAL
    assert "AuthenticationFailed" in daemon.log()
    assert "WATCHER_MONGODB_URI" in daemon.log()


@pytest.mark.parametrize("times", [1, 2])
def test_make_run_needs_no_settings_and_goes_on_over_the_same_data(tmp_path: Path, free_port: int, times: int) -> None:
    """The embedded default: says where it listens; the read commands find it; Ctrl-C ends both."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WATCHER_")},
        "WATCHER_EMBEDDED_DIR": str(tmp_path),
        "WATCHER_EMBEDDED_PORT": str(free_port),
        "WATCHER_HTTP_PORT": "0",
    }
    for turn in range(times):
        out = tmp_path / f"out{turn}"
        with out.open("wb") as file:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "watcher", "run"], env=environment, cwd=ROOT, stdout=file, stderr=file
            )
        try:
            eventually(lambda: f"127.0.0.1:{free_port}" in out.read_text(), "where it listens")  # noqa: B023
            with MongoClient[dict[str, Any]](f"mongodb://127.0.0.1:{free_port}/?directConnection=true") as client:
                opened = {"token": {"$exists": True}}
                eventually(lambda: client.change_history.checkpoints.find_one(opened), "the stream")  # noqa: B023
                client.shop.users.insert_one({"_id": turn, "name": "Ada"})
                eventually(lambda: client.change_history.history.find_one({"document_id": turn}), "history")  # noqa: B023
            shown = subprocess.run(
                [sys.executable, "-m", "watcher", "log", "shop.users"],
                env=environment,
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            )
            assert shown.stdout.count("Ada") == turn + 1
        finally:
            daemon.send_signal(signal.SIGINT)
            assert daemon.wait(60) == exit_codes.OK
