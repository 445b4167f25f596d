"""`watcher serve` as a process: beside the daemon, with rights to read alone, behind a proxy."""

from __future__ import annotations

import signal
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

from tests.support.daemon import Daemon, eventually, watcher
from tests.support.recording import Recording
from tests.support.servers import free_port, secured
from tests.support.web import Served
from watcher.operations import privileges
from watcher.operations.needs import reading

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo import MongoClient


def status_of(port: int, path: str) -> int:
    """What is answered; 0: nothing."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_the_daemon_serves_too_and_takes_it_along_when_it_ends(
    client: MongoClient[Any], replica_set_uri: str, tmp_path: Path
) -> None:
    """`watcher run --serve`: nothing is left behind, and what serves is another process."""
    port = free_port()
    daemon = Daemon(
        client,
        tmp_path / "log",
        uri=replica_set_uri,
        history_database="run_serve_history",
        include="run_serve.*",
        serve_port=port,
    )
    try:
        daemon.process = daemon.command("run", "--serve")
        eventually(lambda: status_of(port, "/ready") == 200, "pages")
        assert watcher(daemon, "health", "--serve").returncode == 0
        client.run_serve.orders.insert_one({"_id": 1})
        daemon.recorded("run_serve.orders", 1)
        assert status_of(port, "/api/v1/collections/run_serve.orders/documents/1") == 200

        assert daemon.stop(signal.SIGTERM) == 0
        eventually(lambda: status_of(port, "/live") == 0, "an end")
        assert watcher(daemon, "health", "--serve").returncode == 1
    finally:
        daemon.__exit__()
        client.drop_database("run_serve")
        client.drop_database("run_serve_history")


def test_a_user_that_may_only_read_is_enough(tmp_path: Path) -> None:
    """For every question, following too."""
    with secured(tmp_path) as deployment:
        root = deployment.root
        with Recording(root, "shop") as recording:
            root.shop.orders.insert_one({"_id": 17, "status": "new"})
            root.shop.orders.update_one({"_id": 17}, {"$set": {"status": "paid"}})
            recording.catch_up()
            name = recording.history.name
            uri = deployment.user("reader", privileges.documents(reading(name)))
            with Served(tmp_path / "log", uri=uri, history_database=name) as served:
                of_document = "/api/v1/collections/shop.orders/documents/17"
                for path in (
                    "/ready",
                    "/api/v1/collections",
                    "/api/v1/events",
                    "/api/v1/actors",
                    "/api/v1/gaps",
                    "/api/v1/stats?of=collections&of=days&of=documents&of=fields&of=actors",
                    "/api/v1/collections/shop.orders/documents?where=status%3Dpaid",
                    "/api/v1/collections/shop.orders/diff?from=2020-01-01",
                    of_document,
                    f"{of_document}/events",
                    f"{of_document}/versions",
                    f"{of_document}/diff?from=1",
                    f"{of_document}/blame",
                ):
                    reply = served.get(path)
                    assert reply.status == 200, (path, reply.body, served.log())
                connection = HTTPConnection("127.0.0.1", served.port, timeout=20)
                connection.request("GET", "/api/v1/follow?recorded=1")
                assert connection.getresponse().status == 200
                connection.close()


def test_behind_a_proxy_only_a_trusted_one_is_believed(
    client: MongoClient[Any], replica_set_uri: str, tmp_path: Path
) -> None:
    """The user that it has signed on, where a request comes from, and the path under which it is shown."""
    tokens = tmp_path / "tokens.toml"
    tokens.write_text('[[user]]\nname = "*@example.org"\nread = ["*.*"]\n')
    proxied = {"serve_user_header": "X-Forwarded-User", "serve_root_path": "/history", "serve_tokens": tokens}
    shown = {"x_forwarded_user": "ann@example.org", "x_forwarded_for": "203.0.113.9"}
    for trusted, status in (("127.0.0.0/8", 200), ("10.0.0.0/8", 401)):
        with Served(
            tmp_path / "log",
            uri=replica_set_uri,
            history_database="proxied_history",
            serve_trusted_proxies=trusted,
            access_log=tmp_path / "access.log",
            **proxied,
        ) as served:
            assert served.get("/api/v1/collections", **shown).status == status
            assert served.get("/history/api/v1/collections", **shown).status == status
            assert served.get("/api/v1/collections", x_forwarded_user="eve@example.com").status == 401
            login = served.get("/history/")
            assert (login.status, login.headers["location"]) == (303, "/history/login?next=%2F")
    refused = [line for line in (tmp_path / "access.log").read_text().splitlines() if "203.0.113.9" in line]
    assert refused == []  # it was let in, and what is not trusted is not believed
