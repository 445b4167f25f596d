"""The library in an application that has modules, and document classes, with the names of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest
from pymongo import MongoClient

from change_history import Change, History, HistoryError, NoSuchVersionError
from tests.support.handmade_events import change, write
from tests.support.recording import make_indexes

if TYPE_CHECKING:
    from pymongo.database import Database

ROOT = Path(__file__).parents[2]
NAMES = ("models", "config", "core", "history", "web", "cli", "watcher")
OWN = "import " + ", ".join(NAMES) + "; from models import HistoryModel, ChangeModel"
LIBRARY = "from change_history import History, Change, Event"
MIXIN = "from change_history.mongoengine import HistoryMixin"
READ = """
import sys, mongoengine
from mongoengine.base.common import _document_registry
mongoengine.connect(db="shop", host=sys.argv[1])
class Users(HistoryMixin, mongoengine.Document):
    meta = {"collection": "users"}
    id = mongoengine.IntField(primary_key=True)
with History.connect(sys.argv[1], sys.argv[2]) as told:
    (event,) = told.log("shop.users", 1)
assert type(event) is Event
from change_history import mongoengine as ours
ours.connect(sys.argv[1], sys.argv[2])
(found,) = Users(id=1).history.changes
assert isinstance(found, Change) and (found.field, found.new_value) == ("n", 5), found
assert set(_document_registry) == {"HistoryModel", "ChangeModel", "Users"}, set(_document_registry)
assert {name: sys.modules[name].__file__ for name in ("models", "config", "watcher")}["models"].startswith(sys.argv[3])
assert HistoryModel(name="own").name == "own"
print("read")
"""


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the seven modules, and beside it what the wheel puts into an environment."""
    folder = tmp_path_factory.mktemp("application")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder / "wheel"), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = (folder / "wheel").glob("*.whl")
    with ZipFile(wheel) as packed:
        packed.extractall(folder / "site")  # as pip would, without its scripts
    (folder / "own").mkdir()
    for name in NAMES:
        (folder / "own" / f"{name}.py").write_text("")
    (folder / "own" / "models.py").write_text(
        "import mongoengine\n"
        "class HistoryModel(mongoengine.Document):\n    name = mongoengine.StringField()\n"
        "class ChangeModel(mongoengine.EmbeddedDocument):\n    name = mongoengine.StringField()\n"
    )
    return folder


@pytest.mark.parametrize("order", list(permutations((OWN, LIBRARY, MIXIN))))
def test_an_applications_own_modules_and_classes_are_not_taken_for_ours(
    application: Path, order: tuple[str, ...], database: Database[Any], replica_set_uri: str
) -> None:
    """`'models' is not a package`, or a HistoryModel that is suddenly another one, by the order of imports."""
    make_indexes(database)
    write(database, 0, 1, change("n", new=5))
    program = application / "own" / "program.py"
    program.write_text("\n".join(order) + READ)
    path = os.pathsep.join(map(str, (application / "own", application / "site")))
    arguments = [sys.executable, str(program), replica_set_uri, database.name, str(application / "own")]
    environment = {**os.environ, "PYTHONPATH": path}

    done = subprocess.run(
        arguments, check=False, capture_output=True, text=True, env=environment, cwd=application / "own"
    )

    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


def test_a_client_that_was_handed_over_stays_open(database: Database[Any], replica_set_uri: str) -> None:
    """The application goes on using it."""
    make_indexes(database)
    write(database, 0, 1, change("n", new=5))
    with MongoClient[Any](replica_set_uri) as client:
        with History(client, database.name) as history:
            assert [event.changes[0] for event in history.log("shop.users", 1)] != []
        assert client.admin.command("ping")["ok"] == 1


def test_whatever_history_raises_of_its_own_is_caught_as_one(database: Database[Any], replica_set_uri: str) -> None:
    """And still as the builtin error that it was."""
    make_indexes(database)
    write(database, 0, 1, change("n", new=5))
    with History.connect(replica_set_uri, database.name) as history:
        with pytest.raises(HistoryError) as caught:
            history.as_of("shop.users", 1, 99)
        assert isinstance(caught.value, NoSuchVersionError)
        assert isinstance(caught.value, LookupError)


def test_a_change_cannot_be_altered_by_who_reads_it() -> None:
    """Frozen: it may be shared between threads and kept in caches."""
    with pytest.raises(AttributeError):
        Change(field="a").field = "b"  # type: ignore[misc]  # what is tested
