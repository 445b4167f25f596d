"""The page that compares two points in the history of a document side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.reconstruct.point_in_time import NoSuchVersionError
from watcher.web import problems
from watcher.web.pages import links
from watcher.web.pages.page_request import Page
from watcher.web.pages.tree import Marks, Tree, flat, marks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from watcher.web.pages.page_request import Answer, PageRequest
    from watcher.web.pages.tree import Node

_CONTEXT = 3
_MODES = ("side", "inline")


def page(request: PageRequest) -> Answer:
    """Compare two points in the history of a document."""
    namespace, document_id = request.document()
    total = request.history.versions(namespace, document_id)
    if not total:
        raise problems.not_found()
    texts = request.get("a") or str(max(total - 1, 1)), request.get("b") or str(total)
    states, problem = [], None
    for text in texts:
        number = request.version(namespace, document_id, text)
        try:
            at: Any = links.point(text)
            at = at if not isinstance(at, int) or at > 0 else number
            states.append((number, request.history.state(namespace, document_id, at)))
        except NoSuchVersionError as error:
            raise problems.not_found() from error
    (first, before), (second, after) = states
    # Without a choice, the page has both layouts and the window's width decides.
    mode = request.get("mode") if request.get("mode") in _MODES else None
    where = links.of_document(namespace, document_id, after.entry or before.entry)
    for text, state in zip(texts, (before, after), strict=True):
        if state.unknown is not None:
            problem = f"History cannot tell the document at {text}: {state.unknown}."
    found = marks(before.data, after.data) if problem is None else Marks()
    if found is None:
        problem = "These documents are too large to be compared on a page: `watcher diff` compares any."
    data = after.data if after.data is not None else before.data
    tree = (
        Tree(found, whole=links.of_values(where, second or 0)).document(data)
        if data is not None and problem is None
        else None
    )
    lines = list(_with_context(list(flat(tree)))) if tree is not None and mode != "inline" else []
    shown = {
        "ns": namespace,
        "id": document_id,
        "where": where,
        "total": total,
        "a": texts[0],
        "b": texts[1],
        "first": first,
        "second": second,
        "before": before,
        "after": after,
        "mode": mode,
        "tree": tree,
        "lines": lines,
        "problem": problem,
        "change_count": found.count if found is not None else 0,
        "swap": links.address("document/compare", **where, a=texts[1], b=texts[0], mode=mode),
        "modes": {
            name: links.address("document/compare", **where, a=texts[0], b=texts[1], mode=name) for name in _MODES
        },
        "part_address": links.address("document/part", **where, at=second or None),
        "only": "before" if after.data is None else "after" if before.data is None else None,
    }
    return Page("compare.html", shown)


def _with_context(lines: Sequence[tuple[int, Node]]) -> Iterable[tuple[int, Node | None, int]]:
    """The changed lines with a few lines of context; each omitted stretch is one line with its length."""
    near: set[int] = set()
    for number, (_, node) in enumerate(lines):
        if node.mark or node.note:
            near.update(range(number - _CONTEXT, number + _CONTEXT + 1))
        elif node.touched:
            near.add(number)
    if not near:
        near = set(range(len(lines)))
    skipped = 0
    for number, (depth, node) in enumerate(lines):
        if number not in near:
            skipped += 1
            continue
        if skipped:
            yield depth, None, skipped
            skipped = 0
        yield depth, node, 0
    if skipped:
        yield 0, None, skipped
