"""Random updates as aggregation pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tests.support.documents import LONG, STRANGE, documents, flat, lists, small, values

if TYPE_CHECKING:
    from tests.support.documents import Draw


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
