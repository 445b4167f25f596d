"""The endpoints of the API: a path, its parameters, and the function that reads history for it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from watcher.web import problems
from watcher.web.api import cursors
from watcher.web.api import parameters as p

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from change_history.bson import raw
    from watcher.web.visible import VisibleHistory


_KEY_BYTES = 16

T = TypeVar("T")


class Asked(NamedTuple):
    """A parsed request.

    Attributes:
        check: binds cursors to this query.
    """

    given: p.Given
    check: bytes


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint of the API.

    Attributes:
        path: path below `/api/v1`.
        summary: what it returns, in a few words.
        description: further details.
        parameters: its parameters.
        schema: name of the schema of the response, or of an item of a list.
        work: reads history and returns a tree, or for a list an iterator of items; runs in a thread.
        lists: whether the response is a list, with `limit` and `cursor`, and also available line by line.
        most: longest page of a list, in items.
        slow: whether a response may take as long as a streamed one.
    """

    path: str
    summary: str
    description: str
    parameters: tuple[p.Parameter, ...]
    schema: str
    work: Callable[[VisibleHistory, Asked], Any]
    lists: bool = False
    most: int = 1000
    slow: bool = False

    @property
    def name(self) -> str:
        """Its operation id."""
        return self.work.__name__

    @property
    def all_parameters(self) -> tuple[p.Parameter, ...]:
        """The endpoint's parameters, with those of every list."""
        return (*self.parameters, p.limit(self.most), p.CURSOR) if self.lists else self.parameters


def key_of(raw_id: raw.Value) -> bytes:
    """The digest that represents an `_id` in a cursor."""
    return blake2b(bytes([raw_id[0]]) + raw_id[1], digest_size=_KEY_BYTES).digest()


def key_after(asked: Asked) -> bytes | None:
    """The key that a page begins after; None: it is the first page."""
    cursor = asked.given.get("cursor")
    return cursors.key(cursor, asked.check) if cursor is not None else None


def from_cursor(asked: Asked, found: Iterable[T], raw_id: Callable[[T], raw.Value]) -> Iterator[tuple[T, str]]:
    """The items after the request's cursor, of a list that is always read from its beginning, each with its cursor.

    Raises:
        watcher.web.problems.Problem: the item that the page begins after no longer exists. Without the error, the
            remaining items would be missing, and the list would seem to be complete.
    """
    after = key_after(asked)
    for each in found:
        key = key_of(raw_id(each))
        if after is None:
            yield each, cursors.after_key(key, asked.check)
        elif key == after:
            after = None
    if after is not None:
        raise problems.Problem(
            HTTPStatus.GONE,
            "cursor-gone",
            "the item after which this page begins is not there any more; begin with the first page (at a fixed `at` "
            "a collection stands still), or read it line by line",
        )
