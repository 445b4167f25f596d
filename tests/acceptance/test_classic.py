"""The habit that this project grew from: `user.history.changes` on a mongoengine document."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mongoengine
import pytest
from mongoengine import Document, StringField

from change_history import ABSENT
from change_history import mongoengine as history_of_models
from change_history.mongoengine import HistoryMixin
from change_history.testing import running
from tests.support.daemon import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from tests.support.daemon import Daemon

ROOT = Path(__file__).parents[2]


class UserModel(HistoryMixin, Document):
    """The application's own document; nothing about it but the mixin knows of history."""

    meta = {"collection": "users", "db_alias": "classic"}  # noqa: RUF012 - mongoengine's own form

    name = StringField()
    email = StringField()


@pytest.fixture
def _connected(replica_set_uri: str, database: Database[Any], daemon: Daemon) -> Iterator[None]:
    """The application's connection, and where its history is."""
    mongoengine.connect(db=database.name, host=replica_set_uri, alias="classic", uuidRepresentation="standard")
    history_of_models.connect(replica_set_uri, daemon.database.name)
    yield
    history_of_models.disconnect()
    mongoengine.disconnect("classic")


@pytest.mark.usefixtures("_connected")
def test_a_user_saved_renamed_and_saved_again_shows_its_changes(
    database: Database[Any], daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the loop as people write it, with changes made elsewhere too."""
    database.create_collection("users", changeStreamPreAndPostImages={"enabled": True})
    user = UserModel(name="Ada", email="ada@example.com").save()
    user.name = "Ada Lovelace"
    user.save()
    user.email = "lovelace@example.com"
    user.save()
    database.users.update_one({"_id": user.pk}, {"$unset": {"email": 1}})
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")

    for change in user.history.changes:
        print(change.field, change.old_value, change.new_value, change.timestamp)  # noqa: T201 - the example

    printed = capsys.readouterr().out.splitlines()
    assert [line.rsplit(" ", 2)[0] for line in printed] == [  # without date and time of day
        f"id <absent> {user.pk}",
        "name <absent> Ada",
        "email <absent> ada@example.com",
        "name Ada Ada Lovelace",
        "email ada@example.com lovelace@example.com",
        "email lovelace@example.com <absent>",
    ]
    assert [datetime.fromisoformat(" ".join(line.rsplit(" ", 2)[1:])) for line in printed] == [
        change.timestamp for change in user.history.changes
    ]
    assert user.history.changes[-1].new_value is ABSENT
    assert all(change.timestamp.tzinfo is not None for change in user.history.changes)


def test_the_application_of_the_readme_shows_who_renamed_the_user(tmp_path: Path) -> None:
    """Typed in as it stands; only the port is the test's own."""
    (code,) = re.findall(r"```python\n(from mongoengine .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (setting,) = re.findall(r"WATCHER_ACTOR_FIELDS=(\S+) make run", (ROOT / "README.md").read_text())
    application = tmp_path / "application.py"
    with running(actor_fields=setting) as recorded:
        application.write_text(code.replace("mongodb://127.0.0.1:27117/", recorded.uri))
        typed = subprocess.run(
            [sys.executable, str(application)], capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )

    assert typed.returncode == 0, typed.stderr
    assert typed.stdout.splitlines() == ["name <absent> Ada anna", "name Ada Ada L. ben"]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20


def test_what_the_page_about_mongoengine_says_can_be_typed_in_as_it_stands(tmp_path: Path) -> None:
    """One block after the other, by somebody who tries it out."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "mongoengine.md").read_text(), re.DOTALL)
    (setting,) = re.findall(r"`ACTOR_FIELDS=(\S+)`", (ROOT / "docs" / "mongoengine.md").read_text())
    application = tmp_path / "application.py"
    yesterday = "from datetime import datetime, timedelta\nyesterday = datetime.now() - timedelta(days=1)\n"
    with running(actor_fields=setting) as recorded:
        code = yesterday + "".join(blocks).replace("mongodb://…/", recorded.uri).replace("wait()", "wait(timeout=60)")
        application.write_text(code)
        typed = subprocess.run(
            [sys.executable, str(application)], capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )

    assert typed.returncode == 0, typed.stderr
    assert typed.stdout.splitlines() == ["address.city <absent> Bonn", "address.city Bonn Kiel", "alice"]
