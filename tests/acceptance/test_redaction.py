"""No value that a rule covers reaches the history database, the log or an export, whatever is written or fails.

Every secret begins with the same mark, so that it can be searched for: in every collection of the server that keeps the
history, its oplog too, byte by byte.
"""

from __future__ import annotations

import random
import string
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient, ReplaceOne
from pymongo.errors import OperationFailure

from change_history.bson import raw, redacted
from change_history.redaction_rules import Paths, Rule
from change_history.stored.reading import RAW
from tests.support import oracle
from tests.support.backfill import backfilled, told
from tests.support.daemon import FULL_SIZE, Daemon, eventually, watcher
from watcher.events.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.collection import Collection
    from pymongo.database import Database

    from watcher.embedded.mongod import Mongod

MARK = "Xq9SecretMark"
KEY = "a key of sixteen characters and more"
MB = 1024 * 1024
RULES = (
    *("*.people*:password=drop", "*.people*:card.number=mask", "*.*:**.ssn=hash", "*.people*:items.sku=drop"),
    *("*.people*:profile=drop", "*.people*:tags=mask", "*.people*:notes.*.text=mask", "*.people*:sec?et*=drop"),
    *("shop.*:deep.er.value=mask", "shop.*:large=drop"),
)
WRITES = 12_000 if FULL_SIZE else 300
KILLS = 20 if FULL_SIZE else 3
_REFUSED = {2, 9, 28, 40, 52, 56, 11000, 16410}
"""Codes of updates that do not fit the document."""
REJECTED = 3
"""The `_id` of a document that history refuses."""


class Writer:
    """Random writes of documents that are full of secrets."""

    def __init__(self, collection: Collection[Any], seed: int) -> None:
        self._dice = random.Random(seed)
        self.collection = collection
        self.refused = 0

    def secret(self) -> str:
        """Another one each time."""
        return MARK + "".join(self._dice.choices(string.ascii_letters, k=12))

    def document(self, number: int) -> dict[str, Any]:
        """One with secrets at every path that a rule covers, and a few plain values."""
        dice, secret = self._dice, self.secret
        return {
            "_id": number,
            "name": f"name {dice.randrange(100)}",
            "password": dice.choice([secret(), None, {"salt": secret(), "rounds": 3}]),
            "card": {"number": secret(), "holder": "Ann", "ssn": secret()},
            "items": [{"sku": secret(), "qty": dice.randrange(9)} for _ in range(dice.randrange(4))],
            "profile": {secret(): dice.randrange(9), "list": [secret(), {"x": secret()}]},
            "tags": [secret() for _ in range(dice.randrange(5))],
            "notes": {dice.choice("abc"): {"text": secret(), "n": 1}},
            "secret_one": secret(),
            "deep": {"er": [{"value": secret(), "plain": 1}]},
            **({"card.number": secret()} if dice.random() < 0.2 else {}),
        }

    def write(self, number: int) -> None:
        """Do something to a document."""
        try:
            self._write({"_id": number})
        except OperationFailure as error:
            if error.code not in _REFUSED:
                raise
            self.refused += 1

    def _write(self, one: dict[str, Any]) -> None:
        dice, people, secret = self._dice, self.collection, self.secret
        document = self.document(one["_id"])
        some = {key: document[key] for key in dice.sample([*document][1:], 3)}
        some.pop("card.number", None)
        updates: list[Any] = [
            {"$set": some},
            {"$set": {"card.number": secret(), "name": "other"}},
            {"$set": {"profile.list.1.x": secret(), f"profile.{secret()}": 1}},
            {"$set": {"items.0.sku": secret()}},
            {"$set": {"items.2": {"sku": secret()}}},
            {"$set": {"deep.er.0.value": secret(), "deep.er.3.value": secret()}},
            {"$set": {f"notes.{dice.choice('abc')}.text": secret()}},
            {"$set": {"other": {"ssn": secret(), "list": [{"ssn": secret()}]}}},
            {"$unset": {dice.choice(["password", "card", "card.number", "profile.list", "secret_one"]): 1}},
            {"$rename": {"password": "secret_two"}},
            {"$rename": {"secret_one": "password"}},
            {"$rename": {"card.number": "secret_number"}},
            {"$push": {"tags": {"$each": [secret(), secret()], "$position": 0, "$slice": 4}}},
            {"$pop": {"tags": 1, "items": -1}},
            {"$pull": {"items": {"qty": {"$lt": 5}}}},
            {"$push": {"items": {"sku": secret(), "qty": 1}}},
            {"$inc": {"items.$[].qty": 1}},
            [{"$set": {"card": {"$mergeObjects": ["$card", {"number": secret()}]}}}],
            [{"$set": {"items": {"$reverseArray": {"$ifNull": ["$items", []]}}}}],
            [
                {
                    "$replaceWith": {
                        "$setField": {"field": {"$literal": "card.number"}, "input": "$$ROOT", "value": secret()}
                    }
                }
            ],
            [{"$unset": ["password", "tags"]}, {"$set": {"name": "piped", "secret_three": secret()}}],
        ]
        chance = dice.random()
        if chance < 0.2:
            people.replace_one(one, document, upsert=True)
        elif chance < 0.25:
            people.delete_one(one)
        elif chance < 0.3:
            people.bulk_write([ReplaceOne(one, document | {"password": secret()}, upsert=True)])
        elif chance < 0.4:
            with people.database.client.start_session() as session, session.start_transaction():
                people.update_one(one, dice.choice(updates[:8]), session=session)
                people.update_one({"_id": one["_id"] + 1}, {"$set": {"password": secret()}}, session=session)
        else:
            people.update_one(one, dice.choice(updates))


