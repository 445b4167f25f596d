"""Which point of a document's history a page looks at: a version, a time, or an event."""

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
    """The point of a document's history that is looked at.

    Attributes:
        number: which version; 0: before the first under this name.
        total: how many versions there are.
        state: what the document was.
        before: what it was before that version; None: nothing, or nobody knows.
        asked: the time that was asked for; None: a version was.
        some: the versions around it.
    """

    number: int
    total: int
    state: State
    before: State | None
    asked: str | None
    some: Sequence[Brief] = ()

    @property
    def event(self) -> Event | None:
        """The event that made it so."""
        return self.state.entry

    def marks(self) -> Marks | None:
        """What this version changed; None: the documents are too large, or one of them is not known."""
        if self.event is None or self.state.unknown is not None:
            return None
        if self.before is None or self.before.unknown is not None:
            return Marks() if self.event.operation in {"insert", "baseline"} else None
        return marks(self.before.data, self.state.data, unseen_changes(self.event))


def unseen_changes(event: Event) -> list[Difference]:
    """Changes of withheld values that look the same before and after."""
    found = []
    for change in event.changes:
        value = change.new_value
        if isinstance(value, Redacted) and not value.digest and change.old_value == value:
            path = encoded(path_of(change))
            unnamed = (None,) * len(path)
            found.append(Difference(DifferenceKind.CHANGED, path, path, value.raw, value.raw, unnamed))
    return found


def known(request: PageRequest) -> tuple[str, Any, Chosen, bytes]:
    """The chosen version of the document that is asked for: its namespace, `_id`, the version, and its bytes.

    Raises:
        watcher.web.problems.Problem: there was no such document then, or history cannot tell it.
    """
    namespace, document_id = request.document()
    chosen = choose(request, namespace, document_id, request.history.versions(namespace, document_id))
    if chosen.state.data is None:
        raise problems.not_found()
    return namespace, document_id, chosen, chosen.state.data


def address_of(where: Mapping[str, Any], chosen: Chosen, **more: Any) -> str:
    """The address of a page that looks at the same point."""
    at = chosen.asked or chosen.number or None
    return links.address("document", **where, at=at, **more)


def choose(request: PageRequest, namespace: str, document_id: Any, total: int) -> Chosen:
    """The point that is asked for by `event` or `at`; without them, the last version.

    Args:
        total: how many versions the document has.

    Raises:
        watcher.web.problems.Problem: there is no such event or version of it.
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
    """Whether two `_id`s are one, as the server compares them."""
    return one is not ABSENT and key_of(to_raw(one)) == key_of(to_raw(other))


def window(request: PageRequest, number: int, total: int) -> tuple[int, int]:
    """The numbers of the oldest and the newest version in the timeline that is shown.

    Pages are counted from the oldest version, so that their addresses go on meaning the same; the newest is full.
    """
    size = VERSIONS_ON_A_PAGE
    last = request.number("to", 0, LARGEST_NUMBER)
    if not 0 < last <= total:
        last = total if number > total - size else min(-(-max(number, 1) // size) * size, total)
    return max(last - size + 1, 1), last


def versions(request: PageRequest, namespace: str, document_id: Any, first: int, last: int, total: int) -> list[Brief]:
    """The versions of a document from one number to another, in brief."""
    collection = request.reader.collection_of_history
    return briefs.versions(collection, namespace, document_id, first, last - first + 1, total)


def _state_of(
    request: PageRequest, namespace: str, document_id: Any, number: int, total: int, some: Sequence[Brief]
) -> State:
    """What a version was: by its cluster time if that is known and no other version's, since it is found sooner."""
    if not number:
        return request.history.state(namespace, document_id, None)
    times = {brief.number: brief.event.cluster_time for brief in some}
    moment = times.get(number)
    alone = number == total or (number + 1 in times and times[number + 1] != moment)
    if moment is not None and alone:
        return request.history.state(namespace, document_id, moment, version=number)
    return request.history.state(namespace, document_id, number)
