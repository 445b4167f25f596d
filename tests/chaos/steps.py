"""What is done to a document next: a pure function of its name and its counter.

Every write counts the document's counter `n` up by one, sets `mark` to what belongs to that count, and does something
else besides. A write of which nobody knows whether it has happened can therefore be tried again: it is the same write,
and it asks for the counter that it counts from.
"""

from __future__ import annotations

import datetime as dt
from hashlib import blake2b
from typing import Any, NamedTuple

from bson import Decimal128, Int64

NAMESPACES = ("chaos_a.counters", "chaos_a.orders", "chaos_b.counters")
MARKS = "chaos_a.marks"
_DELETED = 19
_YOUNG = 3


class Key(NamedTuple):
    """A document's name."""

    namespace: str
    document_id: str


class State(NamedTuple):
    """Where a document is: in which of its lives, and its counter; -1: it is not there."""

    life: int
    n: int

    @property
    def exists(self) -> bool:
        """Whether it is there."""
        return self.n >= 0


class Step(NamedTuple):
    """One write.

    Attributes:
        operation: `insert`, `update`, `replace` or `delete`.
        before, after: where it leads from and to.
        argument: the document, the update, or the pipeline.
        array_filters: of the update.
    """

    operation: str
    before: State
    after: State
    argument: Any = None
    array_filters: list[dict[str, Any]] | None = None

    @property
    def filter(self) -> dict[str, Any]:
        """What the document must be like, for the write to happen once."""
        return {"life": self.before.life, "n": self.before.n}


BEFORE_ALL = State(0, -1)


def mark(state: State) -> str:
    """The field that belongs to a count."""
    return f"{state.life}/{state.n}"


def following(key: Key, state: State) -> Step:
    """The next write to a document."""
    dice = int.from_bytes(blake2b(f"{key} {state}".encode(), digest_size=8).digest(), "big")
    if not state.exists:
        born = State(state.life + 1, 0)
        return Step("insert", state, born, _document(key, born))
    if state.n > _YOUNG and dice % _DELETED == 0:
        return Step("delete", state, State(state.life, -1))
    after = State(state.life, state.n + 1)
    return _FORMS[dice // _DELETED % len(_FORMS)](key, state, after)


def _document(key: Key, state: State) -> dict[str, Any]:
    return {
        "_id": key.document_id,
        "life": state.life,
        "n": state.n,
        "mark": mark(state),
        "tags": [state.n, "a", None],
        "sub": {"a": {"b": Int64(state.n)}, "c": "c" * (state.n % 50)},
        "rows": [{"_id": 1, "v": state.n}, {"_id": 2, "v": Decimal128("0.10")}],
        "at": dt.datetime.fromtimestamp(state.n, dt.UTC),
    }


def _update(before: State, after: State, **more: Any) -> Step:
    """An update that counts, with more that it does; `set_` is put beside the mark."""
    fields = {"mark": mark(after), **more.pop("set_", {})}
    array_filters = more.pop("array_filters", None)
    others = {f"${name}": argument for name, argument in more.items()}
    return Step("update", before, after, {"$inc": {"n": 1}, "$set": fields, **others}, array_filters)


def _pipeline(before: State, after: State) -> Step:
    fields = {"n": {"$add": ["$n", 1]}, "mark": mark(after), "tags": {"$slice": ["$tags", 2]}, "late": {"$toInt": "$n"}}
    return Step("update", before, after, [{"$set": fields}, {"$unset": "sub.c"}])


_FORMS = (
    lambda _, b, a: _update(b, a, set_={"sub.a.b": Int64(a.n), "sub.c": "x" * (a.n % 80)}),
    lambda _, b, a: _update(b, a, push={"tags": {"$each": [a.n, {"deep": [a.n]}], "$slice": -5}}),
    lambda _, b, a: _update(b, a, pull={"tags": {"$lt": a.n}}),
    lambda _, b, a: _update(b, a, set_={"rows.$[row].v": a.n}, array_filters=[{"row._id": 1 + a.n % 2}]),
    lambda _, b, a: _update(b, a, set_={f"more.{a.n % 5}": a.n}, unset={"sub.a": 1, "late": 1}),
    lambda _, b, a: _update(b, a, set_={"tags.1": f"t{a.n}"}),
    lambda _, b, a: _pipeline(b, a),
    lambda key, b, a: Step("replace", b, a, _document(key, a)),
)
