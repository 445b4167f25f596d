"""What happens in the watched deployment: kinds of writes on collections with pre-images, in the database `bench`."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo import MongoClient
    from pymongo.database import Database

    Operation = UpdateOne | InsertOne[Any] | ReplaceOne[Any] | DeleteOne
    Write = Callable[[int, random.Random], Operation]

DATABASE = "bench"
AT_ONCE = 1000
PREPARING_BYTES = 8_000_000
LOADING_BYTES = 32_000_000
MOST_BEYOND = 20_000


class Workload(NamedTuple):
    """A kind of writes.

    Attributes:
        name: in the table.
        events: how many.
        write: the operation of a number, and of dice.
        documents: there before, in all collections together.
        filler: bytes of text in each of them.
        collections: over which everything is spread.
        in_transactions: of a thousand operations each.
        pre_images: whether the collections have them.
        make: a document that is there before, of a number and so many bytes of text.
        told: the documents that are there before are inserted behind the position where peers begin, so that history
            knows them: their inserts are events too.
        note: for the table.
    """

    name: str
    events: int
    write: Write
    documents: int = 20_000
    filler: int = 0
    collections: int = 1
    in_transactions: bool = False
    pre_images: bool = True
    make: Callable[[int, int], dict[str, Any]] | None = None
    told: bool = False
    note: str = ""

    @property
    def all_events(self) -> int:
        """How many events peers see."""
        return self.events + (self.documents if self.told else 0)

    def names(self) -> list[str]:
        """Names of its collections."""
        return ["orders", *(f"orders_{number}" for number in range(1, self.collections))]

    def prepare(self, client: MongoClient[Any]) -> None:
        """Make the collections and the documents that are there before, in a database of which nothing is left."""
        client.drop_database(DATABASE)
        for name in self.names():
            images: Any = {"changeStreamPreAndPostImages": {"enabled": self.pre_images}}
            client[DATABASE].create_collection(name, **images)
        if not self.told:
            self.fill(client)

    def fill(self, client: MongoClient[Any]) -> None:
        """Insert the documents that are there before."""
        make = self.make or document

        def fill(number: int) -> None:
            collection = client[DATABASE][self.names()[number]]
            mine = range(number, self.documents, self.collections)
            step = max(1, min(AT_ONCE, PREPARING_BYTES // (self.filler + 200)))
            for start in range(0, len(mine), step):
                collection.insert_many([make(i, self.filler) for i in mine[start : start + step]], ordered=False)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(fill, range(self.collections)))

    def load(self, client: MongoClient[Any], events: int | None = None) -> None:
        """Do the writes."""
        dice, names, database = random.Random(1), self.names(), client[DATABASE]
        total = events if events is not None else self.events
        # A collection takes its turn with whole batches, smaller ones when there are many.
        step = AT_ONCE if self.in_transactions else max(10, AT_ONCE // self.collections)
        for turn, start in enumerate(range(0, total, step)):
            place = turn % self.collections
            writes = [
                self.write(self._document_of(number, place), dice) for number in range(start, min(start + step, total))
            ]
            self._write(client, database, names[place], writes)

    def load_and_more(self, client: MongoClient[Any]) -> None:
        """Do the writes, and as many more as fill the largest batch that any peer asks for, 16 MB.

        Otherwise everyone's last batch, which is not full, would look for more in all that peers have written since.
        """
        self.load(client, self.events + self.beyond)

    @property
    def beyond(self) -> int:
        """How many more writes that is."""
        return min(MOST_BEYOND, LOADING_BYTES // (self.filler + 1000))

    def _document_of(self, number: int, place: int) -> int:
        """Of the documents of a collection, the one whose turn it is; beyond those that are there, new ones."""
        return number if self.collections == 1 else number * self.collections + place

    def _write(self, client: MongoClient[Any], database: Database[Any], name: str, writes: list[Any]) -> None:
        if not self.in_transactions:
            database[name].bulk_write(writes, ordered=False)
            return
        with client.start_session() as session, session.start_transaction():
            database[name].bulk_write(writes, session=session)


def document(number: int, filler: int = 0) -> dict[str, Any]:
    """A small order of ten fields or so."""
    contents = {
        "_id": number,
        "name": f"customer {number}",
        "email": f"c{number}@example.com",
        "city": "Lisbon",
        "total": 0.5,
        "items": 0,
        "tags": ["a", "b"],
    }
    return {**contents, "text": _text(number, filler)} if filler else contents


def _text(number: int, size: int) -> str:
    """Text that compresses as text does: words, in an order of their own."""
    dice = random.Random(number)
    words = " ".join(f"{dice.randrange(100_000)} word" for _ in range(min(size, 4000) // 9 + 1))
    return (words * (size // len(words) + 1))[:size]


def of_some(write: Callable[[int, random.Random], dict[str, Any]], documents: int, collections: int = 1) -> Write:
    """Updates of documents chosen by dice.

    Args:
        write: what `$set` is given.
        documents: how many there are.
        collections: over which they are spread.
    """

    def update(number: int, dice: random.Random) -> UpdateOne:
        chosen = dice.randrange(documents // collections) * collections + number % collections
        return UpdateOne({"_id": chosen}, {"$set": write(number, dice)})

    return update


def three_fields(number: int, dice: random.Random) -> dict[str, Any]:
    """What the usual update sets."""
    return {"items": number, "total": dice.random(), "city": f"city {number % 977}"}


def ten_fields(number: int, dice: random.Random) -> dict[str, Any]:
    """What a larger update sets."""
    return {**three_fields(number, dice), **{f"field_{place}": number + place for place in range(7)}}


def updates(events: int, **others: Any) -> Workload:
    """Updates of three fields each."""
    documents, collections = others.get("documents", 20_000), others.get("collections", 1)
    name = others.pop("name", "three-field updates")
    return Workload(name, events, of_some(three_fields, documents, collections), **others)


def all_kinds(events: int, seed: int) -> list[Workload]:
    """The kinds that the table has beside small updates, each with so many events.

    Args:
        events: how many.
        seed: by which the shapes of the last kind are drawn.
    """
    return [
        *_of_orders(events, seed),
        Workload("inserts", events, lambda number, _: InsertOne(document(number)), documents=0),
        Workload("deletes", events, lambda number, _: DeleteOne({"_id": number}), documents=events + MOST_BEYOND),
        updates(events, name="updates of 4 KB documents", documents=5000, filler=4000),
        Workload("ten-field updates", events, of_some(ten_fields, 20_000)),
        updates(events, name="in transactions of 1,000", in_transactions=True),
        updates(events, name="in 1,000 collections", collections=1000),
    ]


def _of_orders(events: int, seed: int) -> list[Workload]:
    """Writes to orders of 1 KB, with an embedded document and an array of ten."""
    deleted = (events + MOST_BEYOND) // 20 + 1
    writes = Workload("mixed writes", events, mixed, documents=20_000 + deleted, make=order)
    return [
        Workload("nested $set", events, nested_set, make=order),
        writes,
        writes._replace(name="mixed writes without pre-images", pre_images=False, told=True),
        Workload("writes of random shapes", events, Shapes(seed), make=order, note=f"seed {seed}"),
    ]


def order(number: int, _filler: int = 0) -> dict[str, Any]:
    """An order of 1 KB."""
    return {
        "_id": number,
        "name": f"customer {number}",
        "addr": {"street": "Rua Augusta 1", "city": "Lisbon", "zip": "1100-048", "geo": {"lat": 38.7, "lon": -9.1}},
        "n": 0,
        "total": 0.5,
        "items": [{"_id": item, "product": f"product {item}", "qty": item} for item in range(10)],
        "text": _text(number % 997, 300),
    }


def nested_set(number: int, dice: random.Random) -> UpdateOne:
    """A field of an embedded document, and two others."""
    return UpdateOne({"_id": dice.randrange(20_000)}, {"$set": {"addr.city": f"city {number}", "name": f"c {number}"}})


_MIXED = ["set"] * 6 + ["inc"] * 4 + ["push"] * 3 + ["pull"] + ["replace"] * 2 + ["insert"] * 2 + ["delete", "pipeline"]


def mixed(number: int, dice: random.Random, **marks: Any) -> Operation:
    """Thirty per cent nested `$set`, and less of each other operation. Every one changes something: it is one event.

    Args:
        number: of the operation.
        dice: choose the document.
        marks: more fields that are set, unless it is a delete: that is of a document of its own (`deleted_by`).
    """
    one = {"_id": dice.randrange(20_000)}
    push = {"_id": number, "product": f"p {number}", "qty": 1}
    pulled = {"total": number + 0.5, **marks}
    computed = {"total": number + 0.25, "addr.zip": {"$concat": ["$name", "x"]}, **marks}
    extra = {"$set": marks} if marks else {}
    operations: dict[str, Callable[[], Operation]] = {
        "set": lambda: UpdateOne(one, {"$set": {"addr.city": f"city {number}", "name": f"c {number}", **marks}}),
        "inc": lambda: UpdateOne(one, {"$inc": {"n": 1}, **extra}),
        "push": lambda: UpdateOne(one, {"$push": {"items": push}, **extra}),
        "pull": lambda: UpdateOne(one, {"$pull": {"items": {"_id": number % 10}}, "$set": pulled}),
        "replace": lambda: ReplaceOne(one, {**order(number), **one, "n": number, **marks}),
        "insert": lambda: InsertOne({**order(10_000_000 + number), **marks}),
        "delete": lambda: DeleteOne({"_id": 20_000 + number // len(_MIXED)}),
        "pipeline": lambda: UpdateOne(one, [{"$set": computed}]),
    }
    return operations[_MIXED[number * 7 % len(_MIXED)]]()


def deleted_by(document_id: int) -> int:
    """The number of the mixed write that deletes a document."""
    first = (document_id - 20_000) * len(_MIXED)
    return next(first + each for each in range(len(_MIXED)) if _MIXED[(first + each) * 7 % len(_MIXED)] == "delete")


class Shapes:
    """Updates of shapes that nobody has chosen: how many paths, how deep, in documents or arrays, set or removed.

    Args:
        seed: draws them.
    """

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def __call__(self, number: int, dice: random.Random) -> UpdateOne:
        """The update of a number. Its last path makes it one event, whatever the others do."""
        drawn = self._dice
        fields: dict[str, Any] = {"n": number}
        update: dict[str, Any] = {"$set": fields}
        for _ in range(drawn.choice([1, 1, 2, 3, 5, 30])):
            place = drawn.choice(["addr", "addr.geo", "more", f"more.{drawn.choice('abc')}", "extra"])
            name = f"{place}.{'k' * drawn.choice([1, 3, 8, 200])}{drawn.randrange(9)}"
            if not any(path.startswith(name) or name.startswith(path) for path in fields):
                fields[name] = drawn.choice([number, "text", {"a": {"b": number}}, [number, {"_id": 1}], None])
        if drawn.random() < 0.3:
            fields[f"items.{drawn.randrange(10)}.qty"] = number
        elif drawn.random() < 0.3:
            update["$push"] = {"items": {"$each": [{"_id": number}], "$slice": -drawn.randrange(10, 20)}}
        elif drawn.random() < 0.2:
            update["$unset"] = {drawn.choice(["text", "total", "name"]): ""}
        return UpdateOne({"_id": dice.randrange(20_000)}, update)
