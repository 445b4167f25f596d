"""A mongoengine application whose tests have a daemon of their own: what was just saved, and who waits for it."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, ClassVar

import mongoengine as me
import pytest
from pymongo import MongoClient

from change_history.mongoengine import HistoryMixin, NotRecordedYetError
from change_history.testing import RecordedHistory, recorded_history, running

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["recorded_history"]  # the fixture, brought in as an application does

ALIAS = "mongoengine_daemon"


class Address(me.EmbeddedDocument):
    """An embedded document."""

    city = me.StringField(db_field="c")


class Customer(HistoryMixin, me.Document):
    """The example of the documentation."""

    meta: ClassVar[Any] = {"allow_inheritance": True, "db_alias": ALIAS}
    code = me.StringField(primary_key=True)
    name = me.StringField(db_field="n")
    credit = me.DecimalField()
    address = me.EmbeddedDocumentField(Address)


class Company(Customer):
    """An heir."""

    vat = me.StringField()


@pytest.fixture
def _connected(recorded_history: RecordedHistory) -> Iterator[None]:
    me.connect(host=recorded_history.uri + "app", alias=ALIAS, uuidRepresentation="standard")
    yield
    Customer.drop_collection()
    me.disconnect(ALIAS)
    Customer._collection = Company._collection = None


@pytest.mark.usefixtures("_connected")
def test_what_was_just_saved_is_shown_after_a_wait() -> None:
    """The example of docs/mongoengine.md, typed in as it stands."""
    acme = Company(code="acme", name="Acme", credit="1.10", address=Address(city="Bonn")).save()
    acme.address.city = "Kiel"
    acme.save()
    acme.history.wait(timeout=60)

    assert [str(change) for change in acme.history.changes.filter(field="address.city")] == [
        "address.city: <absent> → 'Bonn'",
        "address.city: 'Bonn' → 'Kiel'",
    ]
    for number in range(20):
        acme.name = str(number)
        acme.save()
        acme.history.wait(timeout=60)
        assert acme.history.changes.last().new_value == str(number)
    acme.delete()
    acme.history.wait(timeout=60)
    assert acme.history.events.last().operation == "delete"
    acme.history.wait(timeout=60)


@pytest.mark.usefixtures("_connected")
def test_a_wait_long_after_the_last_write_does_not_wait_for_the_next_checkpoint() -> None:
    """An idle stream saves its position every ten seconds only."""
    acme = Company(code="acme", name="Acme").save()
    acme.history.wait(timeout=60)
    time.sleep(1.5)
    begun = time.monotonic()
    acme.history.wait(timeout=60)

    assert time.monotonic() - begun < 5


@pytest.mark.usefixtures("_connected")
def test_a_wait_for_a_daemon_that_is_behind_says_how_far(recorded_history: RecordedHistory) -> None:
    """It is there, so starting another one would not help."""
    acme = Company(code="acme", name="Acme").save()
    acme.history.wait(timeout=60)
    with MongoClient[Any](recorded_history.uri) as client:
        lease = client.change_history.checkpoints.find_one({"lease.pid": {"$exists": True}})
        assert lease is not None
        os.kill(lease["lease"]["pid"], signal.SIGSTOP)
        try:
            acme.name = "Other"
            acme.save()
            with pytest.raises(NotRecordedYetError, match=r"the daemon is \d+ s behind"):
                acme.history.wait(timeout=0.1)
        finally:
            os.kill(lease["lease"]["pid"], signal.SIGCONT)
    acme.history.wait(timeout=60)


def test_a_wait_without_a_daemon_says_so() -> None:
    """And what to type, instead of only that time is up."""
    with running() as recorded:
        me.connect(host=recorded.uri + "app", alias=ALIAS, uuidRepresentation="standard")
        try:
            acme = Company(code="acme", name="Acme").save()
            acme.history.wait(timeout=60)
            with MongoClient[Any](recorded.uri) as client:
                # Nobody leads, and nothing is recorded any more, as far as anybody can see.
                client.change_history.checkpoints.update_many({}, {"$unset": {"lease": 1}})
                client.app.customer.update_one({"_id": "acme"}, {"$set": {"n": "Other"}})
                client.change_history.history.delete_many({})
                with pytest.raises(NotRecordedYetError, match="watcher run"):
                    acme.history.wait(timeout=0)
        finally:
            me.disconnect(ALIAS)
            Customer._collection = Company._collection = None


def test_a_deployment_with_history_is_ready_in_seconds() -> None:
    """Or nobody would test against it; the bound is for a busy machine."""
    begun = time.monotonic()
    with running():
        print(f"ready after {time.monotonic() - begun:.1f} s")  # noqa: T201 - shown with -s
        assert time.monotonic() - begun < 30
