"""A past that tells what a test puts into it, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from change_history.bson.raw import Value
    from change_history.reconstruct.places import Place
    from watcher.stream.batch import Lost, Position, Recorded
    from watcher.stream.inflight import Key


@dataclass
class Forgetful:
    """Stands for `watcher.stream.past.Past` where no history is stored.

    Attributes:
        told: what it tells of every document that it is asked about; None: unknown.
        asked: the documents it was asked about, one tuple a question.
        news: what `learned` answers, once.
    """

    told: bytes | None = None
    asked: list[tuple[Key, ...]] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    news: bool = False

    def documents(self, keys: Mapping[Key, Value], _place: Place) -> Iterator[tuple[Key, bytes | None]]:
        """Tells what the test has put in."""
        self.asked.append(tuple(keys))
        yield from dict.fromkeys(keys, self.told).items()

    def begin(self, recorded: Recorded) -> None:
        """Nothing is ever stored."""

    def lose(self, lost: Lost, _resumed: Position) -> None:
        """Keeps it for the test to see."""
        self.lost.append(lost)

    def stored(self, number: int) -> None:
        """Nothing is ever stored."""

    def learned(self) -> bool:
        """Tells once that there are news."""
        news, self.news = self.news, False
        return news
