"""`watcher serve` as a process, and what is asked of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote

from tests.support.daemon import ROOT, eventually
from tests.support.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path


class Reply(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


class Served:
    """`watcher serve` with settings by environment; its log goes to a file.

    Args:
        log_file: appended to.
        uri: of the deployment that keeps the history.
        history_database: its name.
        settings: others, by their lower-case names.
    """

    def __init__(self, log_file: Path, *, uri: str, history_database: str, **settings: Any) -> None:
        self._log_file = log_file
        self.port = free_port()
        self.watched = ""
        given = {"mongodb_uri": uri, "history_database": history_database, "serve_port": self.port, **settings}
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WATCHER_")},
            **{f"WATCHER_{name.upper()}": str(value) for name, value in given.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> Reply:
        """Ask for a path, with headers whose names have `_` for `-`."""
        return self.send("GET", path, None, **headers)

    def send(self, method: str, path: str, body: bytes | None, /, **headers: str) -> Reply:
        """Send a request."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            reply = connection.getresponse()
            found = {name.lower(): value for name, value in reply.getheaders()}
            return Reply(reply.status, found, reply.read())
        finally:
            connection.close()

    def log(self) -> str:
        """What it has logged."""
        return self._log_file.read_text()

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            return self.get("/live").status == 200
        except OSError:
            return False

    def __enter__(self) -> Self:
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "watcher", "serve"], env=self._environment, cwd=ROOT, stdout=log, stderr=log
            )
        eventually(self._listens, "an answer")
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(30)


class Follower:
    """A client of server-sent events."""

    def __init__(self, served: Served, query: str, **headers: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", served.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", f"/api/v1/follow{query}", headers=named)
        self._reply = self._connection.getresponse()
        assert self._reply.status == 200
        assert self._reply.readline() == b"retry: 2000\n"

    def next(self) -> tuple[str, Any, str]:
        """The next event."""
        said: dict[str, str] = {}
        while True:
            line = self._reply.readline().decode().rstrip("\n")
            if line:
                name, _, text = line.partition(": ")
                said[name] = text
            elif "data" in said:
                return said["event"], json.loads(said["data"]), said["id"]

    def close(self) -> None:
        """Go away."""
        self._connection.close()


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"authorization": f"Bearer {token}"}


def path_of(*parts: str) -> str:
    """A path of parts, whatever is in them."""
    return "/" + "/".join(quote(part, safe="", errors="surrogateescape") for part in parts)
