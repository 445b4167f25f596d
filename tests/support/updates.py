"""Random updates with the classic operators, also on arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tests.support.documents import ARRAYS, LONG, NUMBERS, lists, paths, scalars, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.documents import Draw


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
