"""Many who ask the same at once are answered together, and never with what is older than their request."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from watcher.web.executor import Asker
from watcher.web.question import ClientGoneError
from watcher.web.settings import Limits
from watcher.web.visitors import everything


class Client:
    """One who asks, and may go away."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(visitor=everything("anybody"))
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        """What the server tells of the connection."""
        await self.gone.wait()
        return {"type": "http.disconnect"}


class Clock:
    """A history that tells how often it was asked, each time once it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.let = threading.Semaphore(0)

    def tell(self, _: Any) -> int:
        """The number of this question."""
        self.asked += 1
        mine = self.asked
        assert self.let.acquire(timeout=10)
        return mine


def asker() -> Asker:
    """One without a deployment: only the questions' order matters here."""
    nothing: Any = SimpleNamespace(admin=SimpleNamespace(command=lambda *_: None))
    return Asker(nothing, nothing, Limits())


def test_who_comes_meanwhile_gets_the_next_answer_all_together() -> None:
    """An answer that was begun before somebody came may lack what they have just written."""

    async def run() -> None:
        asking, clock = asker(), Clock()

        def ask(client: Any) -> asyncio.Task[int]:
            return asyncio.create_task(asking.ask_together(client, "key", clock.tell))

        first = ask(Client())
        while clock.asked < 1:  # noqa: ASYNC110 - a thread counts
            await asyncio.sleep(0.001)
        later = [ask(Client()) for _ in range(20)]
        await asyncio.sleep(0.01)
        clock.let.release(2)

        assert await first == 1
        assert await asyncio.gather(*later) == [2] * 20
        clock.let.release()
        assert await ask(Client()) == 3
        assert asking._rounds == {}

    asyncio.run(run())


def test_one_who_goes_away_takes_no_answer_from_the_others() -> None:
    """Neither while asking for them, nor while waiting, nor cancelled."""

    async def run() -> None:
        asking, clock = asker(), Clock()
        clients = [Client() for _ in range(6)]

        def ask(client: Any) -> asyncio.Task[int]:
            return asyncio.create_task(asking.ask_together(client, "key", clock.tell))

        tasks = [ask(client) for client in clients]
        while clock.asked < 1:  # noqa: ASYNC110 - a thread counts
            await asyncio.sleep(0.001)
        tasks[1].cancel()
        clients[0].gone.set()
        await asyncio.sleep(0.01)
        clock.let.release(10)
        found = await asyncio.gather(*tasks, return_exceptions=True)

        assert isinstance(found[0], ClientGoneError)
        assert isinstance(found[1], asyncio.CancelledError)
        assert found[2:] == [2] * 4
        assert asking._rounds == {}

    asyncio.run(run())


def test_what_cannot_be_answered_is_said_to_all_who_wait() -> None:
    """And the next one asks anew."""

    async def run() -> None:
        asking = asker()
        let = threading.Event()

        def fail(_: Any) -> int:
            assert let.wait(10)
            raise ValueError("no")

        client: Any = Client()
        tasks = [asyncio.create_task(asking.ask_together(client, "key", fail)) for _ in range(4)]
        await asyncio.sleep(0.01)
        let.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)

        assert [str(each) for each in found] == ["no"] * 4
        assert asking._rounds == {}
        with pytest.raises(ValueError, match="no"):
            await asking.ask_together(client, "key", fail)

    asyncio.run(run())
