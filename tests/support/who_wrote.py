"""Writers who note what they do: random writes of every kind, each in the name of somebody, or of nobody."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import ObjectId
from pymongo import DeleteOne, InsertOne, MongoClient, UpdateOne
from pymongo.errors import PyMongoError

from tests.support.actors import CONTEXTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.client_session import ClientSession

    from change_history import Event

NAMES = ["ann", "bea", "cem", ObjectId("65f0c0ffee65f0c0ffee65f0"), 7]
"""Whom applications name, in stamps and contexts."""
STAMP, COMPANION = "updated_by", "stamped"
SETTING = f"{STAMP}:{COMPANION}"
KEEP = 30
"""A writer has so many documents, give or take."""

Key = tuple[str, Any, Any]


class Truth(NamedTuple):
    """What is true of an event.

    Attributes:
        kind: of the write.
        user: the database user.
        context: whom the context document of its transaction names.
        stamp: whom the write stamped.
    """

    kind: str
    user: str
    context: Any = None
    stamp: Any = None


@dataclass
class Transaction:
    """What happens in a transaction: what is noted only once it is committed, and whom its contexts name."""

    session: ClientSession
    noted: list[tuple[Key, Truth]] = field(default_factory=list)
    who: Any = None


class Writer:
    """One database user, at work on documents of its own.

    Args:
        uri: of the user.
        user: as `name@database`.
        database: where it writes.
        seed: of the dice.
    """

    def __init__(self, uri: str, user: str, database: str, seed: int) -> None:
        self.client: MongoClient[Any] = MongoClient(uri)
        self.careless: MongoClient[Any] = MongoClient(uri, retryWrites=False)
        self.user = user
        self.name = database
        self.truth: dict[Key, Truth] = {}
        self._dice = random.Random(seed)
        self._docs: dict[str, dict[str, Any]] = {}
        self._numbers = count()
        self._transaction: Transaction | None = None
        self._aborted: set[str] = set()

    def close(self) -> None:
        """Leave."""
        self.client.close()
        self.careless.close()

    def write(self) -> None:
        """Do one of the things that can be done."""
        if len(self._docs) < KEEP:
            self._insert()
            return
        self._dice.choice(self._kinds)(self)

    def _collection(self, client: MongoClient[Any] | None = None) -> Any:
        return (client or self.client)[self.name].docs

    @property
    def _options(self) -> dict[str, Any]:
        return {"session": self._transaction.session} if self._transaction is not None else {}

    def _note(self, kind: str, operation: str, document_id: str, number: Any, stamp: Any = None) -> None:
        inside = self._transaction
        kind = f"transaction, {kind}" if inside is not None else kind
        truth = Truth(kind, self.user, inside.who if inside is not None else None, stamp)
        if inside is not None:
            inside.noted.append(((operation, document_id, number), truth))
        else:
            self.truth[operation, document_id, number] = truth

    def _any(self) -> str:
        return self._dice.choice(list(self._docs))

    def _stamp(self) -> dict[str, Any]:
        return {STAMP: self._dice.choice(NAMES), COMPANION: next(self._numbers)}

    def _insert(self) -> None:
        self._put({**self._stamp()} if self._dice.random() < 0.5 else {}, "insert")

    def _put(self, said: dict[str, Any], kind: str) -> None:
        number = next(self._numbers)
        document = {"_id": f"{self.user} {number}", "w": number, **said, "list": [1, 2, 3]}
        self._collection().insert_one(dict(document), **self._options)
        self._docs[document["_id"]] = document
        stamp = said.get(STAMP)
        self._note(f"{kind}, stamped" if stamp is not None else kind, "insert", document["_id"], number, stamp)

    def _insert_many(self) -> None:
        numbers = [next(self._numbers) for _ in range(3)]
        documents: list[dict[str, Any]] = [{"_id": f"{self.user} {number}", "w": number} for number in numbers]
        self._collection().insert_many([dict(each) for each in documents], **self._options)
        for each in documents:
            self._docs[each["_id"]] = each
            self._note("insert_many", "insert", each["_id"], each["w"])

    def _update(self) -> None:
        document_id, number = self._any(), next(self._numbers)
        said = self._stamp()
        self._collection().update_one({"_id": document_id}, {"$set": {"w": number, **said}}, **self._options)
        self._docs[document_id] |= {"w": number, **said}
        self._note("update, stamped", "update", document_id, number, said[STAMP])

    def _raw_update(self, client: MongoClient[Any] | None = None, kind: str = "update, raw") -> None:
        """As somebody does in mongosh: the stamp stays whose it was."""
        document_id, number = self._any(), next(self._numbers)
        change = self._dice.choice(
            [{"$set": {"w": number}}, {"$set": {"w": number}, "$push": {"list": number}}, [{"$set": {"w": number}}]]
        )
        self._collection(client).update_one({"_id": document_id}, change, **self._options)
        self._docs[document_id]["w"] = number
        self._note(kind, "update", document_id, number)

    def _not_retryable(self) -> None:
        if self._transaction is None:
            self._raw_update(self.careless, "update, not retryable")

    def _unset(self) -> None:
        document_id, number = self._any(), next(self._numbers)
        self._collection().update_one(
            {"_id": document_id}, {"$set": {"w": number}, "$unset": {STAMP: ""}}, **self._options
        )
        self._docs[document_id].pop(STAMP, None)
        self._docs[document_id]["w"] = number
        self._note("update that removes the stamp", "update", document_id, number)

    def _replace(self) -> None:
        """Read, changed by hand, and saved whole: with the stamp that was there, or with a new one."""
        document_id, number = self._any(), next(self._numbers)
        said = self._stamp() if self._dice.random() < 0.5 else {}
        after = {**self._docs[document_id], "w": number, **said}
        self._collection().replace_one({"_id": document_id}, dict(after), **self._options)
        self._docs[document_id] = after
        kind = "replace, stamped" if said else "replace, raw"
        self._note(kind, "update", document_id, number, said.get(STAMP))

    def _find_and_update(self) -> None:
        document_id, number = self._any(), next(self._numbers)
        self._collection().find_one_and_update({"_id": document_id}, {"$set": {"w": number}}, **self._options)
        self._docs[document_id]["w"] = number
        self._note("find_one_and_update", "update", document_id, number)

    def _delete(self) -> None:
        document_id = self._any()
        self._collection().delete_one({"_id": document_id}, **self._options)
        del self._docs[document_id]
        self._note("delete", "delete", document_id, None)

    def _find_and_delete(self) -> None:
        document_id = self._any()
        self._collection().find_one_and_delete({"_id": document_id}, **self._options)
        del self._docs[document_id]
        self._note("find_one_and_delete", "delete", document_id, None)

    def _update_many(self) -> None:
        some, number = self._dice.sample(list(self._docs), 3), next(self._numbers)
        said = self._stamp() if self._dice.random() < 0.5 else {}
        self._collection().update_many({"_id": {"$in": some}}, {"$set": {"w": number, **said}}, **self._options)
        for each in some:
            self._docs[each] |= {"w": number, **said}
            kind = "update_many, stamped" if said else "update_many"
            self._note(kind, "update", each, number, said.get(STAMP))

    def _delete_many(self) -> None:
        some = self._dice.sample(list(self._docs), 2)
        self._collection().delete_many({"_id": {"$in": some}}, **self._options)
        for each in some:
            del self._docs[each]
            self._note("delete_many", "delete", each, None)

    def _bulk(self) -> None:
        one, two = self._dice.sample(list(self._docs), 2)
        number = next(self._numbers)
        new = f"{self.user} {number}"
        writes = [
            InsertOne({"_id": new, "w": number}),
            UpdateOne({"_id": one}, {"$set": {"w": number}}),
            DeleteOne({"_id": two}),
        ]
        self._collection().bulk_write(writes, ordered=self._dice.random() < 0.5, **self._options)
        self._docs[new] = {"_id": new, "w": number}
        self._docs[one]["w"] = number
        del self._docs[two]
        for operation, document_id, said in (("insert", new, number), ("update", one, number), ("delete", two, None)):
            self._note("bulk_write", operation, document_id, said)

    def _upsert(self) -> None:
        number = next(self._numbers)
        new = f"{self.user} {number}"
        self._collection().update_one({"_id": new}, {"$set": {"w": number}}, upsert=True, **self._options)
        self._docs[new] = {"_id": new, "w": number}
        self._note("upsert", "insert", new, number)

    def _misplaced(self) -> None:
        """A context document outside of a transaction: it names nobody."""
        self.client[self.name][CONTEXTS].insert_one({"actor": "mallory"})
        self._raw_update()

    def _many_steps(self) -> None:
        """A transaction: contexts first, in the middle, last, twice, or none; committed or not."""
        steps = [self._dice.choice(self._inside) for _ in range(self._dice.choice([1, 2, 4, 8, 40]))]
        for _ in range(self._dice.choice([0, 1, 1, 1, 2])):
            steps.insert(self._dice.choice([0, len(steps) // 2, len(steps)]), Writer._say)
        before = {key: dict(document) for key, document in self._docs.items()}
        commits = self._dice.random() < 0.9
        with self.client.start_session() as session:
            session.start_transaction()
            inside = self._transaction = Transaction(session)
            try:
                for step in steps:
                    if step is Writer._say or len(self._docs) > KEEP // 2:
                        step(self)
                if commits:
                    session.commit_transaction()
                    self.truth.update(inside.noted)
                else:
                    session.abort_transaction()
            except PyMongoError:
                if session.in_transaction:
                    session.abort_transaction()
                raise
            finally:
                self._transaction = None
        if not commits:
            self._docs = before

    def _say(self) -> None:
        inside = self._transaction
        assert inside is not None
        who = self._dice.choice(NAMES)
        self.client[self.name][CONTEXTS].insert_one({"actor": who, "reason": "a test"}, session=inside.session)
        if inside.who is None:  # it counts for what came before, too
            inside.noted = [(key, truth._replace(context=who)) for key, truth in inside.noted]
        inside.who = who

    _inside: tuple[Callable[[Writer], None], ...] = (
        _insert,
        _insert_many,
        _update,
        _update,
        _raw_update,
        _replace,
        _find_and_update,
        _delete,
        _update_many,
        _delete_many,
        _upsert,
    )
    _kinds = (*_inside, _find_and_delete, _bulk, _unset, _not_retryable, _misplaced, _many_steps, _many_steps)


@dataclass
class Judgement:
    """What was recorded, held against what is true.

    Attributes:
        wrong: a line for each event that names another than who did it.
        events: number of events, by kind of write.
        unknown: of how many of these the actor is not known.
        by: how often each provenance, by kind of write.
    """

    wrong: list[str] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    by: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, event: Event, truth: Truth) -> None:
        """Judge one event."""
        self.events[truth.kind] += 1
        actor = event.actor
        if actor is None:
            self.unknown[truth.kind] += 1
            return
        self.by[truth.kind, actor.provenance] += 1
        true = {"context": truth.context, "stamp": truth.stamp, "session": truth.user}[actor.provenance]
        lower = truth.context is not None and actor.provenance != "context"
        user_lies = actor.database_user not in {None, truth.user}
        if actor.id != true or true is None or lower or user_lies:
            self.wrong.append(f"{event}: {actor!r}, and it was {truth!r}")

    def lines(self) -> Iterator[str]:
        """A table."""
        yield f"{'kind of write':44} {'events':>7} {'context':>8} {'stamp':>7} {'session':>8} {'unknown':>8}"
        for kind in sorted(self.events):
            total = self.events[kind]
            ways = [self.by[kind, way] for way in ("context", "stamp", "session")]
            yield f"{kind:44} {total:7} {ways[0]:8} {ways[1]:7} {ways[2]:8} {self.unknown[kind] / total:8.1%}"
        total, unknown = self.events.total(), self.unknown.total()
        yield f"{'all':44} {total:7} {'':8} {'':7} {'':8} {unknown / total:8.1%}; wrong: {len(self.wrong)}"
