"""The point of a document's history that a page shows, chosen by a version, a time or an event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from change_history.bson.equality import key_of
from change_history.bson.paths import encoded
from change_history.bson.redacted import Redacted
from change_history.bson.values import ABSENT, to_raw
from change_history.diff.compare import Difference, DifferenceKind
from change_history.query import briefs
from change_history.reconstruct.point_in_time import NoSuchVersionError
from change_history.stored.event import path_of
from watcher.web import problems
from watcher.web.pages import links
from watcher.web.pages.tree import Marks, marks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from change_history.query.briefs import Brief
    from change_history.reconstruct.state import State
    from change_history.stored.event import Event
    from watcher.web.pages.page_request import PageRequest

VERSIONS_ON_A_PAGE = 50
LARGEST_NUMBER = 10**9


@dataclass(frozen=True, slots=True)
class Chosen:
    """The chosen point of a document's history.

    Attributes:
        number: version number; 0: before the first version in this namespace.
        total: number of versions of the document.
        state: the document at this point.
        before: the document at the version before; None: there is no such version.
        asked: the requested time, as it was written; None: a version or an event was requested.
        some: the versions on its page of the timeline.
    """

    number: int
    total: int
    state: State
    before: State | None
    asked: str | None
    some: Sequence[Brief] = ()

    @property
    def event(self) -> Event | None:
        """The event that made this state."""
        return self.state.entry

    def marks(self) -> Marks | None:
        """What this version changed; None: the documents are too large to compare, or one is unknown."""
        if self.event is None or self.state.unknown is not None:
            return None
        if self.before is None or self.before.unknown is not None:
            return Marks() if self.event.operation in {"insert", "baseline"} else None
        return marks(self.before.data, self.state.data, unseen_changes(self.event))


def unseen_changes(event: Event) -> list[Difference]:
    """Changes of redacted values whose old and new value look the same."""
    found = []
    for change in event.changes:
        value = change.new_value
        if isinstance(value, Redacted) and not value.digest and change.old_value == value:
            path = encoded(path_of(change))
            unnamed = (None,) * len(path)
            found.append(Difference(DifferenceKind.CHANGED, path, path, value.raw, value.raw, unnamed))
    return found


def known(request: PageRequest) -> tuple[str, Any, Chosen, bytes]:
    """The requested document at the chosen point: its namespace, its `_id`, the point, and its BSON.

    Raises:
        watcher.web.problems.Problem: the document did not exist then, or its state is unknown.
    """
    namespace, document_id = request.document()
    chosen = choose(request, namespace, document_id, request.history.versions(namespace, document_id))
    if chosen.state.data is None:
        raise problems.not_found()
    return namespace, document_id, chosen, chosen.state.data


def address_of(where: Mapping[str, Any], chosen: Chosen, **more: Any) -> str:
    """The address of a document's page at the same point."""
    at = chosen.asked or chosen.number or None
    return links.address("document", **where, at=at, **more)


def choose(request: PageRequest, namespace: str, document_id: Any, total: int) -> Chosen:
    """The point that the parameters `event` or `at` name; without them, the last version.

    Args:
        total: number of versions of the document.

    Raises:
        watcher.web.problems.Problem: the document has no such event or version.
    """
    named, text = request.get("event"), request.get("at")
    asked = None
    if named is not None:
        event = request.event(named)
        if event.namespace != namespace or not _is_same(event.document_id, document_id):
            raise problems.not_found()
        number: int | None = request.reader.version_of(event)
    elif text is not None:
        number = request.version(namespace, document_id, text)
        asked = None if text.strip().lstrip("-").isdecimal() else text.strip()
    else:
        number = total
    if number and number > total:
        raise problems.not_found()
    first, last = window(request, number or 0, total)
    some = versions(request, namespace, document_id, max(first - 1, 1), min(last + 1, total), total)
    try:
        if asked is not None:
            state = request.history.state(namespace, document_id, links.point(asked))
        else:
            state = _state_of(request, namespace, document_id, number or 0, total, some)
        before = _state_of(request, namespace, document_id, number - 1, total, some) if number and number > 1 else None
    except NoSuchVersionError as error:
        raise problems.not_found() from error
    shown = [brief for brief in some if first <= brief.number <= last]
    return Chosen(number or 0, total, state, before, asked, shown)


def _is_same(one: Any, other: Any) -> bool:
    """Whether two `_id`s are equal in the server's comparison."""
    return one is not ABSENT and key_of(to_raw(one)) == key_of(to_raw(other))


def window(request: PageRequest, number: int, total: int) -> tuple[int, int]:
    """The numbers of the oldest and the newest version in the timeline that is shown.

    Pages are counted from the oldest version, so that new versions do not change what an address shows; only the
    newest page overlaps another, so that it is full.
    """
    size = VERSIONS_ON_A_PAGE
    last = request.number("to", 0, LARGEST_NUMBER)
    if not 0 < last <= total:
        last = total if number > total - size else min(-(-max(number, 1) // size) * size, total)
    return max(last - size + 1, 1), last


def versions(request: PageRequest, namespace: str, document_id: Any, first: int, last: int, total: int) -> list[Brief]:
    """Briefs of a document's versions, from one number to another."""
    collection = request.reader.collection_of_history
    return briefs.versions(collection, namespace, document_id, first, last - first + 1, total)


def _state_of(
    request: PageRequest, namespace: str, document_id: Any, number: int, total: int, some: Sequence[Brief]
) -> State:
    """The document at a version: looked up by cluster time, which is faster, if no other version has the same."""
    if not number:
        return request.history.state(namespace, document_id, None)
    times = {brief.number: brief.event.cluster_time for brief in some}
    moment = times.get(number)
    alone = number == total or (number + 1 in times and times[number + 1] != moment)
    if moment is not None and alone:
        return request.history.state(namespace, document_id, moment, version=number)
    return request.history.state(namespace, document_id, number)
