"""Whatever names there are: recorded rightly, asked for by their very name, and never a command to the terminal."""

from __future__ import annotations

import unicodedata
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from bson import json_util

from change_history import History
from tests.support import hostile_names
from tests.support.daemon import eventually, watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod

ASKED = [
    "*",
    "line\nbreak",
    hostile_names.RED + "red",
    "\u202eevil",
    "--all",
    'quo"te',
    "a.b.c.d",
    "😀👩\u200d👩\u200d👧",
]
"""The collections that every command is tried with."""


@pytest.fixture
def watched(own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon], free_port: int) -> Daemon:
    """A daemon that watches everything, and has recorded an insert, an update and a delete in every place."""
    server = own_server()
    daemon = make_daemon(server.uri, "shop", include="*.*", http_port=free_port)
    for database, name in places():
        daemon.client[database].command({"insert": name, "documents": [{"_id": "early"}]})
    daemon.start().ready()
    surveyed = {"token": {"$exists": True}, "survey": {"$exists": False}}
    eventually(lambda: daemon.database.checkpoints.find_one(surveyed), f"the baseline\n{daemon.log()}")
    for database, name in places():
        run = daemon.client[database].command  # the driver itself knows of names that the server allows and it does not
        run({"insert": name, "documents": [{"_id": name, "n": 1}]})
        run({"update": name, "updates": [{"q": {"_id": name}, "u": {"$set": {"n": 2}}}]})
        run({"delete": name, "deletes": [{"q": {"_id": name}, "limit": 1}]})
    daemon.client.shop.end.insert_one({"_id": "end"})
    daemon.recorded("shop.end", "end")
    return daemon


def places() -> list[tuple[str, str]]:
    """Every hostile collection in an ordinary database, and an ordinary one in every hostile database."""
    return [("hostile", name) for name in hostile_names.COLLECTIONS] + [(name, "a") for name in hostile_names.DATABASES]


def harmless(text: str) -> bool:
    """Whether a terminal shows the text, and obeys nothing in it."""
    return not any(unicodedata.category(c) in {"Cc", "Cf"} and c not in "\n\u200d" for c in text)


def _all_is_recorded_and_counted(watched: Daemon) -> None:
    """Each event once, under exactly its namespace; the metrics are well-formed, and count each."""
    from prometheus_client.parser import text_string_to_metric_families

    history = History(watched.client, watched.database.name)
    for database, name in places():
        found = list(history.log(f"{database}.{name}", name))
        assert [event.operation for event in found] == ["insert", "update", "delete"], (database, name)
        assert {event.namespace for event in found} == {f"{database}.{name}"}
        (early,) = history.log(f"{database}.{name}", "early")
        assert early.operation == "baseline"

    port = watched._environment["WATCHER_HTTP_PORT"]
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    counted = {
        sample.labels["namespace"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("operation") == "update"
    }
    assert {f"{database}.{name}" for database, name in places()} <= counted


def test_every_name_is_recorded_and_no_name_commands_the_terminal(watched: Daemon) -> None:
    """Each event once; tables and logs escape what a terminal would obey, `--json` has the name as it is."""
    _all_is_recorded_and_counted(watched)
    for name in ASKED:
        namespace = f"hostile.{name}"
        done = watcher(watched, "log", "--json", "--", namespace, json_util.dumps(name, ensure_ascii=False))
        events = [json_util.loads(line) for line in done.stdout.split("\n") if line]
        assert [event["operation"] for event in events] == ["insert", "update", "delete"], done.stderr
        assert {event["namespace"] for event in events} == {namespace}
        assert [(each["old_value"], each["new_value"]) for each in events[-2]["changes"]] == [(1, 2)]
    for arguments in (
        ["log", "--limit", "1000"],
        ["log", "--oneline", "--limit", "1000"],
        ["log", "--stat"],
        ["stats"],
        ["show", "--at", "2", "--", f"hostile.{ASKED[2]}", ASKED[2]],
        ["diff", "--", f"hostile.{ASKED[2]}", ASKED[2], "1", "2"],
        ["blame", "--at", "2", "--", f"hostile.{ASKED[3]}", ASKED[3]],
        ["checkpoint", "show"],
        ["gaps"],
        ["rejected", "list"],
    ):
        done = watcher(watched, *arguments, TERM="xterm-256color", COLUMNS="120")
        assert done.returncode in {exit_codes.OK, exit_codes.NOT_FOUND}, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        assert harmless(done.stdout), (arguments, ascii(done.stdout[:500]))
        assert harmless(done.stderr), (arguments, ascii(done.stderr[:500]))
    nowhere = watcher(watched, "log", "--", f"hostile.{hostile_names.RED}no")
    assert nowhere.returncode == exit_codes.NOT_FOUND
    assert harmless(nowhere.stderr)
    assert "Traceback" not in watched.log()
    assert harmless(watched.log())


def test_fields_values_and_ids_are_kept_and_shown_safely(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """`$`-prefixed, empty and dotted fields, an `_id` within; and each id leads to its document alone."""
    watched = make_daemon(own_server().uri, "shop").start().ready()
    shop = watched.client["shop"]
    shop.command({"insert": "f", "documents": [{"_id": number, **hostile_names.FIELDS} for number in (1, 2)]})
    shop.f.update_one(
        {"_id": 1}, [{"$replaceWith": {"$setField": {"field": {"$literal": "a.b"}, "input": "$$ROOT", "value": 0}}}]
    )
    for value in hostile_names.IDS:
        shop.ids.insert_one({"_id": value, "n": hostile_names.RED})
    shop.end.insert_one({"_id": "second end"})
    watched.recorded("shop.end", "second end")
    history = History(watched.client, watched.database.name)

    now = datetime.now(UTC) + timedelta(seconds=1)
    (was,) = shop.f.find({"_id": 2})
    assert was == {"_id": 2, **hostile_names.FIELDS}
    assert history.as_of("shop.f", 2, now) == was
    assert history.as_of("shop.f", 1, now) == shop.f.find_one({"_id": 1})
    for value in hostile_names.IDS:
        (event,) = history.log("shop.ids", value)
        assert event.document_id == value
    for arguments in (
        ["log", "shop.f"],
        ["log", "shop.ids"],
        ["show", "shop.f", "1"],
        ["blame", "shop.f", "1"],
        ["stats"],
    ):
        done = watcher(watched, *arguments, TERM="xterm-256color")
        assert (done.returncode, "Traceback" in done.stderr) == (exit_codes.OK, False)
        assert harmless(done.stdout), (arguments, ascii(done.stdout[:500]))
    assert "Traceback" not in watched.log()
