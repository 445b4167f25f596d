"""What redaction costs: events a second, catching up, and processor time, with no rules and with ten.

The same events of documents of 1 kB (updates, replacements, inserts, deletes) are caught up with by turns without
rules, with ten rules of which six match, and with ten of which none does, on one server; ratios are of medians.

Usage: python benchmarks/redaction.py [--events N] [--repetitions N]
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pymongo import DeleteOne, InsertOne, MongoClient, ReplaceOne, UpdateOne

from benchmarks.processes import cpu_s, started_server
from tests.support.daemon import Daemon

if TYPE_CHECKING:
    from pymongo.database import Database

DOCUMENTS = 1000
KEPT = ("history", "history_parts", "snapshots", "amendments", "rejected")
RULES = {
    "none": "",
    "ten, six match": "*.people:password=drop,*.people:card.number=mask,*.*:**.ssn=hash,*.people:items.sku=drop,"
    "*.people:tags=mask,*.people:sec?et*=drop,*.people:profile=drop,*.people:notes.*.text=mask,shop.*:deep.er.value=mask,shop.*:large=drop",
    "ten, none matches": ",".join(f"*.people:{path}=drop" for path in "abcdefg")
    + ",*.*:**.pin=hash,*.people:address.phone=mask,*.people:pass?hrase=drop",
}


def main() -> None:
    """Measure, and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=60_000)
    arguments.add_argument("--repetitions", type=int, default=3)
    options = arguments.parse_args()
    with started_server(cache_gb=1, oplog_mb=2048) as (server, folder):
        _measure(server.uri, folder, options.events, options.repetitions)


def _measure(uri: str, folder: Path, events: int, repetitions: int) -> None:
    client: MongoClient[dict[str, Any]] = MongoClient(uri)
    started = _events(client, folder, uri, events)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in RULES}
    names = list(RULES)
    for number in range(repetitions):
        for name in names[number % 3 :] + names[: number % 3]:
            found[name].append(_caught_up(client.kept, _daemon(client, folder, uri, RULES[name]), started, events))
    print(f"caught up with {events:,} events, medians of {repetitions}; µs of processor time an event:")
    plain = [statistics.median(column) for column in zip(*found["none"], strict=True)]
    for name, runs in found.items():
        rate, own, both = (statistics.median(column) for column in zip(*runs, strict=True))
        print(
            f"  {name:18} {rate:>8,.0f} events/s {rate / plain[0]:>7.1%}   daemon {own:5.1f}"
            f"   daemon and server {both:5.1f} {plain[2] / both:>7.1%}   {[round(run[0]) for run in runs]}"
        )


def _events(client: MongoClient[Any], folder: Path, uri: str, events: int) -> dict[str, Any]:
    """Write the events, after the position that is given back."""
    dice = random.Random(1)
    people = client.shop.create_collection("people", changeStreamPreAndPostImages={"enabled": True})
    people.insert_many([_person(dice, number) for number in range(DOCUMENTS)])
    daemon = _daemon(client, folder, uri, "").start().ready()
    time.sleep(3)
    daemon.stop()
    position = client.kept.checkpoints.find_one({"_id": "default"})
    assert position is not None
    for start in range(0, events, DOCUMENTS):
        writes = [_write(dice, number, start) for number in range(DOCUMENTS)]
        people.bulk_write([write for some in writes for write in some][:DOCUMENTS])
    return dict(position)


def _person(dice: random.Random, number: int) -> dict[str, Any]:
    return {
        "_id": number,
        "name": f"name {dice.randrange(100)}",
        "password": f"password {dice.random()}",
        "card": {"number": f"{dice.randrange(10**16):016}", "holder": "Ann"},
        "ssn": f"{dice.randrange(10**9):09}",
        "secret": dice.random(),
        "items": [{"sku": f"sku {dice.random()}", "qty": number} for number in range(3)],
        "tags": ["a tag of some length", "another tag"],
        "address": {"street": "Rua Augusta 1", "city": "Lisbon", "zip": "1100-048"},
        "text": "words and more words " * 20,
        "n": 0,
    }


def _write(dice: random.Random, number: int, start: int) -> list[Any]:
    one, chance = {"_id": number}, dice.random()
    if chance < 0.1:
        return [ReplaceOne(one, _person(dice, number) | {"n": start}, upsert=True)]
    if chance < 0.15:
        return [DeleteOne(one), InsertOne(_person(dice, number))]
    if chance < 0.4:
        return [UpdateOne(one, {"$set": {"password": f"password {dice.random()}", "items.0.sku": f"sku {start}"}})]
    return [UpdateOne(one, {"$set": {"n": start + number + 1, "address.zip": str(start)}})]


def _caught_up(
    history: Database[Any], daemon: Daemon, started: dict[str, Any], events: int
) -> tuple[float, float, float]:
    """Events a second of one run; microseconds an event of the daemon, and of daemon and server."""
    for name in KEPT:
        history.drop_collection(name)
    history.checkpoints.replace_one({"_id": "default"}, started, upsert=True)
    events = events * 99 // 100  # an upsert, or an update that changes nothing, is no event more
    server = history.client.admin.command("serverStatus")["pid"]
    process = daemon.start().process
    assert process is not None
    while (first := history.history.estimated_document_count()) == 0:
        time.sleep(0.002)
    began, own, both = time.monotonic(), cpu_s(process.pid), cpu_s(process.pid) + cpu_s(server)
    while (last := history.history.estimated_document_count()) < events:
        time.sleep(0.02)
    took = time.monotonic() - began
    own, both = cpu_s(process.pid) - own, cpu_s(process.pid) + cpu_s(server) - both
    daemon.stop()
    return (last - first) / took, own / (last - first) * 1e6, both / (last - first) * 1e6


def _daemon(client: MongoClient[Any], folder: Path, uri: str, rules: str) -> Daemon:
    settings = {
        "include": "shop.*",
        "baseline": "off",
        "snapshots": "off",
        "redact": rules,
        "redact_key": "a key of sixteen characters and more",
    }
    return Daemon(client, folder / "log", uri=uri, history_database="kept", **settings)


if __name__ == "__main__":
    main()
