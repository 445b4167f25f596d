"""Random writes as data: every kind of update MongoDB knows, on documents made to be misread.

An operation is a list of commands as they go over the wire, so that a failing example that hypothesis prints can be
run by hand. Nothing here looks at a server; what a server refuses is skipped by whoever runs the operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bson.raw_bson import RawBSONDocument
from hypothesis import strategies as st

from change_history.bson.values import to_raw
from tests.support.documents import IDS, LONG, documents, ids
from tests.support.pipelines import pipeline
from tests.support.updates import array_filters, classic, is_positional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.documents import Draw

Command: TypeAlias = dict[str, Any]

COLLECTIONS = ("c0", "c1", "c2")
CLIENTS = 3


class Operation(NamedTuple):
    """Something that a client does.

    Attributes:
        kind: what it is counted as.
        client: number of the client that does it.
        commands: what is sent, in order.
        commit: None: not a transaction; else whether the transaction is committed or aborted.
        between: what another client sends while the transaction is open.
    """

    kind: str
    client: int
    commands: list[Command]
    commit: bool | None = None
    between: Command | None = None


def on_the_wire(command: Command) -> Command:
    """The command with its documents encoded, also those with types the driver cannot write."""
    return {key: _encoded(value) for key, value in command.items()}


def _encoded(value: Any) -> Any:
    if isinstance(value, dict):
        return RawBSONDocument(to_raw(value)[1])
    return [_encoded(item) for item in value] if isinstance(value, list) else value


@st.composite
def _new_documents(draw: Draw) -> dict[str, Any]:
    return {"_id": draw(ids), **draw(documents())}


_ARRAY_QUERIES: list[dict[str, Any]] = [{"d.k": 1}, {"l": {"$gte": 1}}, {"d.k": {"$gte": 0}}, {"l": LONG}]


def _query(draw: Draw, *, positional: bool = False) -> dict[str, Any]:
    query: dict[str, Any] = {}
    if draw(st.sampled_from([True, True, False])):
        query["_id"] = {"$eq": draw(ids)}
    if positional:
        query |= draw(st.sampled_from(_ARRAY_QUERIES))
    return query


def _statement(draw: Draw) -> tuple[str, dict[str, Any]]:
    """One statement of an `update` command, with the name of its kind."""
    kind = draw(st.sampled_from(["classic", "classic", "pipeline", "pipeline", "replace"]))
    statement: dict[str, Any]
    if kind == "classic":
        update = classic(draw)
        statement = {"q": _query(draw, positional=is_positional(update)), "u": update}
        if filters := array_filters(update):
            statement["arrayFilters"] = filters
    elif kind == "pipeline":
        statement = {"q": _query(draw), "u": pipeline(draw)}
    else:
        statement = {"q": _query(draw), "u": draw(documents())}
    if kind != "replace" and draw(st.booleans()):
        statement["multi"] = True
    if draw(st.sampled_from([False, False, False, True])):
        statement["upsert"] = True
    return kind, statement


def _command(draw: Draw, collections: Sequence[str]) -> tuple[str, Command]:
    collection = draw(st.sampled_from(collections))
    match draw(st.integers(0, 13)):
        case 0:
            new = draw(st.lists(_new_documents(), min_size=1, max_size=3))
            return "insert", {"insert": collection, "documents": new, "ordered": draw(st.booleans())}
        case 1:
            limit = draw(st.sampled_from([1, 1, 0]))
            query = _query(draw) if limit else {"_id": draw(ids)}
            return "delete", {"delete": collection, "deletes": [{"q": query, "limit": limit}]}
        case 2 | 3:
            return _find_and_modify(draw, collection)
        case 4 | 5:
            statements = [_statement(draw)[1] for _ in range(draw(st.integers(2, 5)))]
            return "bulk", {"update": collection, "updates": statements, "ordered": draw(st.booleans())}
        case _:
            kind, statement = _statement(draw)
            return kind, {"update": collection, "updates": [statement]}


def _find_and_modify(draw: Draw, collection: str) -> tuple[str, Command]:
    _, statement = _statement(draw)
    command: Command = {"findAndModify": collection, "query": statement["q"]}
    if draw(st.booleans()):
        command["sort"] = {"n": draw(st.sampled_from([1, -1]))}
    if draw(st.sampled_from([True, *[False] * 7])):
        return "findAndModify", {**command, "remove": True}
    command |= {"update": statement["u"], "new": draw(st.booleans())}
    command |= {key: statement[key] for key in ("arrayFilters", "upsert") if key in statement}
    return "findAndModify", command


@st.composite
def _operation(draw: Draw, *, switching: bool) -> Operation:
    client = draw(st.integers(0, CLIENTS - 1))
    choice = draw(st.integers(0, 11))
    if choice == 0:
        several = [_command(draw, COLLECTIONS[:2])[1] for _ in range(draw(st.integers(2, 5)))]
        between = _command(draw, COLLECTIONS[2:])[1] if draw(st.booleans()) else None
        return Operation("transaction", client, several, draw(st.sampled_from([True, True, True, False])), between)
    if choice == 1 and switching:
        enabled = {"enabled": draw(st.booleans())}
        switch = {"collMod": draw(st.sampled_from(COLLECTIONS)), "changeStreamPreAndPostImages": enabled}
        return Operation("switch", client, [switch])
    kind, command = _command(draw, COLLECTIONS)
    return Operation(kind, client, [command])


MOST = 40
"""At most so many operations in one example."""

USUAL = 16
"""So many operations in one example, on the average."""


@st.composite
def operations(draw: Draw, *, switching: bool = False) -> list[Operation]:
    """Operations on collections that are empty at first.

    Args:
        draw: hypothesis' own.
        switching: whether some of them switch the images of a collection on or off.
    """
    seeds = [
        Operation(
            "insert",
            0,
            [
                {
                    "insert": name,
                    "documents": [{"_id": key, **draw(documents())} for key in IDS[: draw(st.integers(1, 4))]],
                    "ordered": False,
                }
            ],
        )
        for name in COLLECTIONS[: draw(st.integers(1, len(COLLECTIONS)))]
    ]
    count = draw(st.integers(1, MOST))
    return seeds + [draw(_operation(switching=switching)) for _ in range(count)]
