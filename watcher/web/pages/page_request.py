"""A page's request, and its answer: a template with its data, or plain text."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from bson.errors import BSONError

from change_history.bson.values import ABSENT
from change_history.query import transactions
from change_history.query.briefs import LeftOut
from change_history.reconstruct.point_in_time import NoSuchVersionError
from watcher.web import problems
from watcher.web.pages import links, values
from watcher.words import literals, times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from change_history.reader import Reader
    from change_history.reconstruct.point_in_time import Instant
    from change_history.stored.event import Event
    from watcher.web.pages.references import Reference
    from watcher.web.visible import VisibleHistory


@dataclass(frozen=True, slots=True)
class Page:
    """A page, or a part of one.

    Attributes:
        shows: data of the template.
        status: HTTP status of the answer.
    """

    template: str
    shows: Mapping[str, Any] = field(default_factory=dict)
    status: HTTPStatus = HTTPStatus.OK


@dataclass(frozen=True, slots=True)
class PlainText:
    """A whole value as plain text or JSON."""

    text: str
    media_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class MovedPage:
    """The page has another address."""

    address: str


Answer = Page | PlainText | MovedPage


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One request for a page.

    Attributes:
        params: parameters of the address.
        history: the part of the history that the visitor may read.
        reader: the whole history; used only after `history` has checked that access is allowed.
        references: the fields that refer to documents of other collections.
    """

    params: Mapping[str, str]
    history: VisibleHistory
    reader: Reader
    references: Sequence[Reference] = ()

    def get(self, name: str) -> str | None:
        """The value of a parameter; None: it is missing or blank."""
        found = self.params.get(name)
        return found if found and found.strip() else None

    def saw(self, event: Event) -> None:
        """Note for the access log that values of an event's document are shown."""
        if event.document_id is not ABSENT and not isinstance(event.document_id, LeftOut):
            self.history.take(event.namespace, event.document_id)

    def namespace(self) -> str:
        """The requested namespace.

        Raises:
            watcher.web.problems.Problem: it is missing, or the visitor may not read it.
        """
        found = self.get("ns")
        if found is None or not all(found.partition(".")):
            raise problems.wrong_request("Which collection? Its name is database.collection, such as shop.orders.")
        return self.history.require(found)

    def document(self) -> tuple[str, Any]:
        """The namespace and the `_id` of the requested document.

        Raises:
            watcher.web.problems.Problem: it is missing, its `_id` cannot be parsed, or the visitor may not read it.
        """
        named = self.get("of")
        if named is not None:
            event = self.event(named)
            if event.document_id is ABSENT:
                raise problems.not_found()
            return event.namespace, event.document_id
        namespace = self.namespace()
        text = self.params.get("id")
        if text is None or not text:
            raise problems.wrong_request("Which document? Its id is missing.")
        try:
            return namespace, literals.document_id(text)
        except (ValueError, BSONError, OverflowError, RecursionError) as error:
            raise problems.wrong_request(f"The id cannot be read: {error}.") from error

    def event(self, name: str) -> Event:
        """The event with an id, or with one that begins so.

        Raises:
            watcher.web.problems.Problem: it is no id, there is no such event, or the visitor may not read it.
        """
        try:
            said = transactions.read_name(name)
        except ValueError:
            said = None
        if not isinstance(said, transactions.EventName):
            raise problems.wrong_request("An event is named by the hexadecimal digits that its id begins with.")
        found = self.history.event_named(said.digits)
        if found is None:
            raise problems.not_found()
        return found

    def time(self, name: str) -> Instant | None:
        """A parameter as a time; None: it is missing.

        Raises:
            watcher.web.problems.Problem: it cannot be parsed.
        """
        text = self.get(name)
        if text is None:
            return None
        try:
            return times.parse(text, UTC)
        except (ValueError, OverflowError) as error:
            why = f": {error}" if str(error) else ""
            raise problems.wrong_request(
                f"The time “{values.name(text, 60).striptags()}” cannot be read{why}. Write 2026-03-01, "
                "2026-11-24T01:59:35Z, or “2h ago”."
            ) from error

    def number(self, name: str, default: int, most: int) -> int:
        """A parameter as a whole number from 0 to `most`; the default if it is missing or no such number."""
        text = self.params.get(name, "").strip()
        return min(int(text), most) if text.isdecimal() and len(text) <= len(str(most)) + 1 else default

    def version(self, namespace: str, document_id: Any, text: str) -> int | None:
        """The version at a point in time, which is given as text; None: it is before the first version.

        Raises:
            watcher.web.problems.Problem: it cannot be parsed, or there is no such version.
        """
        try:
            at = links.point(text)
        except (ValueError, OverflowError) as error:
            why = f": {error}" if str(error) else ""
            raise problems.wrong_request(
                f"The point in time “{values.name(text, 60).striptags()}” cannot be read{why}. Write the number of a "
                "version, a time such as 2026-11-24T01:59:35Z, or “2h ago”."
            ) from error
        try:
            if isinstance(at, int) and at > 0:
                return at
            state = self.history.state(namespace, document_id, at)
        except NoSuchVersionError as error:
            raise problems.not_found() from error
        if state.entry is None or state.entry.namespace != namespace:
            return None
        return state.version
