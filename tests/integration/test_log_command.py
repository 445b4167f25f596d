"""`watcher log` as scripts and people meet it: output, suggestions, exit status, ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import UUID

import bson
import pytest
from bson import Binary, ObjectId, Timestamp, json_util
from click.testing import CliRunner

from models import ABSENT, ChangeModel, HistoryModel
from tests.support.daemon import PATIENCE_S
from tests.support.terminal import read_terminal
from watcher.cli import exit_codes
from watcher.cli.commands.reading.log import NEWEST_ON_TERMINAL
from watcher.cli.main import watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    Run = Callable[..., subprocess.CompletedProcess[str]]

PROGRAM = [sys.executable, "-m", "watcher", "log"]
HEX = "66f2a1c0e4b0d52a3c9f1e77"


def record(database: Database[Any], numbers: int | range, document_id: Any) -> None:
    """Write down events, as the daemon would."""
    wanted = [numbers] if isinstance(numbers, int) else numbers
    database.history.insert_many([stored(number, document_id) for number in wanted])


def stored(number: int, document_id: Any) -> Any:
    """One history document."""
    token = repr((number, document_id)).encode()
    return HistoryModel(
        id=number.to_bytes(8, "big") + blake2b(token, digest_size=8).digest(),
        namespace="shop.users",
        document_id=document_id,
        operation="update",
        cluster_time=Timestamp(0, number),
        changes=[ChangeModel(field="n", old_value=ABSENT, new_value=number)],
        resume_token=token,
    ).to_mongo()


@pytest.fixture
def environment(database: Database[Any], replica_set_uri: str) -> dict[str, str]:
    """What the program finds in its environment."""
    database.history.create_index([("namespace", 1), ("document_id", 1), ("_id", 1)])
    database.history.create_index([("namespace", 1), ("_id", 1)])
    return os.environ | {"WATCHER_HISTORY_URI": replica_set_uri, "WATCHER_HISTORY_DATABASE": database.name}


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    """Run the command to its end."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, *arguments]
        return subprocess.run(
            command, env=environment | more, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )

    return run


def test_json_is_one_stored_document_a_line(run: Run, database: Database[Any]) -> None:
    """Parsed back by the driver's own reader; stdout has nothing else."""
    record(database, range(3), 42)

    found = run("shop.users", "42", "--json")

    assert (found.returncode, found.stderr) == (exit_codes.OK, "")
    lines = [json_util.loads(line) for line in found.stdout.splitlines()]
    assert [line["changes"][0]["new_value"] for line in lines] == [0, 1, 2]


