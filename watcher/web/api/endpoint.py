"""What can be asked of the API, each by an `Endpoint`: a path, its parameters, and how history is asked for it."""

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
    """A request, read.

    Attributes:
        check: ties cursors to this question.
    """

    given: p.Given
    check: bytes


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something that can be asked.

    Attributes:
        path: below `/api/v1`.
        summary: what it answers, in few words.
        description: the rest.
        parameters: what may be said.
        schema: name of the schema of the answer, or of an item of a list.
        work: asks history. Gives a tree, or of a list an iterator of items; runs in a thread.
        lists: whether the answer is a list: with `limit` and `cursor`, also line by line.
        most: the longest page of a list.
        slow: whether an answer may take as long as a streamed one.
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
        """Also those of every list."""
        return (*self.parameters, p.limit(self.most), p.CURSOR) if self.lists else self.parameters


def key_of(raw_id: raw.Value) -> bytes:
    """What stands for an id in a cursor."""
    return blake2b(bytes([raw_id[0]]) + raw_id[1], digest_size=_KEY_BYTES).digest()


def key_after(asked: Asked) -> bytes | None:
    """The key that a page begins after; None: it is the first."""
    cursor = asked.given.get("cursor")
    return cursors.key(cursor, asked.check) if cursor is not None else None


def from_cursor(asked: Asked, found: Iterable[T], raw_id: Callable[[T], raw.Value]) -> Iterator[tuple[T, str]]:
    """What a page and those after it show of an answer that is read from its beginning, each with its cursor.

    Raises:
        watcher.web.problems.Problem: the item that the page begins after is not there any more: without it, the rest
            would be missing, and the answer would seem to be whole.
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
