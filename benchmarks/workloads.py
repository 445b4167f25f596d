"""What happens in the watched deployment: kinds of writes on collections with pre-images, in the database `bench`."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo import DeleteOne, InsertOne, UpdateOne

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo import MongoClient
    from pymongo.database import Database

    Write = Callable[[int, random.Random], UpdateOne | InsertOne[Any] | DeleteOne]

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
    """

    name: str
    events: int
    write: Write
    documents: int = 20_000
    filler: int = 0
    collections: int = 1
    in_transactions: bool = False
    pre_images: bool = True

    def names(self) -> list[str]:
        """Names of its collections."""
        return ["orders", *(f"orders_{number}" for number in range(1, self.collections))]

    def prepare(self, client: MongoClient[Any]) -> None:
        """Make the collections and the documents that are there before, in a database of which nothing is left."""
        client.drop_database(DATABASE)
        database = client[DATABASE]

        def fill(number: int) -> None:
            images: Any = {"changeStreamPreAndPostImages": {"enabled": self.pre_images}}
            collection = database.create_collection(self.names()[number], **images)
            mine = range(number, self.documents, self.collections)
            step = max(1, min(AT_ONCE, PREPARING_BYTES // (self.filler + 200)))
            for start in range(0, len(mine), step):
                collection.insert_many([document(i, self.filler) for i in mine[start : start + step]], ordered=False)

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


def all_kinds(events: int) -> list[Workload]:
    """The kinds that the table has beside small updates, each with so many events."""
    return [
        Workload("inserts", events, lambda number, _: InsertOne(document(number)), documents=0),
        Workload("deletes", events, lambda number, _: DeleteOne({"_id": number}), documents=events + MOST_BEYOND),
        updates(events, name="updates of 4 KB documents", documents=5000, filler=4000),
        Workload("ten-field updates", events, of_some(ten_fields, 20_000)),
        updates(events, name="in transactions of 1,000", in_transactions=True),
        updates(events, name="in 1,000 collections", collections=1000),
    ]