@pytest.mark.parametrize("command", [["log", "shop.users", "42"], ["show", "shop.users", "42"], ["gaps"]])
def test_json_does_not_wait_for_what_it_does_not_need(
    command: list[str], environment: dict[str, str], database: Database[Any]
) -> None:
    """Importing the settings, mongoengine and what draws took longer than the answer."""
    record(database, 1, 42)
    heavy = "mongoengine", "rich", "pydantic", "structlog", "watcher.stream"
    code = (
        "import sys\nfrom watcher.cli.main import watcher\n"
        "try: watcher(sys.argv[1:], standalone_mode=False)\n"
        f"finally: print('imported:', [name for name in {heavy} if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *command, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert ended.stdout.endswith("imported: []\n"), ended.stderr


UNNEEDED = (
    *("cryptography", "fastapi", "starlette", "uvicorn", "httpx", "jinja2", "pyarrow", "deltalake", "mongoengine"),
    *("prometheus_client", "structlog", "watcher.stream", "watcher.web", "change_history.seals", "change_history.http"),
)
ONE = "shop.users", "42"


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize(
    "command", [["log", *ONE], ["show", *ONE], ["diff", *ONE, "1", "-1"], ["blame", *ONE], ["gaps"], ["stats"]]
)
def test_no_answer_waits_for_what_serves_seals_or_exports(
    command: list[str], form: list[str], environment: dict[str, str], database: Database[Any]
) -> None:
    """Each import that somebody added for another command made every command slower."""
    record(database, 1, 42)
    code = (
        "import sys\nfrom watcher.cli.main import watcher\n"
        "try: watcher(sys.argv[1:], standalone_mode=False)\n"
        f"finally: print('imported:', [name for name in {UNNEEDED} if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *command, *form],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert ended.stdout.endswith("imported: []\n"), ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("recorded", "asked", "suggested"),
    [
        ("42", "42", "'\"42\"'"),
        (42, '"42"', " 42"),
        (ObjectId(HEX), f'"{HEX}"', f" {HEX}"),
        (HEX, HEX, f"'\"{HEX}\"'"),
        (Binary(bytes(15) + b"7", 4), str(UUID(bytes=bytes(15) + b"7")), '\'{"$binary"'),
    ],
)
def test_an_id_of_another_type_is_suggested_not_swallowed(
    run: Run, database: Database[Any], recorded: Any, asked: str, suggested: str
) -> None:
    """An empty answer for a document with history is the worst one."""
    record(database, 1, recorded)

    found = run("shop.users", asked)

    assert (found.returncode, found.stdout) == (exit_codes.NOT_FOUND, "")
    assert "nothing is recorded of shop.users, id " in found.stderr
    assert f"watcher log shop.users{'' if suggested[0] == ' ' else ' '}{suggested}" in found.stderr


def test_a_mistyped_namespace_gets_its_neighbour(run: Run, database: Database[Any]) -> None:
    """Also when the history is empty, something useful is said."""
    empty = run("shop.usres")
    record(database, 1, 1)
    mistyped = run("shop.usres")
    windowed = run("shop.users", "1", "--since", "2h ago")
    nobody = run("shop.users", "2")

    assert {empty.returncode, mistyped.returncode, windowed.returncode} == {exit_codes.NOT_FOUND}
    assert "The history is empty" in empty.stderr
    assert "There is history of: shop.users" in mistyped.stderr
    assert "since 2" in windowed.stderr
    assert "The document has other history" in windowed.stderr
    assert "watcher log shop.users --oneline" in nobody.stderr


def test_a_server_that_is_away_is_named_without_its_password(run: Run) -> None:
    """Not a traceback, and not a secret."""
    found = run("shop.users", WATCHER_HISTORY_URI="mongodb://u:secret@127.0.0.1:1/?serverSelectionTimeoutMS=300")

    assert found.returncode == exit_codes.UNREACHABLE
    assert "127.0.0.1:1" in found.stderr
    assert "secret" not in found.stderr
    assert "Traceback" not in found.stderr


def test_without_any_server_it_says_what_to_type(environment: dict[str, str], run: Run) -> None:
    """The embedded server does not run."""
    del environment["WATCHER_HISTORY_URI"]

    found = run("shop.users")

    assert found.returncode == exit_codes.UNREACHABLE
    assert "watcher run" in found.stderr
    assert "WATCHER_MONGODB_URI" in found.stderr


def test_follow_ends_cleanly_on_ctrl_c(environment: dict[str, str], database: Database[Any]) -> None:
    """What came is printed at once; there is no traceback, and no error."""
    record(database, 1, 42)
    command = [*PROGRAM, "shop.users", "42", "--follow"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        first = [program.stdout.readline() for _ in range(2)]
        record(database, 2, 42)
        second = [program.stdout.readline() for _ in range(2)]
        program.send_signal(signal.SIGINT)
        rest, errors = program.communicate(timeout=PATIENCE_S)

    assert [first[1], second[1]] == ["    n: (absent) → 1\n", "    n: (absent) → 2\n"]
    assert (program.returncode, rest, errors) == (exit_codes.OK, "", "")


@pytest.mark.parametrize("arguments", [["shop.users"], ["shop.users", "--json"], ["shop.users", "--follow"]])
def test_a_reader_that_has_seen_enough_is_no_error(
    environment: dict[str, str], database: Database[Any], arguments: list[str]
) -> None:
    """`watcher log … | head -1`."""
    record(database, range(2000), 1)
    with subprocess.Popen(
        [*PROGRAM, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.readline()
        program.stdout.close()
        errors = program.stderr.read()

    assert (program.returncode, errors) == (exit_codes.OK, "")


def test_a_terminal_gets_the_newest_and_is_told_of_the_rest(
    environment: dict[str, str], database: Database[Any]
) -> None:
    """Through a real pseudo-terminal."""
    record(database, range(NEWEST_ON_TERMINAL + 1), 1)
    master, slave = os.openpty()
    with subprocess.Popen(
        [*PROGRAM, "shop.users", "1"], env=environment, stdout=slave, stderr=subprocess.PIPE, text=True
    ) as program:
        os.close(slave)
        shown = read_terminal(master)
        assert program.stderr is not None
        errors = program.stderr.read()

    assert program.returncode == exit_codes.OK
    assert shown.count(b"update") == NEWEST_ON_TERMINAL
    assert f"newest {NEWEST_ON_TERMINAL}" in errors


def test_what_json_cannot_tell_apart_is_said_and_bson_tells_it(
    environment: dict[str, str], database: Database[Any]
) -> None:
    """A sub-document `{"$oid": …}` and an ObjectId are one text."""
    event = dict(stored(1, 42))
    event["changes"] = [{"field": "_id", "new_value": 42}, {"field": "a", "new_value": {"$oid": "66" * 12}}]
    event["operation"] = "insert"
    database.history.insert_one(event)

    shown = ("show", "shop.users", "42")
    for arguments in (shown, (*shown, "--json"), ("log", "shop.users", "--json")):
        said = CliRunner().invoke(watcher, arguments, env=environment)
        assert "--bson" in said.stderr, said.output
    exact = CliRunner().invoke(watcher, ["show", "shop.users", "42", "--bson"], env=environment)
    assert bson.decode(exact.stdout_bytes) == {"_id": 42, "a": {"$oid": "66" * 12}}
    assert "--bson" not in exact.stderr
