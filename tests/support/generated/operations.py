"""Random writes as data: every kind of update MongoDB knows, on documents made to be misread.

An operation is a list of commands as they go over the wire, so that a failing example that hypothesis prints can be
run by hand. Nothing here looks at a server; what a server refuses is skipped by whoever runs the operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bson.raw_bson import RawBSONDocument
from hypothesis import strategies as st

from change_history.bson.values import to_raw
from tests.support.generated.documents import (
    ARRAYS,
    IDS,
    LONG,
    NUMBERS,
    STRANGE,
    documents,
    flat,
    ids,
    lists,
    paths,
    scalars,
    small,
    values,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.generated.documents import Draw


def _field(draw: Draw) -> Any:
    """A name for `$setField`: one that starts with a dollar must be a literal."""
    return {"$literal": draw(st.sampled_from([*STRANGE, *STRANGE, "a", "o", "l"]))}


def _sliced(draw: Draw, path: str) -> dict[str, Any]:
    return {"$slice": [f"${path}", draw(st.integers(1, 4))]}


def _mapped(draw: Draw, path: str, inner: Any) -> dict[str, Any]:
    source = _sliced(draw, path) if draw(st.booleans()) else f"${path}"
    return {"$map": {"input": source, "as": "x", "in": inner}}


def _changed_element(draw: Draw) -> dict[str, Any]:
    value = draw(st.sampled_from([1, 2, 3, LONG]))
    return {"$cond": [{"$eq": ["$$x", value]}, {"$literal": draw(small)}, "$$x"]}


def _turned(path: str) -> dict[str, Any]:
    return {"$arrayToObject": {"$reverseArray": {"$objectToArray": path}}}


_PIPELINE_PATHS = ["n", "a", "a.b", "a.b.k", "d.k", "d.v", "l", "m", "o.new", "o.01", "o.0", "new.deep", "pad", "d.new"]


def _stage(draw: Draw) -> list[dict[str, Any]]:  # noqa: C901, PLR0911, PLR0912 - one return a kind of stage
    def literal(strategy: st.SearchStrategy[Any] = values) -> dict[str, Any]:
        return {"$literal": draw(strategy)}

    match draw(st.integers(0, 19)):
        case 0 | 1:
            return [{"$set": {draw(st.sampled_from(_PIPELINE_PATHS)): literal()}}]
        case 2:
            return [{"$unset": draw(st.lists(st.sampled_from(_PIPELINE_PATHS), min_size=1, max_size=2, unique=True))}]
        case 3:
            return [{"$replaceWith": {"$mergeObjects": ["$$ROOT", literal(flat)]}}]
        case 4:
            return [{"$replaceWith": {"$mergeObjects": [literal(flat), "$$ROOT"]}}]
        case 5:
            return [{"$replaceWith": {"$mergeObjects": [literal(documents()), {"_id": "$_id"}]}}]
        case 6:
            return [{"$replaceWith": _turned("$$ROOT")}]
        case 7:
            path = draw(st.sampled_from(["a", "o", "d"]))
            return [{"$set": {path: _turned(f"${path}")}}]
        case 8 | 9:
            return [{"$replaceWith": {"$setField": {"field": _field(draw), "input": "$$ROOT", "value": literal()}}}]
        case 10:
            return [{"$replaceWith": {"$unsetField": {"field": _field(draw), "input": "$$ROOT"}}}]
        case 11:
            path = draw(st.sampled_from(["a", "o"]))
            return [{"$set": {path: {"$setField": {"field": _field(draw), "input": f"${path}", "value": literal()}}}}]
        case 12:
            path = draw(st.sampled_from(["a", "o"]))
            return [{"$set": {path: {"$unsetField": {"field": _field(draw), "input": f"${path}"}}}}]
        case 13:
            path = draw(st.sampled_from(["l", "d", "m", "o.l"]))
            return [{"$set": {path: _sliced(draw, path)}}]
        case 14:
            path = draw(st.sampled_from(["l", "d", "m", "o.l"]))
            return [{"$set": {path: {"$concatArrays": [_sliced(draw, path), literal(lists)]}}}]
        case 15:
            path = draw(st.sampled_from(["l", "o.l"]))
            return [{"$set": {path: _mapped(draw, path, _changed_element(draw))}}]
        case 16:
            return [{"$set": {"d": _mapped(draw, "d", {"$mergeObjects": ["$$x", literal(flat)]})}}]
        case 17:
            inner = {"$concatArrays": [{"$slice": ["$$x", draw(st.integers(1, 2))]}, literal(lists)]}
            return [{"$set": {"m": _mapped(draw, "m", inner)}}]
        case 18:
            path = draw(st.sampled_from(["n", "a", "l", "o", "pad"]))
            return [{"$set": {"kept": f"${path}"}}, {"$unset": path}, {"$set": {path: "$kept"}}, {"$unset": "kept"}]
        case _:
            path = draw(st.sampled_from(["n", "a", "l", "o.0", "o.01"]))
            return [{"$unset": path}, {"$set": {path: literal()}}]


def pipeline(draw: Draw) -> list[dict[str, Any]]:
    """The stages of one to three changes."""
    return [stage for _ in range(draw(st.integers(1, 3))) for stage in _stage(draw)]


def _number(draw: Draw) -> Any:
    return draw(st.sampled_from(NUMBERS))


def _push(draw: Draw) -> Any:
    if draw(st.booleans()):
        return draw(values)
    push: dict[str, Any] = {"$each": draw(lists)}
    if draw(st.booleans()):
        push["$slice"] = draw(st.integers(-4, 4))
    if draw(st.booleans()):
        push["$position"] = draw(st.integers(-3, 3))
    if draw(st.booleans()):
        push["$sort"] = draw(st.sampled_from([1, -1, {"k": 1}, {"k": -1}]))
    return push


def _pull(draw: Draw) -> Any:
    return draw(
        st.sampled_from([1, 3, None, LONG, {"$gte": 2}, {"$in": [1, 2]}, {"k": 1}, {"k": {"$lt": 2}}, {"$ne": 1}])
    )


def _add_to_set(draw: Draw) -> Any:
    return {"$each": draw(lists)} if draw(st.booleans()) else draw(values)


_OPERATORS: dict[str, Callable[[Draw], Any]] = {
    "$set": lambda draw: draw(values),
    "$unset": lambda _: "",
    "$inc": _number,
    "$mul": _number,
    "$min": lambda draw: draw(scalars),
    "$max": lambda draw: draw(scalars),
    "$rename": lambda draw: draw(paths),
    "$currentDate": lambda draw: draw(st.sampled_from([True, {"$type": "timestamp"}])),
    "$bit": lambda draw: {draw(st.sampled_from(["and", "or", "xor"])): draw(st.integers(0, 7))},
    "$setOnInsert": lambda draw: draw(values),
}
_ARRAY_OPERATORS: dict[str, Callable[[Draw], Any]] = {
    "$push": _push,
    "$pull": _pull,
    "$pullAll": lambda draw: draw(st.sampled_from([[1], [1, 3], [LONG, None], [2, 3.0]])),
    "$pop": lambda draw: draw(st.sampled_from([1, -1])),
    "$addToSet": _add_to_set,
}
_OFTEN = ["$set"] * 4 + ["$unset"] * 2 + ["$inc"] * 2


def classic(draw: Draw) -> dict[str, Any]:
    """One to three operators, each on a path that it suits or not."""
    update: dict[str, Any] = {}
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            operator = draw(st.sampled_from([*_OFTEN, *_OPERATORS]))
            if operator == "$inc":
                update.setdefault(operator, {})[draw(st.sampled_from(["n", "d.$[].k", "m.0.0", "new", "o.0"]))] = (
                    _number(draw)
                )
            else:
                update.setdefault(operator, {})[draw(paths)] = _OPERATORS[operator](draw)
        else:
            operator = draw(st.sampled_from([*_ARRAY_OPERATORS]))
            update.setdefault(operator, {})[draw(st.sampled_from(ARRAYS))] = _ARRAY_OPERATORS[operator](draw)
    return update


def array_filters(update: dict[str, Any]) -> list[dict[str, Any]]:
    """The filters that the paths of an update ask for."""
    names = {path for fields in update.values() for path in fields}
    filters: list[dict[str, Any]] = []
    if any("$[e]" in name for name in names):
        filters.append({"e.k": {"$gte": 1}})
    if any("$[f]" in name for name in names):
        filters.append({"f": {"$gte": 2}})
    return filters


def is_positional(update: dict[str, Any]) -> bool:
    """Whether the update needs a query that finds an element of an array."""
    return any(".$." in f"{path}." for fields in update.values() for path in fields)


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
