"""Where the next start goes on: a position that is lost, stale or another's would lose events in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import Timestamp
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.errors import PyMongoError

from change_history.bson.cluster_time import ClusterTime
from models import CheckpointModel
from watcher.errors import PositionRefusedError, Verdict, classify
from watcher.stream import checkpointer as module
from watcher.stream.batch import Position
from watcher.stream.checkpointer import Checkpointer, fingerprint
from watcher.targets.identity import ReplicaSet
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from pymongo.database import Database

SCOPE = Scope(("shop.*",), (), "history")
SET = ReplicaSet("rs0", "65a000000000000000000001")


def at(number: int) -> Position:
    """A position; its token has fields in an order of its own and a type bit besides."""
    token = bson.encode({"_data": f"82{number:08X}", "_typeBits": b"\x82\x01"})
    return Position(token, ClusterTime.of(Timestamp(number, 7)))


@pytest.fixture
def checkpointer(database: Database[Any]) -> Checkpointer:
    """The checkpoint of a stream in the test's own database."""
    return Checkpointer(database, "default", SCOPE, SET)


def test_a_stream_that_never_ran_has_no_position(checkpointer: Checkpointer) -> None:
    """It starts from now."""
    assert checkpointer.load() is None


def test_a_position_comes_back_byte_for_byte(checkpointer: Checkpointer) -> None:
    """The token is the server's own; a field lost on the way makes it another position, or none."""
    for number in (5, 6, 2**31 + 5, 3):
        checkpointer.save(at(number), number)
        found = checkpointer.load()
        assert found is not None
        assert (found.position, found.events) == (at(number), number)
        assert found.position.seconds == number


def test_saving_is_safe_to_repeat(database: Database[Any], checkpointer: Checkpointer) -> None:
    """A save whose acknowledgement was lost is tried again."""
    for _ in range(3):
        checkpointer.save(at(5), 50)
    (stored,) = database.checkpoints.find()

    assert (stored["_id"], stored["events"]) == ("default", 50)
    assert stored["updated_at"] is not None


def test_streams_do_not_share_a_position(database: Database[Any], checkpointer: Checkpointer) -> None:
    """Two daemons with different scopes keep history in one database."""
    other = Checkpointer(database, "other", Scope(("crm.*",), (), "history"), SET)
    checkpointer.save(at(5), 1)
    assert other.load() is None
    other.save(at(9), 2)

    found = checkpointer.load()
    assert found is not None
    assert found.position == at(5)


def test_the_model_reads_what_is_saved(database: Database[Any], checkpointer: Checkpointer) -> None:
    """The reading side sees it through mongoengine."""
    checkpointer.save(at(5), 50)
    model = CheckpointModel._from_son(database.checkpoints.find_one())

    assert (model.stream, model.events) == ("default", 50)
    assert model.fingerprint == fingerprint(SCOPE.describe())


@pytest.mark.parametrize(
    ("mine", "refused"),
    [
        (ReplicaSet("rs0", "65a000000000000000000001"), False),
        (ReplicaSet("renamed", "65a000000000000000000001"), False),
        (ReplicaSet("rs0", None), False),
        (ReplicaSet("rs0", "65a000000000000000000002"), True),
        (ReplicaSet("rs1", None), True),
    ],
)
def test_a_position_of_another_deployment_is_refused(
    database: Database[Any], checkpointer: Checkpointer, mine: ReplicaSet, *, refused: bool
) -> None:
    """A server takes the cluster time of another set without a word; the name decides only where no id is known."""
    checkpointer.save(at(5), 1)
    later = Checkpointer(database, "default", SCOPE, mine)
    if not refused:
        assert later.load() is not None
        return
    with pytest.raises(PositionRefusedError) as caught:
        later.load()
    assert "WATCHER_STREAM=<another name>" in caught.value.remedy


@pytest.mark.parametrize(
    ("scope", "refused"),
    [
        (Scope(("shop.*", "shop.*"), (), "history"), False),
        (Scope(("shop.a",), (), "history"), True),
        (Scope(("shop.*",), ("shop.b",), "history"), True),
        (Scope(("shop.*",), (), "elsewhere"), True),
    ],
)
def test_a_position_of_other_options_is_refused(
    database: Database[Any], checkpointer: Checkpointer, scope: Scope, *, refused: bool
) -> None:
    """With the changed option named; the same options in another order are the same."""
    checkpointer.save(at(5), 1)
    later = Checkpointer(database, "default", scope, SET)
    if not refused:
        assert later.load() is not None
        return
    with pytest.raises(PositionRefusedError) as caught:
        later.load()
    assert "→" in caught.value.problem


def test_globs_in_another_order_are_the_same_options() -> None:
    """Re-ordering a setting must not stop the daemon."""
    one, other = (Scope(globs, (), "history").describe() for globs in (("a.b", "c.d"), ("c.d", "a.b", "c.d")))

    assert fingerprint(one) == fingerprint(other)


def test_a_save_without_a_majority_is_transient_and_is_repeated(
    database: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A position on one member alone can be rolled back; that costs a re-read, but must not end the daemon."""
    monkeypatch.setattr(module, "MAJORITY", WriteConcern(w=3, wtimeout=50))
    with pytest.raises(PyMongoError) as caught:
        Checkpointer(database, "default", SCOPE, SET).save(at(5), 1)

    assert classify(caught.value) is Verdict.TRANSIENT


def test_a_connection_string_cannot_weaken_the_write_concern(replica_set_uri: str, database: Database[Any]) -> None:
    """`w=0` in WATCHER_HISTORY_URI would make every acknowledgement a lie."""
    joint = "&" if "?" in replica_set_uri else "?"
    with MongoClient[dict[str, Any]](f"{replica_set_uri}{joint}w=0") as careless:
        mine = Checkpointer(careless[database.name], "default", SCOPE, SET)
        assert mine._checkpoints.write_concern == WriteConcern("majority")


def test_a_position_is_never_read_from_a_secondary(database: Database[Any]) -> None:
    """One that lags has an old checkpoint, or none: then the stream would start from now, and events be lost."""
    careless = database.client.get_database(database.name, read_preference=ReadPreference.SECONDARY_PREFERRED)
    mine = Checkpointer(careless, "default", SCOPE, SET)

    assert mine._checkpoints.read_preference == ReadPreference.PRIMARY