@pytest.fixture
def servers(own_server: Callable[..., Mongod]) -> tuple[Mongod, Mongod]:
    """The watched one, and one that keeps history and nothing else."""
    return own_server(cache_gb=0.5, oplog_mb=2048), own_server(oplog_mb=2048)


@pytest.fixture
def daemon(servers: tuple[Mongod, Mongod], make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon, not started, whose history refuses one document."""
    watched, keeper = servers
    daemon = make_daemon(
        keeper.uri,
        "shop",
        mongodb_uri=watched.uri,
        history_uri=keeper.uri,
        redact=",".join(RULES),
        redact_key=KEY,
        pre_images="use",
        batch_size=100,
        log_level="debug",
        stream="redacted",
    )
    daemon.database.create_collection("history", validator={"document_id": {"$ne": REJECTED}})
    return daemon


@pytest.fixture
def shop(servers: tuple[Mongod, Mongod]) -> Iterator[Database[Any]]:
    """The watched database: one collection has pre-images, the other has none."""
    with MongoClient[dict[str, Any]](servers[0].uri) as client:
        for name, images in (("people", True), ("people_blind", False)):
            client["shop"].create_collection(name, changeStreamPreAndPostImages={"enabled": images})
        yield client["shop"]


def everything(client: MongoClient[Any]) -> Iterator[tuple[str, bytes]]:
    """Every document of a server, its oplog and its system collections too."""
    for database in client.list_database_names():
        for name in client[database].list_collection_names():
            for found in client[database].get_collection(name, codec_options=RAW).find():
                yield f"{database}.{name}", bytes(found.raw)


def no_mark(what: str, text: str | bytes) -> None:
    """Fail where a secret is, without printing it all."""
    data = text.encode() if isinstance(text, str) else text
    at = data.find(MARK.encode())
    assert at < 0, f"{what}: …{data[max(at - 120, 0) : at + 40]!r}…"


def redactor(namespace: str) -> Redactor:
    """What redacts, the readable way."""
    rules = [Rule.parse(text) for text in RULES]
    return Redactor(Paths([rule for rule in rules if rule.concerns(namespace)]), redacted.key_from(KEY))


def settled(daemon: Daemon, shop: Database[Any]) -> None:
    """Wait until history tells every document as it is, but for what is withheld."""
    for name in ("people", "people_blind"):
        mark = {"_id": f"end {random.random()}"}
        shop[name].insert_one(mark)
        daemon.recorded(f"shop.{name}", mark["_id"])
    eventually(lambda: backfilled(daemon), f"the end of the backfill\n{daemon.log()[-3000:]}")


def differences(daemon: Daemon, shop: Database[Any], *names: str) -> list[Any]:
    """The documents that history does not tell as they are with their secrets withheld."""
    expected: dict[str, dict[raw.Value, bytes]] = {name: {} for name in names}
    for (namespace, _), document in oracle.live(shop).items():
        name = namespace.partition(".")[2]
        if name in expected:
            expected[name][raw.fields(document)[b"_id"]] = redactor(namespace).document(document)
    found = {name: told(daemon, f"shop.{name}") for name in names}
    return [
        (name, key)
        for name in names
        for key in {*expected[name], *found[name]}
        if expected[name].get(key) != found[name].get(key)
    ]


def test_no_byte_of_a_secret_is_kept_anywhere(daemon: Daemon, shop: Database[Any]) -> None:
    """Random writes, kills, no pre-images, events over 16 MB, rejected events, a gap; then all is searched."""
    writers = [Writer(shop.people, 1), Writer(shop.people_blind, 2)]
    for writer in writers:
        for number in range(20):
            writer.collection.insert_one(writer.document(number))  # before the stream: they get a baseline
    daemon.start().ready()
    dice = random.Random(3)
    for number in range(WRITES):
        dice.choice(writers).write(dice.randrange(24))
        if number % (WRITES // KILLS) == WRITES // KILLS // 2:
            daemon.kill()
            daemon.start()
        if number in (WRITES // 4, WRITES // 2):
            _large(writers[0])
    settled(daemon, shop)
    assert sum(writer.refused for writer in writers) < WRITES / 2
    rejected = daemon.database.rejected.count_documents({})
    assert rejected
    assert daemon.database.history_parts.count_documents({})
    assert not [each for each in differences(daemon, shop, "people") if each[1] != (raw.INT32, raw.int32(REJECTED))]

    _gap(daemon, shop, writers)
    daemon.database.command({"collMod": "history", "validator": {}})
    retried = watcher(daemon, "rejected", "retry", "--all")
    assert retried.returncode == 0, retried.stderr
    settled(daemon, shop)
    assert not differences(daemon, shop, "people", "people_blind")

    for place, data in everything(daemon.client):
        no_mark(place, data)
    no_mark("the log", daemon.log())
    no_mark("a retry", retried.stdout + retried.stderr)
    for words in (
        ["export", "shop.people"],
        ["export", "shop.people", "--format", "csv"],
        ["export", "shop.people", "--at", "now"],
        ["log", "shop.people", "--json"],
        ["log", "shop.people"],
        ["rejected", "list", "--json"],
        ["stats"],
    ):
        said = watcher(daemon, *words)
        assert said.returncode == 0, said.stderr
        no_mark(" ".join(words), said.stdout + said.stderr)


def _large(writer: Writer) -> None:
    """Events that do not fit: delivered without their values, or without their images."""
    for number in (100, 101):
        one = {"_id": number}
        writer.collection.replace_one(one, one | {"large": writer.secret() * (9 * MB // 25), "n": 1}, upsert=True)
        writer.collection.update_one(one, {"$set": {"large": writer.secret() * (9 * MB // 25), "n": 2}})
        plain = {"plain": "p" * (9 * MB), "password": writer.secret()}
        writer.collection.replace_one(one, one | plain)
        writer.collection.update_one(one, {"$set": {"plain": "q" * (9 * MB), "password": writer.secret()}})
        writer.collection.update_one(one, {"$set": {"password": writer.secret()}})


def _gap(daemon: Daemon, shop: Database[Any], writers: list[Writer]) -> None:
    """Writes of which no event is read: the documents are compared with history, which knows no secrets."""
    daemon.stop()
    for writer in writers:
        for number in range(24):
            writer.write(number)
    moved = watcher(daemon, "checkpoint", "set", "--now", "--yes")
    assert moved.returncode == 0, moved.stderr
    daemon.start()
    settled(daemon, shop)
    assert daemon.database.history.count_documents({"operation": "gap"})


def test_a_change_of_the_rules_is_said_and_makes_no_difference_by_itself(
    servers: tuple[Mongod, Mongod], make_daemon: Callable[..., Daemon], shop: Database[Any]
) -> None:
    """Neither where a rule came, nor where one went: what is only withheld did not change."""
    watched, keeper = servers
    history = f"history_{random.randrange(10**9)}"
    entries = {"operation": "reconcile", "document_id": {"$in": [1, 2]}}

    def with_rules(text: str) -> Daemon:
        named = {"mongodb_uri": watched.uri, "history_uri": keeper.uri, "history_database": history, "stream": "rules"}
        return make_daemon(keeper.uri, "shop", redact=text, redact_key=KEY, **named)

    def compared(daemon: Daemon, time: int) -> int:
        """Have everything compared; how many entries that brought."""
        shop.people.insert_one({"_id": random.random()})  # there is no gap where nothing was lost
        moved = watcher(daemon, "checkpoint", "set", "--now", "--yes")
        assert moved.returncode == 0, moved.stderr
        daemon.start()
        reconciled = {"operation": "gap", "description.level": True}
        eventually(lambda: daemon.database.history.count_documents(reconciled) == time, f"{time} reconciled gaps")
        daemon.stop()
        return daemon.database.history.count_documents(entries)

    shop.people.insert_one({"_id": 1, "p": "plain", "q": {"r": "also"}, "s": 1})
    shop.people.insert_one({"_id": 2, "p": "plain", "s": 1})
    first = with_rules("shop.people:q.r=mask").start().ready()
    first.recorded("shop.people", 2)
    eventually(lambda: backfilled(first), "the baseline")
    first.stop()
    said = list(first.database.history.find({"operation": "redaction"}, sort=[("_id", 1)]))
    assert [entry["namespace"] for entry in said] == ["shop.people"]
    assert said[0]["description"]["rules"] == ["shop.people:q.r=mask"]

    assert compared(with_rules("shop.people:p=drop,shop.people:s=hash"), 1) == 0
    last = with_rules("")
    shop.people.update_one({"_id": 2}, {"$set": {"s": 2}})
    assert compared(last, 2) == 1
    (entry,) = last.database.history.find(entries)
    assert [change["field"] for change in entry["changes"]] == ["s"]
    said = list(last.database.history.find({"operation": "redaction"}, sort=[("_id", 1)]))
    assert [entry["description"]["rules"] for entry in said] == [
        ["shop.people:q.r=mask"],
        ["shop.people:p=drop", "shop.people:s=hash"],
        [],
    ]
    assert said[-1]["description"]["formerly"] == ["shop.people:p=drop", "shop.people:s=hash"]
    shown = watcher(last, "log", "shop.people", "--operation", "redaction")
    assert shown.stdout.count("redaction") >= 3, shown.stdout
    assert KEY not in shown.stdout + last.log()


def test_a_path_in_exclude_is_pointed_out(daemon: Daemon, shop: Database[Any]) -> None:
    """It excludes nothing, and every password is recorded."""
    shop.people.insert_one({"_id": 1})
    daemon._environment["WATCHER_EXCLUDE"] = "shop.people.password"
    daemon.start().ready()
    daemon.stop()
    assert "WATCHER_REDACT=shop.people:password=drop" in daemon.log()
    examined = watcher(daemon, "doctor")
    assert "WATCHER_REDACT=shop.people:password=drop" in examined.stdout
