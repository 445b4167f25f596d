"""Every command, against a server that refuses: no traceback, and always a word about what to do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from pymongo import MongoClient

from tests.support.daemon import FULL_SIZE
from tests.support.recording import Recording
from tests.support.servers import Standalone
from watcher.cli import exit_codes
from watcher.cli.main import watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from watcher.embedded.mongod import Mongod

_NAMESPACE = "shop.a"
_COMMANDS = [
    ("log", _NAMESPACE),
    ("log", _NAMESPACE, "1", "--field", "l.0"),
    ("log", "--stat"),
    ("show", _NAMESPACE, "1", "--at", "1"),
    ("show", _NAMESPACE),
    ("diff", _NAMESPACE, "1", "1", "2"),
    ("blame", _NAMESPACE, "1"),
    ("export", _NAMESPACE),
    ("stats",),
    ("gaps",),
    ("rejected", "list"),
    ("checkpoint", "show"),
    ("partition",),
    ("snapshots", "verify"),
    ("revert", _NAMESPACE, "1", "--to", "1"),
    ("revert", _NAMESPACE, "1", "--to", "1", "--yes"),
    ("doctor",),
]
_FAILING = ["find", "aggregate", "getMore", "distinct", "count", "listCollections", "insert", "update", "findAndModify"]
# Those of the server (src/mongo/base/error_codes.yml) that a command can be answered with.
_CODES = [
    *(1, 2, 4, 6, 7, 8, 9, 11, 13, 14, 15, 18, 20, 24, 26, 27, 28, 31, 33, 40, 43, 46, 48, 50, 53, 56, 59, 61, 63),
    *(64, 66, 67, 68, 72, 73, 79, 85, 86, 89, 91, 94, 95, 96, 100, 101, 112, 115, 117, 121, 125, 133, 134, 136, 140),
    *(146, 150, 165, 166, 168, 175, 186, 189, 193, 202, 211, 217, 222, 225, 228, 234, 235, 237, 238, 239, 241, 244),
    *(246, 249, 251, 256, 258, 260, 262, 263, 267, 275, 276, 280, 286, 289, 290, 292, 301, 303, 314, 323, 331, 334),
    *(335, 341, 356, 358, 361, 365, 379, 391, 398, 8000, 9001, 10003, 10058, 10107, 10334, 11000, 11600, 11601, 11602),
    *(13113, 13388, 13435, 13436, 13475, 14031, 16755, 17280, 31082, 40324, 40415, 40573, 50811, 51091, 999_999),
]


@pytest.fixture
def server(own_server: Callable[..., Mongod]) -> Iterator[Mongod]:
    """A server that answers what it is told to, with a history of its own."""
    server = own_server(extra_args=("--setParameter", "enableTestCommands=1"))
    with MongoClient[Any](server.uri) as client:
        client.shop.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
        with Recording(client, "shop") as recording:
            client.shop.a.insert_one({"_id": 1, "l": [1, 2]})
            client.shop.a.update_one({"_id": 1}, {"$pull": {"l": 1}})
            recording.catch_up()
            yield server


def _run(server: Mongod, *arguments: str, **more: str) -> Any:
    uri = f"{server.uri}?serverSelectionTimeoutMS=2000"
    environment = {"WATCHER_MONGODB_URI": uri, "WATCHER_HISTORY_DATABASE": "shop_history", **more}
    return CliRunner().invoke(watcher, arguments, env=environment)


@contextmanager
def _refusing(server: Mongod, code: int) -> Iterator[None]:
    with MongoClient[Any](server.uri) as client:
        data = {"failCommands": _FAILING, "errorCode": code}
        client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
        try:
            yield
        finally:
            client.admin.command("configureFailPoint", "failCommand", mode="off")


def _fault(result: Any) -> str | None:
    """What a user must not see; None: all is well."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"a traceback: {result.exception!r}"
    if "Traceback" in result.output:
        return "a traceback in the output"
    if result.exit_code == exit_codes.UNEXPECTED:
        return "an error nobody foresaw"
    if result.exit_code not in {exit_codes.OK, exit_codes.UNHEALTHY, exit_codes.UNCHECKED}:
        last = result.output.strip().splitlines()[-1:]
        if not last or " refuses: " in last[0] or " does not answer: " in last[0]:
            return f"no word about what to do: {last}"
    return None


def test_no_refusal_ends_in_a_traceback_or_without_advice(server: Mongod) -> None:
    """Each code in turn: all commands if there is time, else some, each command with many codes."""
    faults: list[str] = []
    refused: list[int] = []
    for number, code in enumerate(_CODES):
        some = _COMMANDS if FULL_SIZE else [_COMMANDS[(2 * number + each) % len(_COMMANDS)] for each in range(2)]
        with _refusing(server, code):
            found = {" ".join(command): _run(server, *command) for command in some}
        faults += [f"{code}, watcher {name}: {why}" for name, result in found.items() if (why := _fault(result))]
        refused += [result.exit_code for result in found.values() if result.exit_code]

    assert not faults, "\n".join(faults)
    assert {exit_codes.REFUSED, exit_codes.UNREACHABLE} <= set(refused)
    assert len(refused) > len(_CODES)


@pytest.mark.parametrize("command", _COMMANDS, ids=" ".join)
def test_no_wrong_deployment_ends_in_a_traceback_or_without_advice(server: Mongod, command: tuple[str, ...]) -> None:
    """A wrong password, a server that is away, a name that no name server knows, an option of another set."""
    host = server.uri.partition("//")[2].partition("/")[0]
    wrong = {
        "a wrong password": f"mongodb://nobody:wrong@{host}/?serverSelectionTimeoutMS=500",
        "a server that is away": "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=300",
        "another replica set": f"mongodb://{host}/?replicaSet=other&serverSelectionTimeoutMS=300",
        "no connection string": "localhost",
        "no such host": "mongodb://no-such-host.invalid/?serverSelectionTimeoutMS=300",
    }
    for name, uri in wrong.items():
        found = _run(server, *command, WATCHER_MONGODB_URI=uri)
        assert _fault(found) is None, f"{name}: {found.output}"
        assert found.exit_code != exit_codes.OK, name
        if name == "a wrong password" and command != ("doctor",):
            assert found.exit_code in {exit_codes.REFUSED, exit_codes.FATAL}, found.output
            assert "password" in found.output


def test_a_standalone_server_is_told_beside_an_empty_history(tmp_path: Path, free_port: int) -> None:
    """Whoever waits there for the first event waits for ever."""
    with Standalone(tmp_path / "server", free_port, initiate=False, cache_gb=0.25) as server:
        found = _run(server, "log")

    assert found.exit_code == exit_codes.NOT_FOUND
    assert "standalone mongod" in found.output
    assert "--replSet" in found.output


def test_a_start_that_fails_logs_no_line_breaks(free_port: int) -> None:
    """A JSON line is for machines; its advice is a list."""
    environment = os.environ | {"WATCHER_MONGODB_URI": "mongodb://127.0.0.1:9", "WATCHER_LOG_FORMAT": "json"}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        command = [sys.executable, "-m", "watcher", "run"]
        environment["WATCHER_HTTP_PORT"] = str(free_port)
        failed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    said = json.loads(failed.stderr.splitlines()[-1])
    assert failed.returncode == exit_codes.FATAL
    assert "listens there already" in said["reason"]
    assert said["advice"][0].startswith("Set WATCHER_HTTP_PORT")
    assert "\\n" not in failed.stderr
