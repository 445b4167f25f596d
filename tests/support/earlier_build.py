"""What build 0.1.0 has written: its database, put on a server, and its answers, to be asked for again.

Run as a program, it is the asker: it reads arguments of `watcher` as lines of JSON, and writes what comes of them.
"""

from __future__ import annotations

import gzip
import importlib
import json
import os
import pkgutil
import struct
import subprocess
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import bson
from bson import Timestamp
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient

FOLDER = Path(__file__).resolve().parents[1] / "data" / "written_by_0_1_0"
DUMP = FOLDER / "history_written_by_0_1_0.bson.gz"
ANSWERS = FOLDER / "answers_of_0_1_0.jsonl.gz"

HISTORY = "change_history"
"""The history database in the dump."""

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


def stream(path: str | Path) -> Iterator[bytes]:
    """The BSON documents of the file, as bytes."""
    with gzip.open(path) as file:
        while head := file.read(4):
            (size,) = struct.unpack("<i", head)
            yield head + file.read(size - 4)


def collections(path: str | Path) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """Each collection of the file: its header, and its documents as bytes. The file's own header is left out."""
    documents = stream(path)
    first = bson.decode(next(documents))
    assert first["format"] == "mongo-change-watcher fixture 1", first
    for data in documents:
        header = bson.decode(data)
        yield header, [next(documents) for _ in range(header["count"])]


def restore(client: MongoClient[Any], path: str | Path, history: str = HISTORY) -> None:
    """Put everything on a server that has none of it; views last. The server's clock is moved on if it is behind.

    Args:
        client: a replica set (a standalone server will do for reading).
        path: the dump.
        history: another name for the history database.
    """
    header = bson.decode(next(stream(path)))
    _advance(client, header["operation_time"])
    views = []
    for header, documents in collections(path):
        database = client[history if header["database"] == HISTORY else header["database"]]
        if header["type"] == "view":
            views.append((database, header))
            continue
        database.create_collection(header["collection"], **header["options"])
        collection = database.get_collection(header["collection"], codec_options=_RAW)
        indexes = [index for index in header["indexes"] if index["name"] != "_id_"]
        if indexes:
            database.command("createIndexes", header["collection"], indexes=indexes)
        if documents:
            collection.insert_many(
                [RawBSONDocument(data) for data in documents], bypass_document_validation=True, ordered=True
            )
    for database, header in views:
        database.create_collection(header["collection"], **header["options"])


def continue_here(client: MongoClient[Any], checkpoint: str, history: str = HISTORY) -> None:
    """Let a stream go on on this deployment, from now, as if it had been this one all the time.

    A position belongs to the replica set that gave it, so the dump's own is refused by any other, and rightly. This
    puts this replica set's identity and a token of now in its place, and touches nothing else: fingerprint, options,
    `begun`, lease, term and plans stay as they were written.

    Args:
        client: where `restore` has put the dump.
        checkpoint: name of the checkpoint: a stream's, or `stream:I/N` of a part of it.
        history: name of the history database.
    """
    checkpoints = client[history].checkpoints
    found = checkpoints.find_one({"_id": checkpoint})
    assert found is not None, checkpoint
    name = client.admin.command("hello")["setName"]
    identity = str(client.admin.command("replSetGetConfig")["config"]["settings"]["replicaSetId"])
    with client.watch() as changes:  # a token between events is good for every scope
        changes.try_next()
        token = changes.resume_token
    assert token is not None
    seconds, increment = struct.unpack(">II", bytes.fromhex(token["_data"])[1:9])
    digest = blake2b(struct.pack("<II", increment, seconds) + bson.encode(token), digest_size=8).hexdigest()
    update = {
        "token": token,
        "cluster_time": Timestamp(seconds, increment),
        "digest": digest,
        "replica_set": {"name": name, "id": identity},
    }
    checkpoints.update_one({"_id": checkpoint}, {"$set": update})


def answers(path: str | Path) -> Iterator[dict[str, Any]]:
    """What the build answered: first a line about the environment, then one for each command."""
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            yield json.loads(line)


def _advance(client: MongoClient[Any], to: Timestamp) -> None:
    """See to it that cluster times of this server are later than those of the dump."""
    now = client.admin.command("ping").get("operationTime")
    if now is None or now > to:
        return
    signature = {"hash": bytes(20), "keyId": bson.Int64(0)}
    ahead = Timestamp(to.time + 1, 1)
    with client.start_session() as session:
        session.advance_cluster_time({"clusterTime": ahead, "signature": signature})
        client.admin.command("ping", session=session)


def ask(uri: str, environment: dict[str, str], questions: list[list[str]]) -> list[dict[str, Any]]:
    """What today's build answers: exit code, standard output and standard error of each command.

    Each runs in a fork of one process that has the modules loaded: as good as a process of its own, and twenty times
    as fast.
    """
    settings = {**environment, "WATCHER_MONGODB_URI": uri, "WATCHER_HISTORY_DATABASE": HISTORY}
    others = {name: value for name, value in os.environ.items() if not name.startswith("WATCHER_")}
    asked = "\n".join(map(json.dumps, questions))
    command = [sys.executable, "-m", "tests.support.earlier_build"]
    done = subprocess.run(command, env=others | settings, input=asked, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _run(arguments: list[str], out: IO[bytes], err: IO[bytes]) -> int:
    """Run one command in a fork; its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 99
    try:
        for number, file in enumerate((out, err), start=1):
            os.dup2(file.fileno(), number)
        sys.argv = ["watcher", *arguments]
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        from watcher.cli.main import main

        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _answer_all() -> None:
    commands = importlib.import_module("watcher.cli.commands")
    for module in pkgutil.walk_packages(commands.__path__, f"{commands.__name__}."):
        importlib.import_module(module.name)
    time.tzset()
    for line in sys.stdin.read().splitlines():
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code = _run(json.loads(line), out, err)
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode("utf-8", "surrogateescape"))
        print(json.dumps({"code": code, "stdout": said[0], "stderr": said[1]}))  # noqa: T201 - its answer


if __name__ == "__main__":
    _answer_all()
