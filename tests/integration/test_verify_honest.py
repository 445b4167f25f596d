"""Nobody has tampered with anything, and `verify` finds nothing: whatever happened, at whatever moment it is asked.

``WATCHER_TEST_HONEST_HISTORIES=100`` makes so many histories, each from dice of its own; ``WATCHER_TEST_HONEST_SEED``
makes the same ones again.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.redacted import ERASED as ERASED_VALUE
from change_history.seals.verification import verify
from change_history.stored import actor
from change_history.stored.amendments import AmendmentKind, note
from change_history.stored.order import identity
from change_history.stored.reading import RAW
from tests.support.sealing import SealedRecording, a_sealer
from tests.support.several_daemons import SCOPE, entry, fence, own, position
from watcher.backfill.plan_store import PlanStore
from watcher.backfill.queue import RECONCILE, BackfillPlan
from watcher.gaps.gap import Gaps
from watcher.retention.claim import Claim
from watcher.retention.expiry import Expiry, Pace
from watcher.sealing.sealer import Terms
from watcher.stream.actors.completion import NO_CONTEXT, Completions
from watcher.stream.batch import Entry, Lost, Position, Recorded
from watcher.stream.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

HISTORIES = int(os.environ.get("WATCHER_TEST_HONEST_HISTORIES", "3"))
SEED = int(os.environ.get("WATCHER_TEST_HONEST_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
STEPS = 40


class _Life:
    """A history that is recorded, sealed, interrupted, completed, erased and expired, by dice."""

    def __init__(self, client: MongoClient[Any], dice: random.Random) -> None:
        self.client, self.dice = client, dice
        self.name = f"honest_{uuid.uuid4().hex[:10]}"
        self.watched = client[self.name]
        self.watched.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
        self.recording = SealedRecording(client, self.name)
        self.history: Database[Any] = self.recording.history
        self.number = 0
        self.late = 0
        self.steps: list[str] = []
        self.last: list[bytes] = []
        self.fence = fence(self.history)
        self.history.erasures.insert_one({"asked_at": dt.datetime.now(dt.UTC)})

    def write(self) -> None:
        for _ in range(self.dice.randrange(1, 12)):
            self.number += 1
            match self.dice.randrange(5):
                case 0 | 1:
                    self.watched.a.insert_one({"_id": self.number, "n": self.number, "name": "somebody"})
                case 2 | 3:
                    change = {"$set": {"n": self.number, "name": f"name {self.dice.randrange(9)}"}}
                    self.watched.a.update_one({"_id": self.dice.randrange(1, self.number + 1)}, change)
                case _:
                    self.watched.a.delete_one({"_id": self.dice.randrange(1, self.number + 1)})

    def record(self) -> None:
        self.write()
        self.last = self.recording.record()

    def record_and_be_killed(self) -> None:
        """What is recorded after the last position is recorded again."""
        self.write()
        documents = self.recording.catch_up()
        self.recording.restart()
        self._again(documents)

    def be_killed(self) -> None:
        self.recording.save()
        self.recording.restart()

    def deliver_again(self) -> None:
        self._again(self.last)

    def _again(self, documents: list[bytes]) -> None:
        entries = [Entry(document, b"") for document in documents]
        self.recording._writer.write(Recorded(entries, [], Position(b"", ClusterTime(0))))
        if documents:
            times = (ClusterTime.from_id(identity(raw.fields(document))) for document in documents)
            self.recording.reached = max(self.recording.reached, *times)
        self.recording.save()

    def seal(self) -> None:
        self.recording.seal()

    def seal_as_another(self) -> None:
        """Another stream puts a seal into the chain."""
        reached = self.recording.reached
        a_sealer(self.history, "another", Terms(1.0), lambda: reached, reached).now()
        said = {"cluster_time": reached.timestamp}
        self.history.checkpoints.update_one({"_id": "another"}, {"$set": said}, upsert=True)

    def bring_in_late(self) -> None:
        self.late += self.dice.randrange(1, 4)
        own(self.history, self.fence).store([entry(number) for number in range(self.late)])

    def lose_something(self) -> None:
        gaps = Gaps(self.history, self.fence, SCOPE)
        gaps.write(Lost(position(self.dice.randrange(1, 5)), "a cause"), position(9))

    def reconcile(self) -> None:
        PlanStore(self.history, self.fence).close_gaps(
            BackfillPlan(RECONCILE, Timestamp(40, 1), (), closes_gaps=True), SCOPE
        )

    def doubt_a_gap(self) -> None:
        """Events of a former leader come too late; nobody delivers them again."""
        self.late += 1
        document = entry(self.late)
        Writer(self.history, "default").write(Recorded([Entry(document, b"")], [], position(7)))
        Gaps(self.history, self.fence, SCOPE).distrust(Recorded([Entry(document, b"")], [], position(7)))

    def name_an_actor(self) -> None:
        ids = self._some(5)
        who = actor.encode((raw.STRING, raw.string(b"ada")), self.dice.choice([actor.STAMP, actor.CONTEXT]))
        Completions(self.history).give(ids, {"actor": RawBSONDocument(who)}, NO_CONTEXT)

    def erase(self) -> None:
        ids = self._some(3)
        note(self.history, AmendmentKind.ERASED, ids)
        kind, payload = ERASED_VALUE
        erased = Binary(payload[5:], payload[4])
        assert kind == raw.BINARY
        for each in ids:
            self.history.history.update_one(
                {"_id": Binary(each), "changes.0": {"$exists": True}},
                {"$set": {"changes.$[].new_value": erased}},
            )

    def erase_whole(self) -> None:
        ids = self._some(2)
        note(self.history, AmendmentKind.ERASED, ids)
        self.history.history.delete_many({"_id": {"$in": [Binary(each) for each in ids]}})

    def expire(self) -> None:
        found = self._some(1)
        if not found:
            return
        at = ClusterTime.end_of(ClusterTime.from_id(found[0]).seconds - 1)
        with Claim(self.history, f"{self.name}.a") as claim:
            for _ in Expiry(self.history, claim, Pace(1_000_000_000, lambda _: False)).run(at):
                if not self.dice.randrange(4):
                    return

    def _some(self, most: int) -> list[bytes]:
        query = {"namespace": f"{self.name}.a", "resume_token": {"$exists": True}}
        stored = self.history.get_collection("history", codec_options=RAW).find(query, {"_id": 1})
        ids = [identity(raw.fields(bytes(each.raw))) for each in stored]
        return self.dice.sample(ids, min(len(ids), self.dice.randrange(1, most + 1)))

    def step(self) -> None:
        """Let something happen."""
        choices: dict[Callable[[], None], int] = {
            self.record: 12,
            self.seal: 8,
            self.record_and_be_killed: 3,
            self.be_killed: 3,
            self.deliver_again: 2,
            self.seal_as_another: 2,
            self.bring_in_late: 2,
            self.lose_something: 1,
            self.reconcile: 1,
            self.doubt_a_gap: 1,
            self.name_an_actor: 3,
            self.erase: 2,
            self.erase_whole: 1,
            self.expire: 2,
        }
        (chosen,) = self.dice.choices(list(choices), list(choices.values()))
        self.steps.append(chosen.__name__)
        chosen()


def test_what_expires_before_the_first_seal_was_not_removed_by_anybody_else(replica_set_uri: str) -> None:
    """The sealer has committed to it already, though nothing of that is in the database."""
    with MongoClient[dict[str, Any]](replica_set_uri) as client:
        life = _Life(client, random.Random(7))
        with life.recording:
            life.record()
            life.recording.sealer._take()
            time.sleep(1.1)  # history expires up to the end of a second
            life.record()
            last = ClusterTime.from_id(identity(raw.fields(life.last[-1])))
            with Claim(life.history, f"{life.name}.a") as claim:
                expiry = Expiry(life.history, claim, Pace(1_000_000_000, lambda _: False))
                assert sum(expiry.run(ClusterTime.end_of(last.seconds - 1)))
            for _ in range(2):
                life.record()
                life.seal()
            report = verify(life.history)
        client.drop_database(life.name)
    assert report.findings == []
    assert (report.unsealed, report.amended) == (0, 0)


@pytest.mark.parametrize("number", range(HISTORIES))
def test_an_honest_history_gives_nothing_to_find(replica_set_uri: str, number: int) -> None:
    """A false alarm would teach everybody to overlook the true one."""
    seed = SEED + number
    with MongoClient[dict[str, Any]](replica_set_uri) as client:
        life = _Life(client, random.Random(seed))
        with life.recording:
            life.record()
            for _ in range(STEPS):
                life.step()
                if not life.dice.randrange(4):
                    report = verify(life.history)
                    assert report.findings == [], (seed, *life.steps)
            life.record()
            for _ in range(3):  # what was noted of what was not sealed yet has its turn later
                life.seal()
                life.seal_as_another()
            report = verify(life.history)
        client.drop_database(life.name)
    assert report.findings == [], (seed, *life.steps)
    assert (report.unsealed, report.amended) == (0, 0), (seed, *life.steps)
    assert report.entries > 20
